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


HARMLESS = [
    (
        "Postmaster <postmaster@example.com>",
        "Scheduled maintenance",
        "On Monday mail to ann@example.com will be delayed. Contact help@example.com.\n",
    ),
    (
        "postmaster@example.com",
        "Your mailbox is almost full",
        "Dear ann@example.com, your mailbox is over 90 % of its quota.\n",
    ),
    (
        "Microsoft Outlook <MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@example.com>",
        "Read: News",
        "Your message\n\n   To: ann@example.com\n   Subject: News\n\nwas read on Monday.\n",
    ),
    (
        "postmaster@example.com",
        "Quarantine summary",
        "The following messages were blocked:\n\nFrom: x@y.example To: ann@example.com\n",
    ),
    (
        "Mail Delivery Subsystem <MAILER-DAEMON@example.com>",
        "Return receipt",
        "   ----- The following addresses had successful delivery notifications -----\n<ann@example.com>  (successfully delivered to mailbox)\n",
    ),
    (
        "Mailer <mailer-daemon@example.com>",
        "Delivered: News",
        "Your message was delivered to the following recipients:\n\nann@example.com\n",
    ),
    (
        "postmaster@example.com",
        "Delivery Status Notification (Success)",
        "This is an automatically generated Delivery Status Notification.\n\nYour message has been successfully relayed to the following recipients, but the requested delivery status notifications may not be generated by the destination.\n\n       ann@example.com\n",
    ),
    (
        "abuse@example.com",
        "[spam report] 192.0.2.1",
        "We received this spam from you, to ann@example.com. Stop it or be blocked.\n",
    ),
    (
        "no-reply@sns.amazonaws.com",
        "AWS Notification - Subscription Confirmation",
        "You have chosen to subscribe to the topic.\n",
    ),
    (
        "MDaemon at example.com <MDaemon@example.com>",
        "Attention: mail rules changed",
        "User ann@example.com was added.\n",
    ),
    (
        "Mail Delivery Subsystem <mailer-daemon@googlemail.com>",
        "Delivery Status Notification (Delay)",
        "** Delivery incomplete **\n\nThere was a temporary problem delivering your message to ann@example.com. Gmail will retry for 46 more hours. You'll be notified if the delivery fails permanently.\n\nThe response was:\n451 4.3.0 try later\n",
    ),
    (
        "Mail Delivery System <Mailer-Daemon@x.example>",
        "Warning: message 1abc delayed 24 hours",
        "This message was created automatically by mail delivery software.\nA message that you sent has not yet been delivered to one or more of its\nrecipients after more than 24 hours on the queue on x.example.\n\nThe address to which the message has not yet been delivered is:\n\n  ann@example.com\n    Delay reason: connection refused\n\nNo action is required on your part. Delivery attempts will continue.\n",
    ),
    (
        "Postmaster@x.example",
        "Delivery Notification: Delivery has been delayed",
        "Your message has been enqueued and undeliverable for 1 day\nto the following recipients:\n\n  Recipient address: ann@example.com\n  Reason: unable to deliver this message after 1 day\n\nDelivery attempt history for your mail:\n\nThe mail system will continue to try to deliver your message\nfor an additional 3 days.\n",
    ),
    (
        "MAILER-DAEMON@x.example",
        "Warning: could not send message for past 4 hours",
        "    **********************************************\n    **      THIS IS A WARNING MESSAGE ONLY      **\n    **  YOU DO NOT NEED TO RESEND YOUR MESSAGE  **\n    **********************************************\n\nThe original message was received\n\n   ----- Transcript of session follows -----\n<ann@example.com>... Deferred: Connection timed out with mx.\nWarning: message still undelivered after 4 hours\nWill keep trying until message is 5 days old\n",
    ),
    (
        "postmaster@x.example",
        "Verzögerte Zustellung",
        "Ihre Nachricht an ann@example.com konnte noch nicht zugestellt werden. Die Zustellung wird weiterhin versucht.\n",
    ),
    (
        "postmaster@x.example",
        "Retardée : News",
        "La remise aux destinataires suivants a été retardée :\n\nann@example.com\n",
    ),
]


@pytest.mark.parametrize(("sender", "subject", "text"), HARMLESS, ids=lambda value: str(value)[:30])
def test_what_mail_systems_write_besides_bounces_fails_nobody(sender: str, subject: str, text: str) -> None:
    """Notices, receipts, success reports and warnings of mail systems, in the words of many of them."""
    report = read(f"From: {sender}\nTo: us@example.org\nSubject: {subject}\n\n{text}".encode())
    assert report.kind != "bounce"
    assert not [one for one in report.reports if one.action == "failed"]
