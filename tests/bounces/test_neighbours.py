"""Neighbours of what was seen in the field: the same said otherwise, and in other languages (neighbours.toml)."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from retour_bounces import judge, read

TABLES = tomllib.loads((Path(__file__).parent / "neighbours.toml").read_text(encoding="utf-8"))
DAEMON = "Mail Delivery Subsystem <mailer-daemon@mx.example.net>"
BACK = """
----- Original message -----
From: us@example.org
To: anna@example.com
Subject: News
Message-ID: <1@example.org>

Hello
"""


def message(text: str, sender: str = DAEMON, header: str = "", kind: str = "text/plain; charset=utf-8") -> bytes:
    """A message with a null sender."""
    head = f"Return-Path: <>\nFrom: {sender}\nTo: us@example.org\nSubject: Your message\n{header}MIME-Version: 1.0\n"
    return f"{head}Content-Type: {kind}\n\n{text}\n".encode()


def failed(data: bytes) -> list[str | None]:
    """Those whom a message reports as failed."""
    return [one.recipient for one in read(data).reports if one.action == "failed"]


@pytest.mark.parametrize("reply", TABLES["others"])
def test_no_recipient_is_blamed_for_others(reply: str) -> None:
    """Senders, their accounts, hosts, messages and connections are denied, closed and deleted too."""
    assert judge(reply).blame != "recipient"


@pytest.mark.parametrize("reply", TABLES["recipients"])
def test_a_recipient_is_known_in_any_of_these_languages(reply: str) -> None:
    """An account that is not there, closed or full is found by its noun and what is said of it."""
    assert judge(reply).blame == "recipient"


@pytest.mark.parametrize("reply", [one for one in TABLES["recipients"] if "zaprt" in one or "suljettu" in one])
def test_what_is_closed_is_gone(reply: str) -> None:
    """A closed account is no suspended one, whatever the language."""
    verdict = judge(reply)
    assert (verdict.type, verdict.reason) == ("hard", "userunknown")


@pytest.mark.parametrize("text", TABLES["delayed"].values(), ids=TABLES["delayed"])
def test_a_server_that_goes_on_trying_has_not_failed(text: str) -> None:
    """Also where the field that names failed recipients names the one who waits."""
    data = message(text + "\n" + BACK, header="X-Failed-Recipients: anna@example.com\n")
    assert (read(data).kind, failed(data)) == ("delayed", [])


@pytest.mark.parametrize("text", TABLES["failed"].values(), ids=TABLES["failed"])
def test_a_failure_is_told_from_a_delay(text: str) -> None:
    """What gives up says so in its own words, and why."""
    [one] = read(message(text + "\n" + BACK)).reports
    assert (one.recipient, one.action, one.reason) == ("anna@example.com", "failed", "userunknown")


@pytest.mark.parametrize("header", ["", "Auto-Submitted: auto-replied (rejected)\n"], ids=["words", "mark"])
@pytest.mark.parametrize("text", TABLES["refused"].values(), ids=TABLES["refused"])
def test_a_filter_refuses_in_the_form_of_a_receipt(text: str, header: str) -> None:
    """Its words suffice, and so does its mark."""
    parts = (
        f"--b\nContent-Type: text/plain; charset=utf-8\n\n{text}\n\n--b\n"
        "Content-Type: message/disposition-notification\n\nFinal-Recipient: rfc822; anna@example.com\n"
        "Disposition: automatic-action/MDN-sent-automatically; deleted\n\n--b--"
    )
    kind = 'multipart/report; report-type=disposition-notification; boundary="b"'
    assert failed(message(parts, header=header, kind=kind)) == ["anna@example.com"]


@pytest.mark.parametrize("text", TABLES["left"].values(), ids=TABLES["left"])
def test_somebody_who_is_gone_for_good_is_not_on_holiday(text: str) -> None:
    """The answer by program says so, in words of many languages."""
    report = read(message(text, "Anna <anna@example.com>", "Auto-Submitted: auto-replied\n"))
    assert (report.kind, report.reason) == ("autoreply", "left")


@pytest.mark.parametrize(
    "line",
    [
        "anna@example.com-User unknown",
        "anna@example.com--550 5.1.1 User unknown",
        "<anna@example.com>-550 no such user",
        "anna@example.com-550 No mailbox here",
        "anna@example.com-no such user",
        "anna@example.com---unknown recipient",
    ],
)
def test_a_dash_behind_an_address_begins_what_is_said_of_it(line: str) -> None:
    """Some programs put no space there."""
    [one] = read(message(f"Your message could not be delivered to:\n\n{line}\n" + BACK)).reports
    assert (one.recipient, one.type, one.blame) == ("anna@example.com", "hard", "recipient")


@pytest.mark.parametrize(
    "host", ["my-host.example.com", "mail.corp-net", "xn--mnchen-3ya.example", "a-b-c.example-no.net"]
)
def test_a_dash_within_the_name_of_a_host_stays(host: str) -> None:
    """Names of hosts have dashes, and what stands behind some of them is a word."""
    data = message(f"Your message could not be delivered to:\n\nanna@{host} user unknown\n" + BACK)
    assert failed(data) == [f"anna@{host}"]


def test_no_cut_of_a_list_of_names_that_wait_is_a_failure() -> None:
    """What stands behind the names may say that delivery is tried again."""
    text = "Sorry.\n\nYour message could not be delivered to:\n\nanna\nbert\n\nIt will be tried again for two days."
    data = message(text)
    assert [cut for cut in range(len(data) + 1) if failed(data[:cut])] == []


def test_a_list_of_names_whose_end_is_there_is_a_failure() -> None:
    """The last delimiter shows that nothing was cut off."""
    text = "Your message could not be delivered to:\n\nanna\nbert\n"
    parts = f"--b\nContent-Type: text/plain\n\n{text}\n--b--"
    assert failed(message(parts, kind='multipart/mixed; boundary="b"').replace(b"Your message\n", b"Undelivered\n", 1))
