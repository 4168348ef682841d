"""The postmaster's commands: what they print, for people and for programs, and their exit statuses."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lab.wait import PATIENCE
from retour_cli.main import main
from retour_policy.clock import system_clock
from retour_policy.messages.router import Router
from retour_policy.store.schema import REVISION

A, B = "anna@example.net", "bert@example.net"
LEAVES = 'unsubscribe = { https = "https://u.example.com", mailto = "u-%@bounces.example.com", post = true }'


def test_check_tells_what_the_configuration_means(office: Any) -> None:
    """Each stream, its sender and what becomes of suppressed recipients; exit status 0."""
    result = office("check")
    office.fits(result.stdout)
    assert result.stdout.startswith(f"{office.config}: good\n")
    for words in ("key 0 signs, 2 keys verify",
                  "3 hard bounces: suppressed everywhere for 180 days.", "Auto-replies: 10:",
                  "stream news", "b-%@bounces.example.com, 52 octets", "shop-returns@example.com",
                  "with 550 at RCPT"):  # fmt: skip
        assert words in " ".join(result.stdout.split())
    office.fits(result.stderr)
    said = " ".join(result.stderr.split())
    assert "cut above 51" in said and "shorten it by 1, such as b%@bounces.example.com" in said


def test_check_in_json(office: Any) -> None:
    """The same for programs."""
    (found,) = office.json("check")
    assert [stream["name"] for stream in found["streams"]] == ["news", "shop"]
    assert found["config"] == str(office.config) and len(found["warnings"]) == 1


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (("hard = 3", "hard = 1"), "1 hard bounce: suppressed everywhere"),
        (("hard_for = \"180d\"", "hard_for = \"12h\""), "for 12 hours"),
        (("hard_for = \"180d\"", "hard_for = \"0s\""), "for good"),
        (("hard_for = \"180d\"", "hard_for = \"1d\""), "for 1 day"),
        (("hard = 3", 'scope = "stream"\nhard = 3'), "in the stream that came back"),
        (('name = "news"', 'name = "news"\nsuppressed = "drop"'), "taken off silently"),
        (('name = "news"', 'name = "news"\nsuppressed = "pass"'), "nobody (suppressed = pass)"),
        (('name = "news"', 'name = "news"\ntrack = false'), "counted for nobody"),
        (('name = "news"', f'name = "news"\n{LEAVES}'), "/u/... with one click (RFC 8058), mail to u-"),
        (('name = "news"', f'name = "news"\n{LEAVES}'), "wrote in these fields stays, and ours is not written"),
        (('name = "news"', f'name = "news"\n{LEAVES}'), "there is no [web] section"),
        (('name = "news"', f'name = "news"\n{LEAVES}\nexisting = "replace"'), "gives way to ours"),
        (('name = "news"', f'name = "news"\n{LEAVES}\nexisting = "wrap"'), "but for a second https link"),
        (('sender = ["news@example.com"]', 'header = { List-Id = "*news*" }'), "a header decides"),
    ],
)  # fmt: skip
def test_check_follows_the_configuration(office: Any, edit: tuple[str, str], words: str) -> None:
    """What is changed in the file is told in words."""
    office.edit(*edit)
    result = office("check")
    assert words in " ".join((result.stdout + result.stderr).split())
    office.fits(result.stdout)


@pytest.mark.parametrize(
    ("sender", "warned"),
    [
        ("", "goes to the sender that the client gave"),
        ('envelope_from = "header-from"', "goes to the address in From"),
        ('hears_copies = "copies@bounces.example.com"', ""),
        ('envelope_from = "bounces@bounces.example.com"', ""),
    ],
)
def test_check_warns_of_a_stream_that_hears_of_no_report(office: Any, sender: str, warned: str) -> None:
    """Its bounces go past Retour; unless copies of them come."""
    office.edit('envelope_from = "shop-returns@example.com"', sender)
    result = office("check")
    warnings = " ".join(result.stderr.split())
    assert ("hears of no bounce" in warnings) == bool(warned) and warned in warnings
    assert ("copies of reports, at copies@" in result.stdout) == ("hears_copies" in sender)


def test_check_warns_of_refusing_the_second_recipient(office: Any) -> None:
    """No client sends again to the others; what helps is named, and the page that has it is there."""
    office.edit('name = "news"', 'name = "news"\nmulti_recipient = "refuse"')
    warnings = " ".join(office("check").stderr.split())
    assert "no client that was tried" in warnings and "XVERP" in warnings and "split hop" in warnings
    assert (Path(__file__).parents[2] / "docs/several-recipients.md").is_file()


def test_nothing_happened_yet(office: Any) -> None:
    """Exit status 1 where there is nothing to show, 0 for an empty list of suppressions."""
    assert office("events", status=1).stderr == "no facts found\n"
    assert office.json("events", status=1) == []
    assert office("suppressions", "list").stdout == "nobody is suppressed\n"
    assert office.json("suppressions", "list") == []
    assert "unknown" in office("address", "show", A, status=1).stderr
    assert "was not suppressed" in office("suppressions", "remove", A, status=1).stderr


def test_events_are_a_table_and_a_stream_of_json(office: Any) -> None:
    """The latest last; filters by address, stream, kind and time; as many as asked."""
    office.bounced(A, times=2)
    office.bounced(B, stream="shop", type="soft", status="4.2.2", reason="mailboxfull")
    table = office("events", columns=80).stdout
    office.fits(table)
    assert [line.split()[2:] for line in table.splitlines()[1:]] == [
        ["news", A, "bounce", "hard", "5.1.1", "userunknown"], ["news", A, "bounce", "hard", "5.1.1", "userunknown"],
        ["shop", B, "bounce", "soft", "4.2.2", "mailboxfull"],
    ]  # fmt: skip
    found = office.json("events")
    assert [event["id"] for event in found] == [1, 2, 3] and found[2]["at"].endswith("Z")
    assert (found[0]["address"], found[0]["proof"], found[0]["diagnostic"]) == (A, "signed", "no such user")
    assert len(office.json("events", "--address", A.upper())) == 2
    assert len(office.json("events", "--stream", "shop")) == 1
    assert len(office.json("events", "--limit", "1")) == 1
    assert len(office.json("events", "--kind", "bounce", "--since", "2h")) == 3
    assert office.json("events", "--since", "2099-01-01", status=1) == []
    assert office.json("events", "--kind", "autoreply", status=1) == []
    assert office.json("events", "--address", "unknown@example.net", status=1) == []


def test_a_reader_who_has_seen_enough_is_no_error(office: Any) -> None:
    """`retour events --json | head -1`: one line, and neither a traceback nor a word about the store."""
    office.bounced(A, times=2)
    office.write(lambda c: [c.exec_driver_sql("INSERT INTO fact (at, kind, detail) SELECT at, kind, detail FROM fact")
                            for _ in range(12)])  # fmt: skip
    line = f"{sys.executable} -m retour_cli events --json --config {office.config} | head -1"
    done = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout.count("\n") == 1 and done.stderr == ""


@pytest.mark.parametrize("words", [["--stream", "none"], ["--address", "no address"]])
def test_events_of_what_cannot_be(office: Any, words: list[str]) -> None:
    """A stream that is not configured, an address that is none: exit status 1 and what there is."""
    assert office("events", *words, status=1).stderr.startswith("retour: ")


@pytest.mark.parametrize("since", ["0001-01-01T00:00+14:00", "9999-12-31T23:59-14:00", "999999d", "2026-01-31T12:00Z"])
def test_any_time_can_be_asked_for(office: Any, since: str) -> None:
    """Dates at the calendar's ends are answered, with facts or with a usage error."""
    assert office("events", "--since", since, status=None).exit_code in (1, 2)


