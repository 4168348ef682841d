"""Rules: every one has examples that it decides; an operator's file is asked first, and refused with a
clear word."""

# ruff: noqa: E501  (samples are kept as the lines that servers write)
from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from retour_bounces import RuleError, Rules, judge
from retour_bounces.classify.reasons import reasons
from retour_bounces.classify.rules import Rule, parse

REPLIES = Path(__file__).resolve().parents[3] / "shared" / "corpus" / "dev" / "replies.jsonl"
OWN = """
[[rule]]
name = "our-partner"
reason = "mailboxfull"
blame = "recipient"
words = ["briefkasten quillt ueber"]
examples = ["550 Der Briefkasten quillt ueber"]
"""


@pytest.mark.parametrize("rule", Rules.bundled().rules, ids=lambda rule: rule.name)
def test_every_rule_decides_its_examples(rule: Rule) -> None:
    """Each example of a bundled rule is decided by that rule and no other, and the evidence stands in it."""
    assert rule.examples
    for example in rule.examples:
        verdict = judge(example)
        assert (verdict.rule, verdict.reason) == (rule.name, rule.reason), example
        assert verdict.evidence in example or verdict.evidence in verdict.diagnostic


def test_an_operators_rule_comes_before_the_bundled_ones(tmp_path: Path) -> None:
    """What the operator's file says is the last word."""
    file = tmp_path / "rules.toml"
    file.write_text(
        OWN
        + OWN.replace("our-partner", "mine")
        .replace("briefkasten quillt ueber", "user unknown")
        .replace("Der Briefkasten quillt ueber", "user unknown")
    )
    rules = Rules.from_file(file)
    assert judge("550 5.1.1 user unknown", rules=rules).reason == "mailboxfull"
    assert judge("550 Der Briefkasten quillt ueber", rules=rules).rule == "our-partner"
    assert judge("550 5.1.1 user unknown").reason == "userunknown"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            'reason = "mailboxfull"',
            'reason = "overflow"',
            r"rule our-partner: 'reason': 'overflow' is none of",
        ),
        ('blame = "recipient"', 'blame = "me"', r"rule our-partner: 'blame'"),
        ("words =", "wordz =", r"rule our-partner: unknown key 'wordz'"),
        ('words = ["briefkasten quillt ueber"]', "", r"rule our-partner: has no condition"),
        ('examples = ["550 Der Briefkasten quillt ueber"]', "", r"rule our-partner: 'examples' is missing"),
        (
            "550 Der Briefkasten",
            "550 Der Käsekasten",
            r"example '550 Der Käsekasten .*', compared as '550 der kasekasten .*', status -, code 550: 'words' does not",
        ),
        ('blame = "recipient"', 'status = ["5.2."]', r"does not fire on its example .*: 'status' does not hold"),
        ("words =", 'match = ["\\d"]\nwords =', r"rules.toml: .*regular expressions stand in single quotes"),
        (
            'words = ["briefkasten quillt ueber"]',
            'match = ["(a+)+b"]',
            r"rule our-partner: 'match': .*exponential",
        ),
        (
            'words = ["briefkasten quillt ueber"]',
            'match = ["(a"]',
            r"rule our-partner: 'match': .*no regular expression",
        ),
        ('words = ["briefkasten quillt ueber"]', 'words = ["-_"]', r"rule our-partner: 'words': .* stand in any reply"),
        (
            'words = ["briefkasten quillt ueber"]',
            'match = ["full|"]',
            r"rule our-partner: 'match': 'full|' asks for nothing",
        ),
        (
            'blame = "recipient"',
            'unless = ["der"]',
            r"does not fire on its example .*: a phrase of 'unless' stands in it",
        ),
        ("briefkasten quillt ueber", "x" * 201, r"rule our-partner: 'words': 'xxx.*longer than 200"),
        ("[[rule]]", "[[rule]", r"rules.toml: "),
        ('name = "our-partner"', "", r"rule 1: 'name' is missing"),
        ("[[rule]]", "[[rules]]", r"unknown key 'rules'"),
    ],
)
def test_a_wrong_rule_file_is_refused_by_file_rule_and_key(tmp_path: Path, old: str, new: str, said: str) -> None:
    """The error names the file, the rule and what is wrong with it."""
    file = tmp_path / "rules.toml"
    file.write_text(OWN.replace(old, new))
    with pytest.raises(RuleError, match=said) as error:
        Rules.from_file(file)
    assert str(file) in str(error.value)


