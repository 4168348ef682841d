"""Ordinary mail: what only looks like a report names nobody as failed."""

# ruff: noqa: E501  (samples are kept as the lines that servers write)
from __future__ import annotations

import pytest

from retour_bounces import read

MAIL = {
    "parcel": ("Parcel Service <info@parcel.example>", "Your parcel could not be delivered", "Dear customer,\n\nwe could not deliver your parcel. Write to help@parcel.example or ann@example.com.\n"),
    "cron": ("Cron Daemon <root@host.example>", "Cron <root@host> /usr/bin/backup", "rsync: user unknown: bob@host.example\nerror: 550 no such file\n"),
    "logwatch": ("logwatch@host.example", "Logwatch for host.example (Linux)", " 12   550 5.1.1 <ann@example.com>: Recipient address rejected: User unknown\n  3   Deferred mail to bob@example.com\n"),
    "Mailman moderation": ("list-owner@lists.example", "1 List moderator request(s) waiting", "Pending posts:\nFrom: ann@example.com on Mon\nSubject: failure\nCause: Message rejected\n"),
    "Mailman confirm": ("list-confirm+abc@lists.example", "confirm abc", "Mailing list subscription confirmation for ann@example.com.\n"),
    "password": ("Example <no-reply@example.com>", "Reset your password", "If you did not ask, contact support@example.com. The link has expired.\n"),
    "question": ("Ann <ann@example.com>", "Mail delivery failed?", "Hi, my mail to bob@example.com was rejected: 550 user unknown. Can you help?\n"),
    "answer": ("Ann <ann@example.com>", "Re: Undelivered Mail Returned to Sender", "Strange.\n\n> <bob@example.com>: host mx said: 550 5.1.1 User unknown\n"),
    "forward": ("Ann <ann@example.com>", "Fwd: Delivery Status Notification (Failure)", "Look.\n\n> Final-Recipient: rfc822; bob@example.com\n> Action: failed\n> Status: 5.1.1\n"),
    "newsletter": ("Postmaster's Digest <news@digest.example>", "How to handle bounces", "When mail to ann@example.com could not be delivered, look at the 550 code.\n"),
    "invoice": ("billing@example.com", "Invoice 550", "Payment failed for ann@example.com. Card rejected.\n"),
    "calendar": ("Ann <ann@example.com>", "Declined: Meeting", "ann@example.com has declined this invitation.\n"),
    "DMARC report": ("noreply-dmarc-support@google.com", "Report domain: example.org Submitter: google.com Report-ID: 1", "\n"),
    "TLS report": ("tlsrpt@example.com", "Report Domain: example.org Submitter: example.com", "This is an aggregate TLS report from example.com. Failures: 3\n"),
    "unsubscribe": ("Ann <ann@example.com>", "unsubscribe", "Please remove ann@example.com.\n"),
    "spam": ("Mail Admin <admin@evil.example>", "Your mailbox is full", "Dear ann@example.com, your mailbox quota exceeded. Click http://evil.example/ to upgrade.\n"),
    "list bounce notice": ("mailman-bounces@lists.example", "Bounce action notification", "This is a Mailman mailing list bounce action notice:\n\n    List: News\n    Member: ann@example.com\n    Action: Subscription disabled.\n    Reason: Excessive or fatal bounces.\n"),
    "ticket": ("Support <support@example.com>", "[#123] We received your request", "Hello ann@example.com, we will answer within 2 days. This is an automatic message.\n"),
    "out of office without a field": ("Ann <ann@example.com>", "Out of office: News", "I am away. In urgent cases write to bob@example.com, mail to me is delayed.\n"),
}  # fmt: skip


@pytest.mark.parametrize("name", MAIL)
def test_ordinary_mail_names_nobody_as_failed(name: str) -> None:
    """Whatever it talks about: no failed recipient, no bounce."""
    sender, subject, text = MAIL[name]
    report = read(f"From: {sender}\nTo: us@example.org\nSubject: {subject}\nMessage-ID: <2@x>\n\n{text}".encode())
    assert report.kind not in ("bounce", "delayed"), report.reports
    assert report.reports == ()


def test_a_digest_that_holds_reports_is_no_report() -> None:
    """Reports inside a message that is no report itself are somebody else's."""
    inner = "From: MAILER-DAEMON@x.example\nSubject: failure notice\n\nHi. This is the qmail-send program.\n\n<ann@example.com>:\nuser unknown\n"
    head = 'From: Ann <ann@example.org>\nSubject: Please look\nContent-Type: multipart/mixed; boundary="b"\n\n'
    data = (
        head + f"--b\nContent-Type: text/plain\n\nSee attached.\n--b\nContent-Type: message/rfc822\n\n{inner}\n--b--\n"
    )
    assert read(data.encode()).kind == "not-a-report"
