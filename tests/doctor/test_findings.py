"""Findings: one set-up that is broken on purpose for each, and nothing said of one that is well."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from lab.configurations import MASTER, STREAM, Made, configured
from retour_cli.doctor import configuration, limits, milter_lists, rewriting, routing, signing
from retour_cli.doctor.finding import Finding, Urgency, exit_status, hint, warning
from retour_cli.postfix.instance import Instance
from retour_cli.postfix.recipe import DELIVERING
from retour_policy.config.model import Config

ROOT = Path(__file__).parents[2]
NAME = re.compile(r'\b(?:critical|warning|hint)\(\s*f?"([a-z0-9-]+)')
OURS = "unix:retour/milter.sock"
RETOUR = "retour unix - - y - - lmtp\n"
STREAMS: list[tuple[str, str]] = [
    ("stream-never-matches", STREAM.replace('["news@example.com"]', '["*@example.com"]')
     + STREAM.replace('"news"', '"late"')),
    ("stream-never-matches", STREAM.replace("match = { sender", "# { sender") + STREAM.replace('"news"', '"late"')),
    ("header-of-others", STREAM + 'headers = { Received = "by us" }\n'),
    ("header-of-others", STREAM + 'headers = { DKIM-Signature = { default = "x" } }\n'),
    ("header-of-authors", STREAM + 'headers = { From = "us@example.com" }\n'),
    ("sender-in-bounce-domain", STREAM.replace("news@example.com", "*@bounces.example.com")),
    ("heal-too-early", STREAM + '[policy]\nheal_after = "4d"\n'),
    ("trusts-the-world", STREAM + '[milter]\ntrusted = ["0.0.0.0/0"]\n'),
    ("trusts-the-world", STREAM + '[milter]\ntrusted = ["::/0"]\n'),
]  # fmt: skip
POSTFIX: list[tuple[str, dict[str, str], str]] = [
    ("milter-missing", {"smtpd_milters": ""}, ""),
    ("milter-missing", {"non_smtpd_milters": "unix:opendkim/s"}, ""),
    ("milter-behind-signer", {"smtpd_milters": f"unix:opendkim/s, {OURS}"}, ""),
    ("milter-may-be-missing", {"milter_default_action": "accept"}, ""),
    ("milter-may-be-missing", {"smtpd_milters": f"{{ {OURS}, default_action=accept }}"}, ""),
    ("milter-away-refuses", {"milter_default_action": "reject"}, ""),
    ("milter-overridden", {}, "smtps inet n - y - - smtpd -o smtpd_milters=unix:opendkim/s\n"),
    ("milter-twice", {"content_filter": "amavis:[127.0.0.1]:10024"}, "10025 inet n - y - - smtpd -o content_filter=\n"),
    ("domain-in-mydestination", {"mydestination": "bounces.example.com"}, ""),
    ("domain-in-virtual-alias-domains", {"virtual_alias_domains": "bounces.example.com"}, ""),
    ("domain-in-virtual-mailbox-domains", {"virtual_mailbox_domains": "inline:{ bounces.example.com=x }"}, ""),
    ("domain-not-taken", {"relay_domains": "other.example.com"}, ""),
    ("lookup-missing", {"relay_recipient_maps": ""}, ""),
    ("forgeries-taken",
     {"relay_recipient_maps": "inline:{ @bounces.example.com=x }, socketmap:unix:retour/lookup.sock:bounce"}, ""),
    ("reports-swallowed", {"virtual_alias_maps": "inline:{ @bounces.example.com=joe@example.com }"}, ""),
    ("reports-swallowed", {"virtual_alias_maps": "regexp:{ { /./ joe@example.com } }"}, ""),
    ("route-missing", {"transport_maps": ""}, ""),
    ("route-missing", {"transport_maps": "inline:{ bounces.example.com=smtp:[192.0.2.1] }"}, ""),
    ("route-elsewhere", {"transport_maps": "inline:{ bounces.example.com=retour:unix:retour/old.sock }"}, ""),
    ("empty-sender-refused",
     {"smtpd_recipient_restrictions": "check_sender_access inline:{ <>=REJECT }, permit"}, ""),
    ("empty-sender-refused", {}, "smtps inet n - y - - smtpd\n -o { smtpd_sender_restrictions = check_sender_access "
     "inline:{ { <> = 550 no bounces } } }\n"),
    ("stamp-rewritten", {"sender_canonical_maps": "inline:{ @bounces.example.com=x@example.com }"}, ""),
    ("stamp-rewritten", {"canonical_maps": "regexp:{ { /@.*example.com/ x@example.com } }"}, ""),
    ("stamp-rewritten", {"smtp_generic_maps": "inline:{ @bounces.example.com=x@example.com }"}, ""),
    ("stamp-masqueraded", {"masquerade_domains": "example.com"}, ""),
    ("routed-by-old-sender",
     {"sender_dependent_default_transport_maps": "inline:{ news@example.com=smtp:[192.0.2.1] }"}, ""),
    ("routed-by-old-sender", {"sender_dependent_relayhost_maps": "inline:{ @example.com=[192.0.2.1] }"}, ""),
    ("copies-not-named", {"always_bcc": "archive@example.com"}, ""),
    ("copies-not-named", {"recipient_bcc_maps": "inline:{ a@example.net=b@example.com }"}, ""),
    ("size-limit-tight", {"message_size_limit": "1000000"}, ""),
    ("reports-deleted-early", {"bounce_queue_lifetime": "0"}, ""),
    ("delays-go-to-retour", {"delay_warning_time": "4h"}, ""),
    ("tokens-too-short", {"maximal_queue_lifetime": "40d"}, ""),
]  # fmt: skip
HARMLESS: list[dict[str, str]] = [
    {"smtpd_milters": f"unix:clamav/s, {OURS}, unix:opendkim/s"},
    {"milter_default_action": "accept", "smtpd_milters": f"{{ {OURS}, default_action=tempfail }}",
     "non_smtpd_milters": f"{{ {OURS}, default_action=tempfail }}"},
    {"canonical_maps": "inline:{ @old.example.com=@example.com }"},
    {"sender_canonical_maps": "inline:{ @bounces.example.com=x@y.example }",
     "sender_canonical_classes": "header_sender"},
    {"masquerade_domains": "!bounces.example.com example.com"},
    {"masquerade_domains": "example.com", "masquerade_classes": "header_sender"},
    {"virtual_alias_maps": "inline:{ postmaster@example.com=joe@example.com }"},
    {"sender_dependent_relayhost_maps": "inline:{ @other.example=[192.0.2.1] }"},
    {"smtpd_sender_restrictions": "check_sender_access inline:{ spam@example.org=REJECT }, permit"},
    {"transport_maps": "regexp:{ { /@(bounces[.]example[.]com)$$/ retour:unix:retour/lmtp.sock } }"},
    {"content_filter": "amavis:[127.0.0.1]:10024"},
]  # fmt: skip


def of_postfix(config: Config, instance: Instance) -> list[Finding]:
    """What all groups that look at Postfix find."""
    groups = (milter_lists, routing, rewriting, limits)
    return [one for group in groups for one in group.find(config, instance)]


def names(findings: Iterable[Finding]) -> set[str]:
    return {one.name for one in findings}


def test_of_what_is_well_nothing_is_said(config: Config, postfix: Made) -> None:
    """The recipe on a plain Postfix."""
    assert of_postfix(config, postfix(set_up=True)) == []
    assert list(configuration.find(config, limits.queue_lifetime(postfix(set_up=True)))) == []


@pytest.mark.parametrize(("name", "main", "master"), POSTFIX)
def test_what_is_wrong_with_postfix_is_found(
    config: Config, postfix: Made, name: str, main: dict[str, str], master: str
) -> None:
    """That, and nothing else but what follows from it; each with a line that mends it."""
    found = of_postfix(config, postfix(main, MASTER + master, set_up=True))
    assert name in names(found) and len(names(found)) <= 2
    assert all(one.text and one.mend for one in found)


@pytest.mark.parametrize("main", HARMLESS)
def test_what_does_no_harm_is_left_alone(config: Config, postfix: Made, main: dict[str, str]) -> None:
    """Set-ups that look like those above, and work."""
    assert of_postfix(config, postfix(main, set_up=True)) == []


@pytest.mark.parametrize(("name", "text"), STREAMS)
def test_what_cannot_be_meant_is_found(name: str, text: str) -> None:
    """In the configuration alone."""
    assert names(configuration.find(configured(text))) == {name}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ('sender = ["news@*"]', 'sender = ["*@example.com"]'),
        ('sender = ["news@example.com"], login = ["a"]', 'sender = ["news@example.com"]'),
        ('header = { List-Id = "*a*" }', 'header = { List-Id = "*b*" }'),
        ('client = ["192.0.2.0/25"]', 'client = ["192.0.2.0/24"]'),
    ],
)
def test_a_stream_that_gets_some_mail_is_left_alone(first: str, second: str) -> None:
    """What the one above it does not match, it gets."""
    text = STREAM.replace('sender = ["news@example.com"]', first)
    text += STREAM.replace('sender = ["news@example.com"]', second).replace('"news"', '"late"')
    assert list(configuration.find(configured(text))) == []


def test_sockets_out_of_reach(postfix: Made) -> None:
    """Outside of the chroot, for each of the three; over TCP a hint."""
    text = STREAM + '[milter]\nsocket = "unix:/m"\n[lmtpd]\nlookup = "unix:/l"\nlisten = ["unix:/d"]\n'
    main = {"smtpd_milters": "unix:/m", "non_smtpd_milters": "unix:/m"}
    main |= {"relay_recipient_maps": "socketmap:unix:/l:bounce"}
    main |= {"transport_maps": "inline:{ bounces.example.com=retour:unix:/d }"}
    found = of_postfix(configured(text), postfix(main, set_up=True))
    assert names(found) == {"milter-outside-chroot", "lookup-outside-chroot", "route-outside-chroot"}
    text = STREAM + '[milter]\nsocket = "inet:9@127.0.0.1"\n'
    main = {"smtpd_milters": "inet:127.0.0.1:9", "non_smtpd_milters": "inet:127.0.0.1:9"}
    assert names(of_postfix(configured(text), postfix(main, set_up=True))) == {"milter-over-tcp"}


def test_a_transport_that_is_missing_or_deletes(config: Config, postfix: Made, folder: Path) -> None:
    """The service of master.cf, and its soft_bounce."""
    main = dict(postfix(set_up=True).main)
    assert names(of_postfix(config, postfix(main))) == {"transport-missing"}
    assert names(of_postfix(config, postfix(main, MASTER + RETOUR))) == {"reports-may-be-deleted"}


def test_the_queues_lifetime_that_the_spool_counts_on(postfix: Made) -> None:
    """Postfix tries longer than retour.toml says."""
    config = configured(STREAM + 'retry = { interval = "4h", count = 3 }\n')
    found = of_postfix(config, postfix({"maximal_queue_lifetime": "8d"}, set_up=True))
    assert names(found) == {"queue-lifetime-differs"}


def test_an_archive_that_is_named_is_well(postfix: Made) -> None:
    """By its address or its domain."""
    for copies in ("archive@example.com", "example.com"):
        config = configured(STREAM + f'[policy]\ncopies = ["{copies}"]\n')
        assert of_postfix(config, postfix({"always_bcc": "archive@example.com"}, set_up=True)) == []


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("Mode sv\n", ["feedback-id"]),
        ("SignHeaders From,Subject\n", ["list-unsubscribe", "feedback-id"]),
        ("SignHeaders *,+feedback-id\n", []),
        ("SignHeaders *,+feedback-id\nOmitHeaders list-unsubscribe\n", ["list-unsubscribe"]),
        ("Mode v\n", []),
    ],
)
def test_fields_that_opendkim_leaves_out(tmp_path: Path, text: str, missing: list[str]) -> None:
    """By its SignHeaders and OmitHeaders; the line that is printed signs all of them."""
    (tmp_path / "opendkim.conf").write_text(text)
    config = configured(
        STREAM + 'headers = { List-Unsubscribe = "<mailto:x@y.example>", Feedback-ID = "x", X-A = "y" }\n'
    )
    found = list(signing.find(config, tmp_path / "opendkim.conf", ()))
    assert [one.name for one in found] == ["header-unsigned"] * bool(missing)
    assert all(name in found[0].text for name in missing)
    if missing and "Omit" not in text:
        (tmp_path / "opendkim.conf").write_text(found[0].mend[0] + "\n")
        assert list(signing.find(config, tmp_path / "opendkim.conf", ())) == []


def test_fields_that_rspamd_leaves_out(tmp_path: Path) -> None:
    """By the list that it is given."""
    path, config = tmp_path / "dkim_signing.conf", configured(STREAM + 'headers = { Feedback-ID = "x" }\n')
    path.write_text('sign_headers = "(o)from:(x)subject";\n')
    assert names(signing.find(config, tmp_path / "none", (path,))) == {"header-unsigned"}
    path.write_text('sign_headers = "(o)from:feedback-id";\n')
    assert list(signing.find(config, tmp_path / "none", (path,))) == []


def test_exit_status_is_that_of_the_most_urgent() -> None:
    """78 for what stops mail, 1 for what is to be mended, 0 for hints."""
    assert (exit_status([]), exit_status([hint("a", "b")])) == (0, 0)
    assert exit_status([hint("a", "b"), warning("a", "b")]) == 1
    assert exit_status([warning("a", "b"), Finding(Urgency.CRITICAL, "a", "b")]) == 78


def known() -> set[str]:
    """The names of all findings, as the code has them."""
    text = "".join(path.read_text() for path in ROOT.glob("cli/retour_cli/doctor/**/*.py"))
    text += (ROOT / "cli/retour_cli/commands/doctor.py").read_text()
    found = set(NAME.findall(text)) - {"domain-in-"}
    found |= set(re.findall(r'"((?:file|program)-[a-z-]+)"', text))
    return found | {f"domain-in-{name.replace('_', '-')}" for name in DELIVERING}


def test_the_manual_has_each_finding_and_a_test_breaks_something_for_it() -> None:
    """docs/doctor.md, and these tests."""
    manual = set(re.findall(r"^\| `([a-z0-9-]+)` \|", (ROOT / "docs/doctor.md").read_text(), re.MULTILINE))
    assert manual == known()
    tests = "".join(path.read_text() for path in (ROOT / "tests/doctor").glob("test_*.py"))
    assert not {name for name in known() if f'"{name}"' not in tests}