def test_the_story_of_an_address(office: Any) -> None:
    """Sends, counts against their thresholds, the suppression and why, what happened."""
    office.bounced(A, times=3)
    text = office("address", "show", A, columns=80).stdout
    office.fits(text)
    for words in ("sends 3, the last 20", "counts hard 3",
                  "hard 3 of 3: suppressed for 180 days",
                  "suppressed everywhere: hard bounces (5.1.1 userunknown), since 20",
                  "What happened (UTC):"):  # fmt: skip
        assert words in " ".join(text.split())
    (story,) = office.json("address", "show", A)
    assert (story["sends"], story["counts"], len(story["events"])) == (
        3,
        {"*": {"hard": 3}},
        3,
    )
    assert story["suppressions"][0]["cause"] == "hard" and story["suppressions"][0]["until"].endswith("Z")
    assert story["events"][0]["at"].endswith("Z")


def test_the_story_tells_of_a_failure_that_waits(office: Any) -> None:
    """Shared proof is not counted yet, and the postmaster can see that."""
    office.bounced(A, B)
    assert "counts when another send fails too" in office("address", "show", A).stdout
    assert office.json("address", "show", A)[0]["counts"] == {"*": {"unconfirmed": 1}}


def test_thresholds_of_zero_are_told(office: Any) -> None:
    """A count that decides nothing says so."""
    office.edit("hard = 3", "hard = 0")
    office.bounced(A)
    assert "hard 1, recorded only" in office("address", "show", A).stdout


