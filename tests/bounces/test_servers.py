"""Servers that cannot run here: their reports, written from the forms they are known for."""

# ruff: noqa: E501  (samples are kept as the lines that servers write)
from __future__ import annotations

import pytest

from retour_bounces import Report, read

SAMPLES: dict[str, tuple[str, str, str | None]] = {
    "Apache James": (
        "Hi. This is the James mail server at mx.example.net.\nI'm afraid I wasn't able to deliver your message to the following addresses.\nThis is a permanent error; I've given up. Sorry it didn't work out.  Below\nI include the list of recipients, and the reason why I was unable to deliver\nyour message.\n\nFailed recipient(s):\nuser@example.com\n\nError message:\n550 5.1.1 User unknown\n\nMessage details:\n  Subject: News\n  MAIL FROM: us@example.org\n  RCPT TO: user@example.com\n  From: Us <us@example.org>\n  To: user@example.com\n  Size (in bytes): 1024\n",
        "Message delivery failed",
        "userunknown",
    ),
    "GMX": (
        'This message was created automatically by mail delivery software.\n\nA message that you sent could not be delivered to one or more of\nits recipients. This is a permanent error. The following address(es)\nfailed:\n\n"user@example.com":\nSMTP error from remote server after RCPT command:\nhost: mx.example.com\n5.1.1 <user@example.com>... User Unknown\n\n--- The header of the original message is following. ---\n\nMessage-ID: <1@example.org>\n',
        "Mail delivery failed: returning message to sender",
        "userunknown",
    ),
    "1&1": (
        "This message was created automatically by mail delivery software.\n\nA message that you sent could not be delivered to one or more of\nits recipients. This is a permanent error.\n\nThe following address failed:\n\n<user@example.com>\n\nFor the following reason:\n\nMail size limit exceeded. For explanation visit\nhttp://postmaster.example.net/\n\n--- The header of the original message is following. ---\n",
        "Mail delivery failed: returning message to sender",
        "emailtoolarge",
    ),
    "Biglobe": (
        "   ----- The following addresses had delivery problems -----\nuser@example.com\n\n   ----- Non-delivered information -----\nThe number of messages in recipient's mailbox exceeded the local limit.\n\n   ----- Original message -----\nTo: user@example.com\n",
        "Returned mail: Local delivery error",
        "mailboxfull",
    ),
    "InterScan": (
        "****** Message from InterScan Messaging Security Suite ******\n\nSent >>> RCPT TO:<user@example.com>\nReceived <<< 550 5.1.1 <user@example.com>... User Unknown\n\nUnable to deliver message to <user@example.com>.\n\n************************     End of message     **********************\n",
        "Mail could not be delivered",
        "userunknown",
    ),
    "Zoho": (
        "This message was created automatically by mail delivery software.\nA message that you sent could not be delivered to one or more of its recipients. This is a permanent error.\n\nuser@example.com Invalid Address, ERROR_CODE :550, ERROR_CODE :5.1.1 <user@example.com>... User Unknown\n\nReceived:from mail.example.org\nDate: Mon, 2 Mar 2026 10:00:00\n",
        "Undelivered Mail Returned to Sender",
        "userunknown",
    ),
    "X6": (
        "We had trouble delivering your message. Full details follow:\n\nSubject: 'News'\nDate:    'Mon, 2 Mar 2026 10:00:00'\n\n1 error(s):\n\nSMTP Server <mx.example.com> rejected recipient <user@example.com> (Error following RCPT command). It responded as follows: [550 5.1.1 User unknown]\n\nA transcript of the session follows.\n",
        "Mail delivery failure",
        "userunknown",
    ),
    "Courier of old": (
        "This is a delivery status notification from mx.example.net,\nrunning the Courier mail server.\n\nUNDELIVERABLE MAIL\n\nYour message to the following recipients cannot be delivered:\n\n<user@example.com>:\n     mx.example.com [192.0.2.1]:\n<<< 550 5.1.1 User unknown\n\nIf your message was also sent to additional recipients, their delivery\nstatus is not included in this report.\n",
        "NOTICE: mail delivery status.",
        "userunknown",
    ),
    "Outlook of old": (
        "Your message did not reach some or all of the intended recipients.\n\n      Subject:  News\n      Sent:     3/2/2026 10:00 AM\n\nThe following recipient(s) could not be reached:\n\n      user@example.com on 3/2/2026 10:01 AM\n            The e-mail account does not exist at the organization this message was sent to.\n",
        "Undeliverable: News",
        "userunknown",
    ),
    "GroupWise": (
        "The message that you sent was undeliverable to the following:\n\tuser@example.com (user not found)\n\nPossibly truncated original message follows:\n\nFrom: us@example.org\n",
        "Message status - undeliverable",
        "userunknown",
    ),
    "CommuniGate": (
        "Failed to deliver to 'user@example.com'\nSMTP module(domain example.com) reports:\n host mx.example.com says:\n 550 5.1.1 user unknown\n",
        "Undeliverable mail: News",
        "userunknown",
    ),
    "Merak": (
        "Could not deliver message to the following recipient(s):\n\nFailed Recipient: user@example.com\nReason: Remote host said: 550 user unknown\n\n   -- The header and top 20 lines of the message follows --\n\nTo: user@example.com\n",
        "Delivery Failure",
        None,
    ),
    "Lyris": (
        "Your message was not delivered to the following recipient:\n\nrecipient: user@example.com\n\nReason: mailbox full\n",
        "Undeliverable mail",
        "mailboxfull",
    ),
    "au by KDDI": (
        "Your mail sent on: Mon, 2 Mar 2026 10:00:00 +0900\n     Could not be delivered to: <user@example.com>\n     As their mailbox is full.\n",
        "Mail System Error - Returned Mail",
        "mailboxfull",
    ),
    "docomo": (
        "   ----- The following addresses had permanent fatal errors -----\n<user@example.com>\n\n   ----- Transcript of session follows -----\n... while talking to mx.example.com:\n>>> RCPT TO:<user@example.com>\n<<< 550 Unknown user user@example.com\n550 5.1.1 <user@example.com>... User unknown\n",
        "Returned mail: User unknown",
        "userunknown",
    ),
    "Mailman's bounce of a held message": (
        "Your mail to 'List' with the subject\n\n    News\n\nIs being held until the list moderator can review it for approval.\n",
        "Your message to List awaits moderator approval",
        "",
    ),
}  # fmt: skip


