"""Matching without a token: what a Retour-Ref, a Message-ID and an address that anybody can write to prove."""

from __future__ import annotations

from typing import Any

import pytest

from retour_bounces import Original, Report
from retour_policy.clock import DAY, HOUR
from retour_policy.config.model import PolicySection
from retour_policy.messages.matching import ProofRules
from retour_policy.messages.router import Route
from retour_policy.store.facts import Fact

A, B, C = "anna@example.net", "bert@example.net", "carl@example.net"
X = "new-address@elsewhere.example"
MESSAGE_ID = "<1@example.com>"
ANSWERED = Original(message_id=MESSAGE_ID)


@pytest.fixture
def static(book: Any) -> Any:
    """A book whose stream has a static sender."""
    book.proof_rules = ProofRules(tokenless=frozenset({"news"}))
    return book


def complaint(recipient: str | None = A, reason: str | None = "abuse", **original: Any) -> Report:
    """A person complains."""
    return Report("complaint", original=Original(**original), reason=reason, recipient=recipient)


def proofs(book: Any) -> list[tuple[str | None, str | None]]:
    """Whom each fact is about, and how sure that is."""
    found: list[Fact] = book.facts()
    return [(fact.address, fact.what.proof) for fact in found]


def test_a_reference_proves_what_names_a_recipient_of_its_send(static: Any, hard: Any, make_part: Any) -> None:
    """The Retour-Ref of the returned message, for final and original recipients; it travels with what is passed on."""
    static.references["ref"] = send = static.send(A)
    original = Original(retour_ref="ref")
    assert static.back(None, Report("bounce", (make_part(X, original_recipient=A),), original)) == "recorded"
    assert static.counts(A) == (1, 0, 0) and static.facts()[0].what.send_id == send
    for report in (hard(X, retour_ref="ref"), hard(None, retour_ref="ref"), Report("bounce", original=original)):
        assert static.back(None, report) == "forwarded"
    assert static.back(None, Report("autoreply", original=original, recipient=X)) == "forwarded"
    assert static.counts(A) == (1, 0, 0)
    assert proofs(static) == [(A, "corroborated")] + [(None, "corroborated")] * 4


def test_a_reference_ends_with_its_lifetime(static: Any, hard: Any) -> None:
    """`bounce_days` after the send; and old mail is as old as its own date says."""
    static.references["ref"] = static.send(A)
    sent, static.now = static.now, static.now + 400 * DAY
    assert static.back(None, hard(A, retour_ref="ref")) == "forwarded"
    assert static.back(None, hard(A, retour_ref="ref"), at=sent + 31 * DAY, imported=static.now) == "unmatched"
    assert static.counts(A) == (0, 0, 0)
    assert static.back(None, hard(A, retour_ref="ref"), at=sent + 29 * DAY, imported=static.now) == "recorded"
    assert static.counts(A) == (1, 0, 0)


def test_a_reference_of_several_recipients_is_shared_too(static: Any, hard: Any) -> None:
    """Every recipient can read the Retour-Ref in the message: one forged report must not count."""
    for n in range(2):
        static.references[f"ref-{n}"] = static.send(A, B)
    static.back(None, hard(A, retour_ref="ref-0"))
    assert static.counts(A) == (0, 0, 0)
    static.back(None, hard(A, retour_ref="ref-1"))
    assert static.counts(A) == (2, 0, 0)


REDACTED = (None, "redacted", "redacted@provider.example", "[Redacted]@example.net",
            "47PkSyc0bPDNEc5ykmRWU+2bZA8=@example.net")  # fmt: skip
OTHERS = (
    B,
    X,
    "redactie@example.net",
    "christopherjohannsson@example.net",
    "a-name-of-some-length@elsewhere.example",
    "47PkSyc0bPDNEc5ykmRWU@elsewhere.example",
)


@pytest.mark.parametrize("name", REDACTED)
def test_a_complaint_that_redacts_the_recipient_is_known_by_the_reference(static: Any, name: str | None) -> None:
    """Providers keep the name to themselves (RFC 6590); the reference of one recipient says who it is."""
    static.references["ref"] = static.send(A)
    assert static.back(None, complaint(name, retour_ref="ref")) == "recorded"
    assert static.suppressed(A).cause == "complaint" and proofs(static) == [(A, "corroborated")]


@pytest.mark.parametrize("name", OTHERS)
def test_a_complaint_that_names_another_is_not_the_recipients(static: Any, name: str) -> None:
    """The message was passed on, and who got it then complains. Of several recipients, who redacts is nobody."""
    static.references["ref"], static.references["both"] = static.send(A), static.send(A, C)
    assert static.back(None, complaint(name, retour_ref="ref")) == "forwarded"
    assert static.back(None, complaint(None, retour_ref="both")) == "forwarded"
    assert static.suppressed(A) is None and static.suppressed(C) is None


def test_a_copy_that_fails_is_not_forwarded_to_postmaster(static: Any, hard: Any) -> None:
    """An archive named in `copies` is nobody's recipient, and no news."""
    static.proof_rules = ProofRules(copies=frozenset({X}))
    static.references["ref"] = static.send(A)
    assert static.back(None, hard(X, retour_ref="ref")) == "recorded"
    assert static.counts(A) == (0, 0, 0) and static.forwarded() == []