def test_suppressions_by_hand(office: Any) -> None:
    """Added for a stream or everywhere, until a day or for good; listed; removed; each as JSON too."""
    assert "by the postmaster (asked us), since" in office("suppressions", "add", A, "--note", "asked us").stdout
    (added,) = office.json("suppressions", "add", B, "--scope", "news", "--until", "30d")
    assert (added["address"], added["scope"], added["cause"]) == (B, "news", "operator") and added["until"]
    table = office("suppressions", "list", columns=80).stdout
    office.fits(table)
    assert [line.split()[:2] for line in table.splitlines()[1:]] == [[A, "everywhere"], [B, "news"]]
    assert sorted((one["address"], one["until"] is None) for one in office.json("suppressions", "list")) == [
        (A, True),
        (B, False),
    ]
    assert office.json("suppressions", "remove", B, "--scope", "news") == [{"address": B, "lifted": ["news"]}]
    assert (
        office("suppressions", "remove", A).stdout
        == f"{A}: not suppressed any more (everywhere), counts start again at zero\n"
    )
    assert office("suppressions", "list").stdout == "nobody is suppressed\n"
    assert [event["kind"] for event in office.json("events")] == ["suppress", "suppress", "lift", "lift"]


@pytest.mark.parametrize("until", ["0d", "2020-01-01", "2020-01-01T00:00Z"])
def test_a_suppression_does_not_end_before_it_begins(office: Any, until: str) -> None:
    """A date in the past is refused with what would be right, and nothing is written."""
    result = office("suppressions", "add", A, "--until", until, status=1)
    assert "is in the past; use 30d" in result.stderr
    assert office.json("suppressions", "list") == []


@pytest.mark.parametrize(
    "address", ["anna", "a b@example.net", "", "anna@", "\udcff@example.net", "x" * 70 + "@example.net"]
)
def test_what_is_no_address_is_refused(office: Any, address: str) -> None:
    """Exit status 1, told as it was typed, nothing written."""
    result = office("suppressions", "add", address, status=1)
    assert "is not an e-mail address" in result.stderr and office.json("suppressions", "list") == []


def test_the_operators_word_takes_the_place_of_what_was_there(office: Any) -> None:
    """For good instead of 180 days: what the command says is what is in force."""
    office.bounced(A, times=3)
    office("suppressions", "add", A, "--note", "left the company")
    (found,) = office.json("suppressions", "list")
    assert (found["cause"], found["until"], found["note"]) == ("operator", None, "left the company")
    office("suppressions", "add", A, "--until", "1d")
    (found,) = office.json("suppressions", "list")
    assert found["until"] is not None


def test_removing_starts_the_counts_at_zero(office: Any) -> None:
    """After it two hard bounces are two of three again."""
    office.bounced(A, times=3)
    office("suppressions", "remove", A)
    (story,) = office.json("address", "show", A)
    assert story["counts"] == {} and story["suppressions"] == [] and len(story["events"]) == 4
    office.bounced(A, times=2)
    (story,) = office.json("address", "show", A)
    assert story["counts"]["*"]["hard"] == 2 and story["suppressions"] == []
    office.bounced(A)
    assert len(office.json("suppressions", "list")) == 1


def test_token_make_and_read(office: Any) -> None:
    """A VERP address that is ours, told again by its token; the send record is there."""
    (made,) = office.json("token", "make", "--stream", "news", "--to", A)
    router = Router(office.context.config, office.context.ring, system_clock)
    assert router.route(made["token"]).send == made["id"] and made["swaks"].startswith("swaks ")
    for spelling in (made["token"], made["token"].upper(), f"<{made['token']}>"):
        (read,) = office.json("token", "read", spelling)
        assert (read["id"], read["kind"], read["stream"], read["recipients"]) == (made["id"], "bounce", "news", 1)
    assert office("token", "read", made["token"]).stdout.startswith(
        f"genuine bounce token of send {made['id']}, drawn 20"
    )
    assert office.json("address", "show", A)[0]["sends"] == 1


