"""The commands about decisions: what they tell, what they change, and what they refuse."""

from __future__ import annotations

import json
from typing import Any

import pytest

from retour_policy.clock import time_text
from retour_policy.store import schema
from retour_policy.tokens.token import draw_id

A, B = "anna@example.net", "bert@example.net"


def test_check_says_the_careful_policy(careful: Any) -> None:
    """Each row of it in a sentence: scopes, spans, doubling, trials, healing, storms."""
    (told,) = careful.json("check")
    assert told["policy"] == [
        "2 hard bounces: suppressed everywhere for 30 days. Before that each pauses the address for 3 days, not for "
        "transactional streams.",
        "Soft bounces on 5 days over at least 10 days: suppressed for 30 days, not for transactional streams while "
        "less than 90 days passed without a good send.",
        "Failures of the network on 5 days over at least 30 days: suppressed for 30 days, not for transactional "
        "streams while less than 90 days passed without a good send.",
        "1 complaint: suppressed for good, not for transactional streams.",
        "1 unsubscription: suppressed for good in that stream.",
        "1 send without a failure within 7 days clears the count.",
        "A failure older than 400 days no longer counts.",
        "Each suppression lasts twice as long as the one before it, at most 365 days; then one send tries.",
        "After 4 suppressions whose trials failed a hard one is for good.",
        "What blames the sender or the content never counts.",
        "Storms: when of the sends of 6 hours from one stream to one side at least 20 and 20% fail, or 5 and all of "
        "them, or most of the mail at 50% of all sides, these failures are held. They count when the address fails on "
        "3 days over at least 10 days (soft, network: 30 days) with no good send between.",
    ]
    careful.fits(careful("check").stdout.partition("policy")[2])


def test_check_says_who_gets_copies(careful: Any) -> None:
    """By name, as `[policy] copies` has them."""
    careful.edit('preset = "careful"', 'preset = "careful"\ncopies = ["archive@example.com", "archive.example.com"]')
    sentence = "Mail to archive@example.com and archive.example.com is a copy of other people's mail: "
    assert sentence + "when it fails, it counts for nobody." in careful.json("check")[0]["policy"]


def test_check_says_what_a_stream_has_of_its_own(careful: Any) -> None:
    """Only what differs; and what is dangerous."""
    careful.config.write_text(careful.config.read_text() + "[stream.policy]\nhard = 1\ncount_unsigned = true\n")
    shop = careful("check").stdout.partition("stream shop")[2]
    shop = " ".join(shop.split())
    assert "1 hard bounce: suppressed everywhere for 30 days." in shop
    assert "anybody who forges one can have an address suppressed" in shop
    assert "complaint" not in shop


def test_the_next_bounce_is_told_with_its_good_sends(careful: Any) -> None:
    """A count that three good sends have cleared is not held against anybody."""
    careful.bounced(A)
    (story,) = careful.json("address", "show", A)
    assert story["next"]["news"].startswith("nothing is sent before 20")
    assert "hard 1 of 2: paused" in story["events"][-1]["led_to"]
    text = careful("address", "show", A, columns=80).stdout
    assert "next bounce   news, shop: nothing is sent before" in text
    careful("suppressions", "add", A)
    assert careful.json("address", "show", A)[0]["next"]["news"] == "nothing is sent any more"


def test_simulate_tells_who_and_how_many(office: Any) -> None:
    """By the configuration that is named, with either option; totals by stream; nothing changes."""
    office.bounced(A)
    office.bounced(B, times=3)
    other = office.home / "new.toml"
    other.write_text(office.config.read_text().replace("hard = 3", "hard = 1"))
    for words in (("--with", str(other)), ("--config", str(other))):
        found = office.json("simulate", *words)
        assert [(one.get("address"), one["stream"], one["would_be"], one.get("total")) for one in found] == [
            (A, "news", "suppressed", None),
            (A, "shop", "suppressed", None),
            (None, "news", "suppressed", 1),
            (None, "shop", "suppressed", 1),
        ]
    other.write_text(office.config.read_text().replace("hard = 3", "hard = 9"))
    text = office("simulate", "--with", other).stdout
    assert "freed" in text and B in text and "news: 1 freed" in text
    assert "nothing would differ" in office("simulate").stdout
    assert len(office.json("suppressions", "list")) == 1