def test_a_message_id_of_a_stream_with_tokens_proves_nothing(book: Any, hard: Any) -> None:
    """It is public, and one for all copies: a forged report that names a victim counts for nobody."""
    book.proof_rules = ProofRules(tokenless=frozenset({"another"}))
    book.send(A, message_id=MESSAGE_ID)
    answer = Report("autoreply", original=ANSWERED, recipient=A)
    for report in (hard(A, message_id=MESSAGE_ID), answer, complaint(message_id=MESSAGE_ID)):
        assert book.back(None, report) == "forwarded"
    assert {proof for _, proof in proofs(book)} == {"unsigned"}
    assert book.counts(A) == (0, 0, 0) and book.suppressed(A) is None


def test_a_message_id_of_a_static_stream_is_shared_proof(static: Any, hard: Any, make_part: Any) -> None:
    """With a recipient of that send: counted when two sends failed. With somebody else, or alone, it is nothing."""
    static.send(A, message_id=MESSAGE_ID)
    for report in (hard(B, message_id=MESSAGE_ID), hard(A, message_id="<2@example.com>"), hard(A)):
        assert static.back(None, report) == "forwarded"
    assert {proof for _, proof in proofs(static)} == {"unsigned"}
    assert static.back(None, Report("bounce", (make_part(X, original_recipient=A),), ANSWERED)) == "recorded"
    assert static.counts(A) == (0, 0, 0) and proofs(static)[-1] == (A, "shared")
    static.send(A, message_id="<2@example.com>")
    static.back(None, hard(A, message_id="<2@example.com>"))
    assert static.counts(A) == (2, 0, 0)


CLAIMS = (complaint(message_id=MESSAGE_ID), complaint(reason="opt-out", message_id=MESSAGE_ID),
          Report("unsubscribe", original=ANSWERED, recipient=A))  # fmt: skip


@pytest.mark.parametrize("report", CLAIMS, ids=["complaint", "opt-out", "unsubscribe"])
def test_nobody_is_unsubscribed_by_a_message_id(static: Any, report: Report) -> None:
    """However often, for however many sends: postmaster decides."""
    for _ in range(4):
        static.send(A, message_id=MESSAGE_ID)
        assert static.back(None, report) == "forwarded"
    assert static.suppressed(A) is None


def test_a_message_id_is_believed_as_long_as_a_token(static: Any, hard: Any) -> None:
    """`bounce_days` after the send. A report is not older than its send either, but for clocks that differ."""
    static.send(A, message_id=MESSAGE_ID)
    sent, report = static.now, hard(A, message_id=MESSAGE_ID)
    static.now = sent + 403 * DAY
    assert static.back(None, report) == "forwarded"
    assert static.back(None, report, at=sent + 30 * DAY + 1, imported=static.now) == "unmatched"
    assert static.back(None, report, at=sent - 2 * HOUR, imported=static.now) == "unmatched"
    assert static.back(None, report, at=sent - HOUR // 2, imported=static.now) == "recorded"
    assert static.back(None, report, at=sent + 30 * DAY, imported=static.now) == "recorded"


def test_an_auto_reply_to_a_static_sender_is_found_by_what_it_answers(static: Any) -> None:
    """In-Reply-To and the author match two sends: shared proof. An unknown author goes to postmaster."""
    for n in range(2):
        static.send(A, message_id=f"<{n}@example.com>")
        answer = Report("autoreply", original=Original(message_id=f"<{n}@example.com>"), recipient=A)
        assert static.back(None, answer) == "recorded"
    assert static.counts(A) == (0, 0, 2)
    assert static.back(None, Report("autoreply", original=ANSWERED, recipient=B)) == "forwarded"


def test_what_a_report_answers_is_as_good_as_what_it_returns(static: Any, hard: Any) -> None:
    """A Message-ID that a gateway made, and our own in the report's In-Reply-To or References."""
    send = static.send(A, message_id=MESSAGE_ID)
    assert static.back(None, hard(A, message_id="<gw@example.net>", answered=("<0@x>", MESSAGE_ID))) == "recorded"
    assert (proofs(static), static.facts()[0].what.send_id) == ([(A, "shared")], send)


def test_the_latest_send_of_a_message_id_is_meant(static: Any, hard: Any) -> None:
    """A message that was sent again to the same recipient is the one that came back."""
    static.send(A, message_id=MESSAGE_ID)
    latest = static.send(A, message_id=MESSAGE_ID)
    static.back(None, hard(A, message_id=MESSAGE_ID))
    assert static.facts()[0].what.send_id == latest


@pytest.mark.parametrize("unsigned", [False, True])
def test_mail_to_role_addresses_never_counts(static: Any, hard: Any, unsigned: bool) -> None:
    """postmaster@ and abuse@ take mail from everybody: it is for a person, whatever it proves, whatever is believed."""
    static.policy = PolicySection(preset="plain", count_unsigned=unsigned)
    static.references["ref"] = static.send(A, message_id=MESSAGE_ID)
    original = {"retour_ref": "ref", "message_id": MESSAGE_ID}
    for report in (hard(A, **original), complaint(**original), Report("autoreply", recipient=A)):
        arrival = static.arrival(Route("role"), report, raw=b"the letter")
        assert static.record(arrival) == "forwarded"
    assert static.forwarded() == [b"the letter"] * 3 and proofs(static) == [(None, "unsigned")] * 3
    assert static.counts(A) == (0, 0, 0) and static.suppressed(A) is None