def test_token_make_of_a_reference(office: Any) -> None:
    """The value of a Retour-Ref field, for a stream without VERP."""
    (made,) = office.json("token", "make", "--stream", "shop", "--to", A, "--purpose", "reference")
    assert made["swaks"] is None
    assert office.json("token", "read", made["token"])[0]["kind"] == "reference"


def test_token_make_without_a_pattern_records_nothing(office: Any) -> None:
    """A stream with a static sender has no VERP address: refused before anything is written."""
    result = office("token", "make", "--stream", "shop", "--to", A, status=1)
    assert "has no pattern with %; try --purpose reference" in result.stderr
    assert "unknown" in office("address", "show", A, status=1).stderr


@pytest.mark.parametrize(
    "text",
    [
        "b-" + "a" * 30 + "@bounces.example.com", "x@bounces.example.com", "x@other.example", "a" * 30, "",
        "postmaster@bounces.example.com", "shop-returns@example.com",
    ],
)  # fmt: skip
def test_what_is_no_token_is_told_so(office: Any, text: str) -> None:
    """Forged, foreign or without a token: exit status 1."""
    assert office("token", "read", text, status=1).stderr.startswith("retour: ")


def test_a_token_whose_send_is_gone(office: Any) -> None:
    """Genuine, and the store has no record."""
    (made,) = office.json("token", "make", "--stream", "news", "--to", A)
    office.write(lambda c: [c.exec_driver_sql(f"DELETE FROM {table}") for table in ("send_recipient", "send")])
    assert "no record of that send" in office("token", "read", made["token"]).stdout


def test_db_status_and_upgrade(office: Any) -> None:
    """What the schema is, and that an upgrade of a database that needs none changes nothing."""
    assert (
        office("db", "status").stdout
        == f"sqlite:///{office.home}/retour.db: schema {REVISION}, this version needs {REVISION}\n"
    )
    assert office.json("db", "upgrade") == [
        {"database": f"sqlite:///{office.home}/retour.db", "schema": REVISION, "before": REVISION}
    ]
    (office.home / "retour.db").unlink()
    assert office.json("db", "status", status=78)[0]["schema"] is None
    assert f"schema {REVISION}" in office("db", "upgrade").stdout
    assert office("check").exit_code == 0


def test_keys_rotate(office: Any) -> None:
    """The next key signs; old tokens go on verifying."""
    (made,) = office.json("token", "make", "--stream", "news", "--to", A)
    assert "key 1 signs now (was 0); 3 keys verify" in office("keys", "rotate").stdout
    (found,) = office.json("keys", "rotate")
    assert (found["signing"], found["was"], found["keys"]) == (2, 1, 4)
    assert office.json("token", "read", made["token"])[0]["id"] == made["id"]


def test_keys_that_cannot_be_written(office: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk: the system's words, exit status 1, and the ring as it was."""
    before = (office.home / "keys.toml").read_bytes()
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    assert "No space left on device" in office("keys", "rotate", status=1).stderr
    assert (office.home / "keys.toml").read_bytes() == before


def test_config_stands_before_or_behind_the_command(office: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both name the file; behind it wins, and either is asked before the environment."""
    good, gone = str(office.home / "retour.toml"), str(office.home / "gone.toml")
    monkeypatch.setenv("RETOUR_CONFIG", gone)
    for line, status in (
        (["--config", good, "db", "status"], 0),
        (["db", "status", "--config", good], 0),
        (["--config", gone, "db", "status", "--config", good], 0),
        (["--config", good, "db", "status", "--config", gone], 78),
        (["db", "status"], 78),
    ):
        assert CliRunner().invoke(main, line).exit_code == status, line


def test_a_kind_that_is_none_is_refused(office: Any) -> None:
    """A slip in it must not look like the news that nothing happened."""
    assert "'bunce' is not one of" in office("events", "--kind", "bunce", status=2).stderr


def test_the_database_is_compacted(office: Any) -> None:
    """Its size before and after is told; what is in it stays."""
    office("suppressions", "add", A)
    assert re.fullmatch(r"sqlite:///.*/retour\.db: \d+\.\d MB, was \d+\.\d MB\n", office("db", "compact").stdout)
    (told,) = office.json("db", "compact")
    assert told["octets"] == (office.home / "retour.db").stat().st_size <= told["before"]
    assert A in office("suppressions", "list").stdout
