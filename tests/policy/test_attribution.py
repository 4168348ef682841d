"""Attribution: whose report it is, by the token, the reference, the Message-ID and the text, and what that proves."""

from __future__ import annotations

from typing import Any

import pytest

from retour_bounces import Report
from retour_policy.messages.matching import ProofRules
from retour_policy.store.facts import Fact

A, B, C = "anna@example.net", "bert@example.net", "carl@example.net"
X = "new-address@elsewhere.example"


def proofs(book: Any) -> list[tuple[str | None, str | None]]:
    """Whom each fact is about, and how sure that is."""
    found: list[Fact] = book.facts()
    return [(fact.address, fact.what.proof) for fact in found]


def test_a_bounce_that_names_nobody_counts_for_the_only_recipient(book: Any) -> None:
    """The token says who it was; the code table's "hard, no code found" says what."""
    book.back(book.send(A), Report("bounce"))
    assert book.counts(A) == (1, 0, 0)
    assert book.facts()[0].what.status == "9.1.1"


def test_a_report_that_names_somebody_else_is_weaker_proof(book: Any, hard: Any) -> None:
    """The target of a forward, or who gets a copy: recorded for whom we wrote to, shown as what it is, not counted."""
    assert book.back(book.send(A), hard(X)) == "recorded"
    assert book.counts(A) == (0, 0, 0) and book.number(X) is None and book.forwarded() == []
    assert book.facts()[0].what.detail["conflict"] == X and proofs(book) == [(A, "conflicting")]


SAME = (
    "ANNA@example.net",
    "anna+news@example.net",
    "anna@mx1.example.net",
    '"anna"@EXAMPLE.net',
    "anna+a+b@In.Example.NET",
)
OTHER = ("anna@example.org", "anna@net", "ann@example.net", "anna-x@example.net", "anna@badexample.net")


@pytest.mark.parametrize("name", SAME)
def test_other_forms_of_the_same_mailbox_are_no_conflict(book: Any, hard: Any, name: str) -> None:
    """Case, quotes, a +tag, a host of the domain: how servers write the mailbox that they were given."""
    book.back(book.send(A), hard(name))
    assert book.counts(A) == (1, 0, 0) and proofs(book) == [(A, "signed")]
    book.back(book.send("bert+list@example.net"), hard(B))
    assert book.counts("bert+list@example.net") == (1, 0, 0)


@pytest.mark.parametrize("name", OTHER)
def test_other_mailboxes_are_a_conflict(book: Any, hard: Any, name: str) -> None:
    """Of another domain, or with another local part."""
    book.back(book.send(A), hard(name))
    assert proofs(book) == [(A, "conflicting")]


@pytest.mark.parametrize("name", [None, "anna", "/home/anna/Maildir"])
def test_what_names_nobody_is_no_conflict(book: Any, hard: Any, name: str | None) -> None:
    """A part without an address, or with a bare name: the token says whose it is."""
    book.back(book.send(A), hard(name))
    assert book.counts(A) == (1, 0, 0) and proofs(book) == [(A, "signed")]


def test_beside_a_part_that_is_theirs_a_foreign_one_is_nobodys(book: Any, hard: Any) -> None:
    """Ours counts; what the report says of others is recorded for nobody."""
    for name in (A, "anna+x@example.net"):
        book.back(book.send(A), hard(X, name))
    assert sorted(proofs(book), key=str) == sorted([(A, "signed"), (None, "signed")] * 2, key=str)
    assert book.counts(A) == (2, 0, 0)


def test_a_conflict_leaves_the_send_to_a_report_that_names_the_recipient(book: Any, hard: Any) -> None:
    """The full archive answers first, then the recipient's own server: that one counts."""
    send = book.send(A)
    for report in (hard(X), hard(A), hard(X)):
        book.back(send, report)
    assert book.counts(A) == (1, 0, 0)


def test_who_fails_for_several_recipients_gets_copies(book: Any, hard: Any) -> None:
    """An archive by always_bcc, a member of several lists: counted for none of them, however often."""
    for day in range(20):
        for to in (A, B, C):
            book.back(book.send(to), hard(X if day % 2 else X.upper()))
        book.days(1)
    assert [book.counts(to) for to in (A, B, C)] == [(0, 0, 0)] * 3
    assert proofs(book)[:3] == [(A, "conflicting"), (B, "copied"), (C, "copied")]
    assert {proof for _, proof in proofs(book)[3:]} == {"copied"}


