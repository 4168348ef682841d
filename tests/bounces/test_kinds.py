"""Kinds: what is no bounce is told apart, and never reports a failure."""

# ruff: noqa: E501  (samples are kept as the lines that servers write)
from __future__ import annotations

from retour_bounces import read

ORIGINAL = "--b\nContent-Type: message/rfc822\n\nFrom: us@example.com\nTo: user@example.net\nMessage-ID: <1@example.com>\n\nhello\n--b--\n"


def multipart(report_type: str, part: str) -> bytes:
    """A report of the type given, with the part given and the message it is about."""
    return (
        f"From: someone@example.net\nTo: us@example.com\nContent-Type: multipart/report; report-type={report_type}; boundary=b\n\n"
        f"--b\nContent-Type: text/plain\n\nSee below.\n--b\n{part}\n{ORIGINAL}"
    ).encode()


def test_an_abuse_report_is_a_complaint() -> None:
    """RFC 5965: kind complaint, reason abuse, the recipient named or else the message's own."""
    found = read(
        multipart(
            "feedback-report",
            "Content-Type: message/feedback-report\n\nFeedback-Type: abuse\nUser-Agent: x\n",
        )
    )
    assert (found.kind, found.reason, found.recipient, found.reports) == (
        "complaint",
        "abuse",
        "user@example.net",
        (),
    )
    assert found.original.message_id == "<1@example.com>"


def test_opt_out_and_not_spam_are_told_from_abuse() -> None:
    """The feedback type is kept, because "not-spam" must never count."""
    for kind in ("opt-out", "not-spam"):
        part = f"Content-Type: message/feedback-report\n\nFeedback-Type: {kind}\nOriginal-Rcpt-To: <a@example.net>\n"
        found = read(multipart("feedback-report", part))
        assert (found.kind, found.reason, found.recipient) == ("complaint", kind, "a@example.net")


def test_a_feedback_report_without_a_type_has_no_reason() -> None:
    """RFC 5965 section 3.1: the type is required, and must not be guessed. Comments are no part of it."""
    for line, reason in (("", None), ("Feedback-Type:\n", None), ("Feedback-Type: Abuse (by a person)\n", "abuse")):
        part = f"Content-Type: message/feedback-report\n\n{line}User-Agent: x\nVersion: 1\n"
        found = read(multipart("feedback-report", part))
        assert (found.kind, found.reason) == ("complaint", reason)


def test_a_read_receipt_is_no_bounce() -> None:
    """RFC 8098: kind mdn, no failed recipient."""
    part = "Content-Type: message/disposition-notification\n\nFinal-Recipient: rfc822;user@example.net\nDisposition: manual-action/MDN-sent-manually; displayed\n"
    found = read(multipart("disposition-notification", part))
    assert (found.kind, found.reason, found.recipient, found.reports) == (
        "mdn",
        "displayed",
        "user@example.net",
        (),
    )


def test_a_holiday_notice_is_an_auto_reply() -> None:
    """RFC 3834: Auto-Submitted: auto-replied."""
    found = read(
        b"From: Ann <ann@example.net>\nAuto-Submitted: auto-replied (vacation)\nIn-Reply-To: <1@example.com>\nSubject: Away\n\nI am away.\n"
    )
    assert (found.kind, found.recipient, found.reports) == ("autoreply", "ann@example.net", ())
    assert found.original.message_id == "<1@example.com>"


def test_ordinary_mail_and_rubbish_are_no_report() -> None:
    """Whatever is no report is `not-a-report`, down to nothing at all."""
    for data in (
        b"",
        b"\0\xff\xfe",
        b"From: a@example.net\nSubject: Lunch?\n\nAt one?\n",
        b"\n\n\n",
        b"no mail at all",
    ):
        assert read(data).kind == "not-a-report"
        assert read(data).reports == ()


def test_a_feedback_report_whose_fields_stand_in_the_text_is_a_complaint() -> None:
    """The report type says what it is; the fields are read where they stand."""
    found = read(
        multipart(
            "feedback-report",
            "Content-Type: text/plain\n\nFeedback-Type: opt-out\nOriginal-Rcpt-To: a@example.net\n",
        )
    )
    assert (found.kind, found.reason, found.recipient, found.reports) == (
        "complaint",
        "opt-out",
        "a@example.net",
        (),
    )


def test_outlooks_forwarded_complaint_is_one() -> None:
    """Outlook.com sends the message itself, with the recipient in a field of its own."""
    data = (
        b"From: staff@hotmail.com\nSubject: complaint about message from 192.0.2.1\n"
        b'Content-Type: multipart/mixed; boundary="b"\n\n--b\nContent-Type: message/rfc822\n\n'
        b"X-HmXmrOriginalRecipient: a@example.net\nFrom: us@example.com\nMessage-ID: <1@example.com>\n\nhi\n--b--\n"
    )
    found = read(data)
    assert (found.kind, found.reason, found.recipient) == ("complaint", "abuse", "a@example.net")
    assert found.original.message_id == "<1@example.com>"