def report(name: str) -> Report:
    """The report of a server."""
    text, subject, _ = SAMPLES[name]
    sender = "list-bounces@example.net" if "Mailman" in name else "Mail Delivery System <MAILER-DAEMON@mx.example.net>"
    return read(f"From: {sender}\nTo: b-token@bounces.example.org\nSubject: {subject}\n\n{text}".encode())


@pytest.mark.parametrize("name", SAMPLES)
def test_the_report_of_a_server_that_cannot_run_here_is_read(name: str) -> None:
    """The recipient and why it failed; none where nothing failed."""
    found, reason = report(name), SAMPLES[name][2]
    if reason == "":
        assert (found.kind, found.reports) == ("not-a-report", ())
        return
    assert found.kind == "bounce"
    assert [one.recipient for one in found.reports] == ["user@example.com"]
    assert reason is None or found.reports[0].reason == reason


EXCHANGE = """--b
Content-Type: text/plain; charset="us-ascii"

Delivery has failed to these recipients or groups:

user@example.com<mailto:user@example.com>
{words}

--b
Content-Type: message/delivery-status

Reporting-MTA: dns;host.prod.outlook.com
Received-From-MTA: dns;us.example.org
Arrival-Date: Mon, 2 Mar 2026 10:00:00 +0000

Final-Recipient: rfc822;user@example.com
Action: failed
Status: {status}
Diagnostic-Code: smtp;{reply}

--b--
"""


@pytest.mark.parametrize(
    ("status", "reply", "reason", "blame"),
    [
        (
            "5.1.10",
            "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup",
            "userunknown",
            "recipient",
        ),
        (
            "5.4.1",
            "550 5.4.1 Recipient address rejected: Access denied. AS(201806281) [host.prod.outlook.com]",
            "userunknown",
            "recipient",
        ),
        (
            "5.2.2",
            "554 5.2.2 mailbox full; STOREDRV.Deliver; delivery result banner",
            "mailboxfull",
            "recipient",
        ),
        (
            "5.7.1",
            "550 5.7.1 TRANSPORT.RULES.RejectMessage; the message was rejected by organization policy",
            "policyviolation",
            "sender",
        ),
        ("5.7.606", "550 5.7.606 Access denied, banned sending IP [192.0.2.1]", "blocked", "sender"),
        (
            "5.7.509",
            "550 5.7.509 Access denied, sending domain example.org does not pass DMARC verification",
            "authfailure",
            "sender",
        ),
        (
            "5.4.310",
            "550 5.4.310 DNS domain gone.example does not exist [Message=InfoDomainNonexistent]",
            "hostunknown",
            "recipient",
        ),
        ("4.4.7", "550 4.4.7 QUEUE.Expired; message expired", "expired", "network"),
        (
            "5.2.3",
            "550 5.2.3 RESOLVER.RST.RecipSizeLimit; message too large for this recipient",
            "emailtoolarge",
            "content",
        ),
        ("5.4.14", "554 5.4.14 Hop count exceeded - possible mail loop ATTR34", "networkerror", "network"),
    ],
)
def test_exchange_and_its_codes_are_read(status: str, reply: str, reason: str, blame: str) -> None:
    """Exchange's own vocabulary has the reasons that it stands for."""
    head = "From: <postmaster@example.com>\nTo: <us@example.org>\nSubject: Undeliverable: News\n"
    kind = 'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\n\n'
    data = head + kind + EXCHANGE.format(status=status, reply=reply, words="Your message couldn't be delivered.")
    (one,) = read(data.encode()).reports
    assert (one.recipient, one.status, one.reason, one.blame) == ("user@example.com", status, reason, blame)