def test_copies_are_named_beforehand(book: Any, hard: Any) -> None:
    """Addresses and domains in `[policy] copies`: from the first one on, also where the token is of several."""
    book.proof_rules = ProofRules(copies=frozenset({X, "archive.example"}))
    for name in (X.upper(), "any@archive.example"):
        assert book.back(book.send(A), hard(name)) == "recorded"
        assert book.back(book.send(A, B), hard(name)) == "recorded"
    assert {proof for address, proof in proofs(book) if address} == {"copied"}
    assert book.counts(A) == (0, 0, 0) and book.forwarded() == []


def test_people_answer_and_complain_from_other_addresses(book: Any) -> None:
    """A complaint under the token of one recipient is theirs, whomever it names; so is an auto-reply."""
    assert book.back(book.send(A), Report("complaint", reason="abuse", recipient=X)) == "recorded"
    assert book.suppressed(A).cause == "complaint"
    assert book.back(book.send(B), Report("autoreply", recipient=X)) == "recorded"
    assert proofs(book) == [(A, "signed"), (B, "signed")] and book.facts()[1].what.detail["conflict"] == X


def test_the_same_address_in_another_spelling_is_no_conflict(book: Any, hard: Any) -> None:
    """Case and IDN spelling are folded."""
    book.back(book.send("Anna@Bücher.example"), hard("ANNA@xn--bcher-kva.example"))
    assert "conflict" not in book.facts()[0].what.detail


def test_an_original_recipient_decides_before_the_final_one(book: Any, make_part: Any, make_bounce: Any) -> None:
    """With several recipients the address that we gave is believed first."""
    for _ in range(2):
        book.back(book.send(A, B), make_bounce(make_part("x@elsewhere.example", original_recipient=B)))
    assert (book.counts(A), book.counts(B)) == ((0, 0, 0), (2, 0, 0))


def test_with_several_recipients_the_text_must_name_a_recorded_one(book: Any, hard: Any) -> None:
    """Nobody named, or somebody else: recorded, counted for nobody, and postmaster sees it."""
    for report in (hard("other@example.net"), Report("bounce"), hard(None)):
        assert book.back(book.send(A, B), report) == "forwarded"
    assert (book.counts(A), book.counts(B)) == ((0, 0, 0), (0, 0, 0))
    assert len(book.forwarded()) == 3 and {fact.address for fact in book.facts()} == {None}


def test_shared_proof_needs_failures_of_two_sends(book: Any, hard: Any) -> None:
    """Anybody among the recipients holds the token: one report counts for nothing, the same send again neither."""
    send = book.send(A, B)
    for _ in range(5):
        book.back(send, hard(A))
    assert book.counts(A) == (0, 0, 0) and book.facts()[0].what.proof == "shared"
    book.back(book.send(A, B), hard(A))
    assert book.counts(A) == (2, 0, 0)
    book.back(book.send(A, C), hard(A))
    assert book.counts(A) == (3, 0, 0) and book.suppressed(A).cause == "hard"


def test_xverp_names_the_recipient_where_it_is_recorded(book: Any, hard: Any) -> None:
    """The address behind the token is believed only where the send went there."""
    for _ in range(2):
        assert book.back(book.send(A, B), Report("bounce"), named=B) == "recorded"
        assert book.back(book.send(A, B), hard(X), named=A.upper()) == "recorded"
    assert (book.counts(A), book.counts(B)) == ((0, 0, 0), (2, 0, 0)) and (A, "conflicting") in proofs(book)
    assert book.back(book.send(A, B), Report("bounce"), named="other@example.net") == "forwarded"
    assert book.number("other@example.net") is None
    assert book.back(book.send(A, B), hard(B), named="other@example.net") == "recorded"
    assert book.counts(B) == (3, 0, 0)


def test_a_valid_token_whose_record_is_gone(book: Any, hard: Any) -> None:
    """Recorded by its id, counted for nobody, and no business of postmaster's."""
    assert book.back(4711, hard(A)) == "recorded"
    fact = book.facts()[0].what
    assert (fact.send_id, fact.address_id, fact.detail["lost_send"]) == (4711, None, True)
    assert book.number(A) is None and book.forwarded() == []