def test_two_rules_of_one_name_are_refused() -> None:
    """A name tells in a report which rule fired, so it stands for one."""
    with pytest.raises(RuleError, match="our-partner: the name is used twice"):
        parse(OWN + OWN, "rules.toml")


def test_the_blame_follows_the_design() -> None:
    """Who can fix it: blocklists and DMARC the sender, size the content, greylisting and time-outs the
    network."""
    for reply, blame in {
        "550 5.7.1 Service unavailable; client [192.0.2.1] blocked using zen.spamhaus.org": "sender",
        "550 5.7.515 Access denied, sending domain EXAMPLE.COM doesn't meet the required authentication level": "sender",
        "550 5.7.26 Unauthenticated email from example.com is not accepted due to domain's DMARC policy": "sender",
        "552 5.3.4 Message size exceeds fixed limit": "content",
        "554 5.7.1 Virus found": "content",
        "450 4.2.0 Greylisted, try again": "network",
        "connect to mx.example.com[192.0.2.1]:25: Connection timed out": "network",
        "550 5.1.1 User unknown": "recipient",
        "552 5.2.2 Mailbox full": "recipient",
        "550 5.0.0 zzz": "nobody",
    }.items():
        assert judge(reply).blame == blame, reply


def test_a_blocklist_refusal_stays_hard_but_costs_no_subscriber() -> None:
    """550 5.7.1 ... listed by Spamhaus: type hard by the table, reason blocked, blame sender."""
    verdict = judge("550 5.7.1 Client host [192.0.2.1] listed by Spamhaus")
    assert (verdict.type, verdict.reason, verdict.blame) == ("hard", "blocked", "sender")


def test_words_against_the_code_are_told() -> None:
    """5.1.1 whose text says quota is a full mailbox, and the report says what spoke against it."""
    verdict = judge("550 5.1.1 user@example.com is over quota")
    assert verdict.reason == "mailboxfull"
    assert verdict.contradiction is not None
    assert re.search("5.1.1.*userunknown.*mailboxfull", verdict.contradiction)


def test_words_in_an_address_decide_nothing() -> None:
    """A mailbox called "mailbox-full" is not full."""
    assert judge("550 5.1.1 <mailbox-full@spam.example>: User unknown").reason == "userunknown"


@pytest.mark.skipif(not REPLIES.exists(), reason="the labelled replies are not here")
def test_labelled_replies_get_a_reason_without_a_catch_all() -> None:
    """At least 95 % of the reply strings are known to a rule that is not vague."""
    rows = [json.loads(line) for line in REPLIES.read_text(encoding="utf-8").splitlines()]
    vague = {rule.name for rule in Rules.bundled().rules if rule.vague}
    verdicts = [judge(row["text"]) for row in rows]
    known = [one for one in verdicts if one.rule and one.rule not in vague and one.reason and one.blame]
    assert len(known) >= 0.95 * len(rows)


def test_every_reason_is_in_the_manual() -> None:
    """docs/rules.md lists each reason with its meaning and blame."""
    manual = (Path(__file__).resolve().parents[2] / "docs" / "rules.md").read_text(encoding="utf-8")
    for name, reason in reasons().items():
        assert f"| {name} | {reason.text} | {reason.blame} |" in manual


def test_every_rules_reason_is_used_as_the_vocabulary_has_it() -> None:
    """No bundled rule has a reason that the vocabulary does not explain."""
    assert {rule.reason for rule in Rules.bundled().rules} <= reasons().keys()
