"""Attribution: whose report it is, by the token, the reference, the Message-ID and the text, and what that proves."""

from __future__ import annotations

from typing import Any

from retour_bounces import Original, Report
from retour_policy.messages.router import Route

A, B, C = "anna@example.net", "bert@example.net", "carl@example.net"


def test_a_bounce_that_names_nobody_counts_for_the_only_recipient(book: Any) -> None:
    """The token says who it was; the code table's "hard, no code found" says what."""
    book.back(book.send(A), Report("bounce"))
    assert book.counts(A) == (1, 0, 0)
    assert book.facts()[0].what.status == "9.1.1"


def test_a_forwarded_address_is_kept_as_a_conflict_and_counted_for_the_recorded_one(book: Any, hard: Any) -> None:
    """People forward their mail: the report names the target, the token the one we wrote to."""
    book.back(book.send(A), hard("new-address@elsewhere.example"))
    assert book.counts(A) == (1, 0, 0) and book.number("new-address@elsewhere.example") is None
    assert book.facts()[0].what.detail["conflict"] == "new-address@elsewhere.example"
    assert book.facts()[0].what.proof == "signed"


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
        assert book.back(book.send(A, B), hard("x@elsewhere.example"), named=A.upper()) == "recorded"
    assert (book.counts(A), book.counts(B)) == ((2, 0, 0), (2, 0, 0))
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


def test_a_static_sender_with_our_reference(book: Any, hard: Any) -> None:
    """The Retour-Ref of the returned message is as good as a token in the address."""
    send = book.send(A)
    book.references["ref-1"] = send
    assert book.back(None, hard("forwarded@elsewhere.example", retour_ref="ref-1")) == "recorded"
    fact = book.facts()[0].what
    assert book.counts(A) == (1, 0, 0) and (fact.proof, fact.send_id) == ("corroborated", send)


def test_a_reference_of_several_recipients_is_shared_too(book: Any, hard: Any) -> None:
    """Every recipient can read the Retour-Ref in the message: one forged report must not count."""
    for n in range(2):
        book.references[f"ref-{n}"] = book.send(A, B, message_id=f"<{n}@example.com>")
    book.back(None, hard(A, retour_ref="ref-0"))
    assert book.counts(A) == (0, 0, 0)
    book.back(None, hard(A, message_id="<1@example.com>"))
    assert book.counts(A) == (2, 0, 0)


def test_a_static_sender_with_message_id_and_recipient(book: Any, hard: Any, make_part: Any, make_bounce: Any) -> None:
    """Both must match a send record: the Message-ID alone, or with somebody else, is not enough."""
    book.send(A, message_id="<1@example.com>")
    assert book.back(None, hard(B, message_id="<1@example.com>")) == "forwarded"
    assert book.back(None, hard(A, message_id="<2@example.com>")) == "forwarded"
    assert book.back(None, hard(A)) == "forwarded"
    assert book.counts(A) == (0, 0, 0) and {fact.what.proof for fact in book.facts()} == {"unsigned"}
    report = make_bounce(make_part("x@elsewhere.example", original_recipient=A), message_id="<1@example.com>")
    assert book.back(None, report) == "recorded"
    assert book.counts(A) == (1, 0, 0) and book.facts()[-1].what.proof == "corroborated"


def test_an_auto_reply_to_a_static_sender_is_found_by_what_it_answers(book: Any) -> None:
    """In-Reply-To and the author match a send record; an unknown author goes to postmaster."""
    book.send(A, message_id="<1@example.com>")
    answer = Report("autoreply", original=Original(message_id="<1@example.com>"), recipient=A)
    assert book.back(None, answer) == "recorded" and book.counts(A) == (0, 0, 1)
    stranger = Report("autoreply", original=Original(message_id="<1@example.com>"), recipient=B)
    assert book.back(None, stranger) == "forwarded"


def test_the_latest_send_of_a_message_id_is_meant(book: Any, hard: Any) -> None:
    """A message that was sent again to the same recipient is the one that came back."""
    book.send(A, message_id="<1@example.com>")
    latest = book.send(A, message_id="<1@example.com>")
    book.back(None, hard(A, message_id="<1@example.com>"))
    assert book.facts()[0].what.send_id == latest


def test_role_addresses_go_to_postmaster_whatever_they_hold(book: Any, hard: Any) -> None:
    """Mail to postmaster@ and abuse@ is for a person."""
    arrival = book.arrival(Route("role"), hard(A), raw=b"the letter")
    assert book.record(arrival) == "forwarded" and book.forwarded() == [b"the letter"]