def test_simulate_tells_for_how_long(careful: Any) -> None:
    """Who stays suppressed, for longer or not as long; and who would be suppressed where they are only paused."""
    careful.bounced(A)
    fact = careful.json("events")[0]["id"]
    careful.write(
        lambda connection: connection.exec_driver_sql(f"UPDATE fact SET at = at - 864000000 WHERE id = {fact}")
    )
    careful("rebuild", status=None)
    careful.bounced(A)
    careful.bounced(B)
    what = {}
    for keys in ('hard_for = "20d"', 'hard_for = "300d"', 'hard_for = "0s"', "hard = 1", "hard = 3", "hard = 0"):
        other = careful.home / "new.toml"
        other.write_text(careful.config.read_text().replace('preset = "careful"', f'preset = "careful"\n{keys}'))
        told = [one for one in careful.json("simulate", "--with", str(other)) if one["stream"] == "news"]
        what[keys] = {one["address"]: one["would_be"] for one in told if one.get("address")}
    assert what == {
        'hard_for = "20d"': {A: "shorter"},
        'hard_for = "300d"': {A: "longer"},
        'hard_for = "0s"': {A: "longer"},
        "hard = 1": {A: "shorter", B: "suppressed"},
        "hard = 3": {A: "paused"},
        "hard = 0": {A: "freed", B: "freed"},
    }


def test_rebuild_under_the_current_policy(careful: Any) -> None:
    """What `simulate` shows comes about: a dry run tells who, and changes nothing; then all facts are judged by it, and
    a plain rebuild finds no difference. What was purged is said to stay as it was.
    """
    careful.bounced(A)
    careful.bounced(B)
    careful.edit('preset = "careful"', 'preset = "careful"\nhard = 1')
    shown = careful.json("simulate")
    assert careful.json("rebuild", "--under", "current", "--dry-run") == shown
    assert [one["cause"] for one in careful.json("suppressions", "list")] == ["pause", "pause"]
    text = careful("rebuild", "--under", "current", "--check").stdout
    assert "nothing was changed" in text and "news: 2 suppressed" in text
    assert careful.json("rebuild", "--under", "current") == shown
    assert sorted((one["address"], one["cause"]) for one in careful.json("suppressions", "list")) == [
        (A, "hard"),
        (B, "hard"),
    ]
    assert careful.json("rebuild") == [] and careful.json("rebuild", "--under", "current") == []
    assert "nobody is treated otherwise" in careful("rebuild", "--under", "current").stdout


def test_what_was_carried_forward_cannot_be_judged_anew(careful: Any) -> None:
    """Its facts are gone: simulate and rebuild say of how many addresses."""
    careful.bounced(A)
    long = 200 * 86_400_000
    careful.write(lambda connection: connection.exec_driver_sql(f"UPDATE fact SET at = at - {long}"))
    careful.write(lambda connection: connection.exec_driver_sql("UPDATE fact SET send_id = NULL"))
    careful("rebuild", status=None)
    careful("purge", "--keep", "90d")
    careful.bounced(B)
    careful.edit('preset = "careful"', 'preset = "careful"\nhard = 1')
    assert careful.json("simulate")[-1] == {"carried": 1}
    assert "1 address: older facts are purged" in careful("rebuild", "--under", "current").stdout
    assert careful.json("rebuild") == []
    assert careful.json("address", "show", A)[0]["counts"] == {"*": {"hard": 1}}


def test_rebuild_finds_nothing_and_mends_what_is_damaged(office: Any) -> None:
    """Exit status 1 where something differed; --check changes nothing."""
    office.bounced(B, times=3)
    assert "no difference" in office("rebuild").stdout
    office.write(lambda connection: connection.exec_driver_sql("DELETE FROM suppression"))
    assert "differs" in office("rebuild", "--check", status=1).stdout
    assert office.json("suppressions", "list") == []
    assert office.json("rebuild", status=1) == [{"address": B, "corrected": True}]
    assert office.json("rebuild") == []
    assert len(office.json("suppressions", "list")) == 1


@pytest.mark.parametrize("state", ["{", "[]", '{"counts": 5}', '{"counts": {"*": {"failures": [1]}}}', "null", "7"])
def test_a_state_that_cannot_be_read_is_corrected(careful: Any, state: str) -> None:
    """The other addresses are compared as usual."""
    careful.bounced(A)
    careful.bounced(B)
    careful.write(
        lambda connection: connection.exec_driver_sql(
            "UPDATE address_state SET state = ? WHERE address_id = (SELECT id FROM address WHERE text = ?)", (state, A)
        )
    )
    told = careful("rebuild", "--check", status=1).stdout
    assert f"{A}: differs" in told and B not in told and "by facts  hard 1; bulk: paused" in told
    assert careful.json("rebuild", status=1) == [{"address": A, "corrected": True}]
    assert careful.json("rebuild") == []


def test_the_story_of_an_address_has_what_was_sent(careful: Any) -> None:
    """In its place between the events, so that what healed a count can be seen."""
    careful.bounced(A)
    careful.bounced(A, stream="shop", type="soft", status="5.2.2")
    text = careful("address", "show", A, columns=80).stdout.partition("What happened")[2]
    careful.fits(text)
    words = [line.split("  ")[-1] for line in text.splitlines()[1:]]
    assert words.count("sent") == 2 and text.index("sent") < text.index("bounce hard") < text.index("bounce soft")


