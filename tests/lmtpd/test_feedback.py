"""Feedback over LMTP: who complains, who only wants no more mail, and what is neither; and what proves whose it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.intake import ABUSE, RETURNS, Intake
from lab.process import workspace
from lab.reports import hard_bounce
from lab.site import retour


@pytest.fixture(scope="module")
def intake() -> Iterator[Intake]:
    with workspace() as folder:
        intake = Intake(folder)
        with intake.service:
            intake.service.wait_ready()
            yield intake


COMPLAINT, OPT_OUT = [("bulk", "complaint")], [("news", "unsubscribe")]
TYPES = {
    "abuse": (COMPLAINT, ["complaint", "suppressed"]),
    "fraud": (COMPLAINT, ["complaint", "suppressed"]),
    "Abuse (spam)": (COMPLAINT, ["complaint", "suppressed"]),
    "opt-out": (OPT_OUT, ["unsubscribed", "suppressed"]),
    "not-spam": ([], []),
    "auth-failure": ([], []),
    "virus": ([], []),
    "other": ([], []),
    "dmarc-thing": ([], []),
    "": ([], []),
    None: ([], []),
}


@pytest.mark.parametrize("type_", TYPES)
def test_only_abuse_and_fraud_complain(intake: Intake, type_: str | None) -> None:
    """RFC 5965: the type is required, and a type that is not known says nothing about what a person wants."""
    to = f"t{list(TYPES).index(type_)}@example.net"
    for _ in range(3):
        intake.feedback(intake.made(to), type_, to)
    assert (intake.suppressed(to), intake.told(to)[:2]) == TYPES[type_]
    facts = intake.json("events", "--address", to)
    assert [fact["kind"] for fact in facts] == ["complaint"] * 3
    assert {fact.get("reason") for fact in facts} == {(type_ or "").lower().partition(" ")[0] or None}
    assert intake.json("rebuild") == intake.json("simulate", "--with", str(intake.config)) == []


@pytest.mark.parametrize("type_", ["abuse", "opt-out", "not-spam", None])
def test_imported_feedback_counts_the_same(intake: Intake, type_: str | None) -> None:
    """The postmaster's old complaints say no more than new ones; hooks are told of none."""
    to = f"old-{type_}@example.net".lower()
    path = intake.home / "old.eml"
    path.write_text(intake.compose(intake.made(to), type_, to))
    assert intake.json("import", str(path)) == [{"recorded": 1}]
    assert (intake.suppressed(to), intake.told(to)) == (TYPES[type_][0], [])
    assert intake.json("rebuild") == []


def test_what_counts_for_nothing_uses_up_no_send(intake: Intake) -> None:
    """Not spam, then spam after all, and no more of this, of one message: each is heard."""
    address = intake.made("all@example.net")
    for type_ in ("not-spam", "opt-out", "abuse", "abuse"):
        intake.feedback(address, type_, "all@example.net")
    assert sorted(intake.suppressed("all@example.net")) == [*COMPLAINT, *OPT_OUT]
    assert intake.told("all@example.net") == ["unsubscribed", "suppressed", "complaint", "suppressed"]
    assert intake.json("rebuild") == []


def test_a_complaint_at_a_static_sender_is_known_by_the_reference(intake: Intake) -> None:
    """The provider redacts the recipient; our own field in the returned header says who it was."""
    reference = intake.made("ref@example.net", "static")
    intake.feedback(RETURNS, "abuse", "ref@example.net", named=False, returned=f"Retour-Ref: {reference}\n")
    assert intake.suppressed("ref@example.net") == COMPLAINT


@pytest.mark.parametrize("stream", ["news", "static"])
@pytest.mark.parametrize("to", [RETURNS, ABUSE])
def test_nobody_is_suppressed_by_a_message_id(intake: Intake, stream: str, to: str) -> None:
    """Public in any archive: whoever knows it and an address could else have that address suppressed."""
    victim = f"victim-{stream}-{to.partition('@')[0]}@example.net"
    for number in range(3):
        message_id = f"<{number}.{victim}>"
        intake.sent(victim, stream, message_id)
        intake.feedback(to, "abuse", victim, returned=f"Message-ID: {message_id}\n")
        intake.feedback(to, "opt-out", victim, returned=f"Message-ID: {message_id}\n")
    assert intake.suppressed(victim) == []


def test_mail_to_a_role_address_counts_for_nobody(intake: Intake) -> None:
    """Not even with a genuine reference: it is for postmaster to read."""
    to = "role@example.net"
    for _ in range(3):
        returned = f"Retour-Ref: {intake.made(to, 'static')}\n"
        intake.feedback(ABUSE, "abuse", to, returned=returned)
        intake.deliver(ABUSE, hard_bounce(to, returned=returned))
    assert intake.suppressed(to) == [] and intake.told(to) == []
    (row,) = [row for row in intake.json("outbox", "list") if row["kind"] == "forward"][-1:]
    assert row["target"] == "pm@example.com"


def test_a_report_that_names_somebody_else_is_shown_as_what_it_is(intake: Intake) -> None:
    """`address show` and `events` say whom it names; the hook hears it too; nobody is paused."""
    to, other = "forwards@example.net", "dead-end@elsewhere.example"
    intake.deliver(intake.made(to), hard_bounce(other))
    assert intake.suppressed(to) == [] and intake.told(to) == ["bounce.hard"]
    for words in (["address", "show", to], ["events", "--address", to]):
        shown = " ".join(retour(*words, config=intake.config).stdout.split())
        assert f"(the report names {other})" in shown
    (event,) = intake.json("events", "--address", to)
    assert (event["proof"], event["names"]) == ("conflicting", other)
    intake.deliver(intake.made("copied@example.net"), hard_bounce(other))
    assert intake.told("copied@example.net") == []
    assert "who gets copies of others' mail" in " ".join(
        retour("address", "show", "copied@example.net", config=intake.config).stdout.split()
    )
