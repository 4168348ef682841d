"""Receipts: what a filter refuses in the form of a read receipt has failed; who deletes or reads a message has not."""

from __future__ import annotations

import pytest

from retour_bounces import RecipientReport, read

BY_PROGRAM = "automatic-action/MDN-sent-automatically; deleted"
MARKED = "Auto-Submitted: auto-replied (rejected)\n"
SAID = "Your message to <user@example.com> was automatically rejected:\n{}\n"


def receipt(text: str, disposition: str = BY_PROGRAM, header: str = "", subject: str = "Rejected: News") -> bytes:
    """A receipt of user@example.com."""
    fields = f"Reporting-UA: mx; Filter\nFinal-Recipient: rfc822; user@example.com\nDisposition: {disposition}\n"
    back = "Message-ID: <1@example.org>\nFrom: us@example.org\nTo: news@example.com\n"
    kinds = ("text/plain; charset=utf-8", text), ("message/disposition-notification", fields), ("message/rfc822", back)
    parts = "".join(f"--b\nContent-Type: {kind}\n\n{body}\n" for kind, body in kinds)
    head = f"From: Postmaster <postmaster@example.com>\nTo: us@example.org\nSubject: {subject}\n{header}"
    kind = 'multipart/report; report-type=disposition-notification; boundary="b"'
    return f"{head}MIME-Version: 1.0\nContent-Type: {kind}\n\n{parts}--b--\n".encode()


def failed(data: bytes) -> RecipientReport:
    """The only recipient of a bounce."""
    report = read(data)
    assert (report.kind, report.original.message_id) == ("bounce", "<1@example.org>")
    (one,) = report.reports
    assert (one.recipient, one.action) == ("user@example.com", "failed")
    return one


@pytest.mark.parametrize(
    ("words", "reason", "kind"),
    [
        ("Quota exceeded (mailbox for user is full)", "mailboxfull", "soft"),
        ("There is no more room in this mailbox: over quota.", "mailboxfull", "soft"),
        ("550 5.1.1 User unknown", "userunknown", "hard"),
        ("No such user here", "userunknown", "hard"),
        ("Letters from you go to the bin.", "filtered", "hard"),
        ("It could not be delivered.", "filtered", "hard"),
        ("", "filtered", "hard"),
    ],
)
def test_a_refusal_in_the_form_of_a_receipt_is_a_bounce(words: str, reason: str, kind: str) -> None:
    """RFC 5429: its reason stands in its words, and is the filter where no rule knows them."""
    one = failed(receipt(SAID.format(words), header=MARKED))
    assert (one.reason, one.type, one.blame) == (reason, kind, "recipient")


@pytest.mark.parametrize(
    "text",
    [
        "Your message was automatically rejected by Sieve, a mail filtering language.\n\nThe reason was:\nNo news.",
        "This message was refused by the recipient's mail filtering program.\n\nNo news.",
        "Ihre Nachricht wurde automatisch abgelehnt:\nKeine Werbung.",
        "Votre message a été automatiquement rejeté :\nPas de publicité.",
        "Su mensaje fue rechazado automáticamente:\nNo más noticias.",
        "Сообщение отклонено фильтром.",
        "メッセージは自動的に拒否されました。",
    ],
)
def test_the_words_of_a_filter_suffice(text: str) -> None:
    """Not every filter marks its answer."""
    assert failed(receipt(text, subject="Re: News")).reason == "filtered"


@pytest.mark.parametrize(
    "disposition",
    [
        "automatic-action/MDN-sent-automatically;deleted",
        "Automatic-Action/MDN-Sent-Automatically; Deleted",
        "automatic-action/MDN-sent-automatically; deleted/error",
    ],
)
def test_the_disposition_is_read_however_it_is_written(disposition: str) -> None:
    """Case, spaces and modifiers (RFC 8098 section 3.2.6) do not matter."""
    assert failed(receipt(SAID.format("No."), disposition, MARKED)).reason == "filtered"


UNREAD = (
    "Your message\n\nTo: user@example.com\nSubject: {}\nSent: Monday\n\nwas deleted without being read on Tuesday.\n"
)


@pytest.mark.parametrize("subject", ["News", "Your order was rejected", "Quota exceeded", "User unknown"])
def test_a_message_that_a_program_deleted_unread_has_not_failed(subject: str) -> None:
    """Nobody refused it; the Subject that the receipt repeats is ours."""
    report = read(receipt(UNREAD.format(subject), subject=f"Not read: {subject}"))
    assert (report.kind, report.reason, report.recipient, report.reports) == ("mdn", "deleted", "user@example.com", ())


@pytest.mark.parametrize(
    "disposition",
    [
        "manual-action/MDN-sent-manually; deleted",
        "manual-action/MDN-sent-automatically; displayed",
        "automatic-action/MDN-sent-automatically; displayed",
        "automatic-action/MDN-sent-automatically; processed",
        "automatic-action/MDN-sent-automatically; dispatched",
        "",
    ],
)
def test_the_receipt_of_a_person_or_a_reader_has_not_failed(disposition: str) -> None:
    """Whatever its words are."""
    report = read(receipt(SAID.format("User unknown"), disposition))
    assert (report.kind, report.reports) == ("mdn", ())


@pytest.mark.parametrize(
    "disposition",
    [
        "manual-action/MDN-sent-automatically; deleted",
        "automatic-action/MDN-sent-automatically; denied",
        "automatic-action/MDN-sent-automatically; failed",
        "",
    ],
)
def test_a_mark_of_rejection_suffices_unless_somebody_saw_the_message(disposition: str) -> None:
    """RFC 3834 lets a filter mark its answer; what was displayed has arrived."""
    assert failed(receipt(SAID.format("No such user"), disposition, MARKED)).reason == "userunknown"
    seen = receipt(SAID.format("No such user"), "automatic-action/MDN-sent-automatically; displayed", MARKED)
    assert read(seen).kind == "mdn"