@pytest.mark.parametrize("keep", ["10d", "400", "-400d", "1y", "", "²d", "9999999d", "4 00d"])
def test_purge_refuses_what_is_too_short_or_no_span(office: Any, keep: str) -> None:
    """Bounces of young mail may still come."""
    assert "at least 90d" in office("purge", "--keep", keep, status=1).stderr


def test_purge_and_erase(office: Any) -> None:
    """Nothing is old yet; an erased person stays suppressed, has no name any more, and is not there twice."""
    office.bounced(A, times=3)
    assert office.json("purge")[0]["rows"] == 0
    office("erase", A, "--yes")
    assert A not in office("suppressions", "list").stdout
    (story,) = office.json("address", "show", A)
    assert story["suppressions"] and A not in json.dumps(story["events"])
    office("erase", "nobody@example.net", "--yes", status=1)
    path = office.home / "old.csv"
    path.write_text(f"address,cause,note\n{A},hard,anna herself\n{B},hard,\n")
    office("suppressions", "import", path)
    office.bounced(A, diagnostic="no anna here")
    assert "anna" not in office("events", "--json").stdout + office("suppressions", "list").stdout
    assert office.json("rebuild") == []


def test_undo_needs_a_time(office: Any) -> None:
    """Without both ends it is refused, and backwards too."""
    office.bounced(A, times=3)
    assert "--since" in office("undo", status=2).stderr
    assert "--until" in office("undo", "--since", "1h", status=2).stderr
    assert "is not after" in office("undo", "--since", "1h", "--until", "2h", status=1).stderr
    assert "3 failures of 1 address " in office("undo", "--since", "1h", "--until", "2999-01-01", "--dry-run").stdout
    assert len(office.json("suppressions", "list")) == 1


def test_undo_in_one_domain(office: Any) -> None:
    """Others keep what they have; a second time there is nothing left."""
    office.bounced(A, times=3)
    office.bounced("b@other.example", times=3)
    words = ("undo", "--since", "1h", "--until", "2999-01-01", "--domain", "OTHER.example")
    assert office.json(*words)[0] == {"failures": 3, "addresses": 1, "undone": True}
    assert [one["address"] for one in office.json("suppressions", "list")] == [A]
    assert office.json(*words)[0]["failures"] == 0
    assert office.json("rebuild") == []


def test_storms_are_listed_and_decided_about(careful: Any) -> None:
    """`storm list`, `apply`, `discard`; a number that there is not is refused."""
    assert "there was no storm" in careful("storm", "list").stdout
    assert "no storm 7" in careful("storm", "apply", "7", status=1).stderr
    for number in range(8):
        careful.bounced(f"u{number}@storm.example")
    (storm,) = careful.json("storm", "list")
    assert (storm["stream"], storm["side"], storm["closed"]) == ("news", "storm.example", None)
    assert "storm.example" in careful("storm", "list", columns=80).stdout
    (told,) = careful.json("stats")
    assert [(one["stream"], one["failed"], one["blames_sender"]) for one in told["streams"]] == [("news", 8, 0)]
    assert "blames the sender" in careful("stats", columns=80).stdout
    (done,) = careful.json("storm", "discard", str(storm["id"]))
    assert done["addresses"] == 4 and done["count"] is False  # those after the fifth, which opened it
    assert careful.json("storm", "apply", str(storm["id"]))[0]["addresses"] == 0
    assert careful.json("rebuild") == []


def test_check_counts_what_is_dated_in_the_future(office: Any) -> None:
    """A clock was ahead: how many facts, sends, storms and items, and where to read on; without any nothing is said."""
    assert "future" not in office("check").stderr
    (before,) = office.json("check")
    office.bounced(A)
    office.write(lambda connection: connection.exec_driver_sql("UPDATE fact SET at = at + 300000000000"))
    later = {"id": draw_id(office.context.clock() + 300_000_000_000), "stream": "news", "sender": "", "recipients": 1}
    office.write(lambda connection: connection.execute(schema.send.insert().values(later)))
    warning = " ".join(office("check").stderr.split())
    assert "dated in the future: 1 fact, 1 send; a clock was ahead (docs/keeping.md, A clock that was ahead)" in warning
    assert before["ahead"] == {"facts": 0, "sends": 0, "storms": 0, "items": 0}


def test_an_address_in_a_storm_is_told_as_such(careful: Any) -> None:
    """What is held, by which storm, what frees it; and the next bounce is held too, not counted."""
    for number in range(8):
        careful.bounced(f"u{number}@storm.example")
    (story,) = careful.json("address", "show", "u7@storm.example")
    (storm,) = careful.json("storm", "list")
    assert (story["held"], story["held_by"]) == (1, {str(storm["id"]): 1})
    held = f"a hard one is held by storm {storm['id']}; a soft one is held by storm {storm['id']}"
    assert story["next"]["news"].startswith(held) and story["next"]["shop"].startswith("a hard one pauses until 20")
    text = careful("address", "show", "u7@storm.example", columns=80).stdout
    careful.fits(text)
    flat = " ".join(text.split())
    assert f"held 1 failure by storm {storm['id']} (news to storm.example, still open)" in flat
    assert "these count when the address fails on 3 days over at least 10 days (soft, network: 30 days) with" in flat


def test_a_failure_that_counts_in_a_storm_is_foretold(careful: Any) -> None:
    """It fails on and on: the next one counts, and what was held before with it."""
    for number in range(8):
        careful.bounced(f"u{number}@storm.example")
    for days in (20, 10):
        careful.bounced("u7@storm.example")
        careful.write(lambda connection, days=days: age_latest_failure(connection, days))
    careful("rebuild", status=None)
    (story,) = careful.json("address", "show", "u7@storm.example")
    assert story["held"] == 3
    assert story["next"]["news"].startswith("a hard one counts, and 3 held failures with it; a soft one is held by")


def age_latest_failure(connection: Any, days: int) -> None:
    """The latest failure, and the send that it is about, are that old."""
    fact, send = connection.exec_driver_sql("SELECT id, send_id FROM fact ORDER BY id DESC LIMIT 1").one()
    ago = days * 86_400_000
    connection.exec_driver_sql("UPDATE fact SET at = at - ?, send_id = ? WHERE id = ?", (ago, send - (ago << 22), fact))
    connection.exec_driver_sql("PRAGMA defer_foreign_keys = 1")
    for table in ("send_recipient", "send"):
        name = "id" if table == "send" else "send_id"
        connection.exec_driver_sql(f"UPDATE {table} SET {name} = ? WHERE {name} = ?", (send - (ago << 22), send))


def test_a_suppression_that_has_run_out_is_no_date_of_the_future(careful: Any) -> None:
    """The next message tries; what follows if that fails begins now. When one has tried, others wait."""
    careful("suppressions", "add", B, "--until", "30d")
    careful.edit('preset = "careful"', 'preset = "careful"\nhard = 1')
    careful.bounced(A)
    careful.write(
        lambda connection: connection.exec_driver_sql("UPDATE fact SET at = at - 200 * 86400000, send_id = NULL")
    )
    careful("rebuild", status=None)
    (story,) = careful.json("address", "show", A)
    assert story["suppressions"] == [] and [one["cause"] for one in story["run_out"]] == ["hard"]
    assert story["next"]["news"].startswith(
        "the next message tries whether it works again; a hard one suppresses until 20"
    )
    until = story["next"]["news"].partition("until ")[2][:10]
    assert until > time_text(careful.context.clock() + 59 * 86_400_000)[:10]  # twice as long as it was
    text = " ".join(careful("address", "show", A, columns=80).stdout.split())
    assert "run out everywhere: hard bounces (5.1.1 userunknown)" in text and "; the next message tries" in text
    (story,) = careful.json("address", "show", B)
    assert story["run_out"] == []  # an operator's act has no trial: it is over


def test_why_a_report_counts_for_nobody_is_told(careful: Any) -> None:
    """Each with what it blames, or what it lacks."""
    careful.bounced(A, type_="hard", status="5.7.1", reason="blocked", blame="sender")
    careful.bounced(A, type_="hard", status="5.2.3", reason="emailtoolarge", blame="content")
    careful.bounced(A, type_="hard", status="5.0.0", reason="undefined", blame="nobody")
    (story,) = careful.json("address", "show", A)
    assert [event["led_to"] for event in story["events"]] == [
        "counts for nobody: the sender is to blame",
        "counts for nobody: the content is to blame",
        "counts for nobody: it does not tell that the recipient is to blame",
    ]
    assert "-> counts for nobody: the sender is to blame" in careful("address", "show", A).stdout


def test_what_an_operator_did_is_told_with_scope_and_end(careful: Any) -> None:
    """Where it holds, and until when; what was lifted."""
    careful("suppressions", "add", A, "--scope", "bulk", "--until", "2999-01-31")
    careful("suppressions", "add", A, "--scope", "news")
    careful("suppressions", "remove", A)
    text = careful("address", "show", A).stdout
    assert "suppress operator bulk until 2999-01-31" in text and "suppress operator news for good" in text
    assert "lift operator bulk, news" in text
