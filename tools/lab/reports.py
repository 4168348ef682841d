"""Reports: what other mail servers send back, as octets or already read.

Delivery reports (RFC 3464), delay warnings, auto-replies (RFC 3834).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, make_msgid
from typing import Any

from retour_bounces import RecipientReport

SERVER = "mx.example.net"
BOUNDARY = "=_report_of_mx.example.net"

REPORT = """\
From: Mail Delivery System <MAILER-DAEMON@{server}>
To: {to}
Subject: {subject}
Date: {date}
Message-ID: {message_id}
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="{boundary}"

--{boundary}
Content-Type: text/plain; charset=us-ascii

This is the mail system at {server}. {explanation}

<{recipient}>: {diagnostic}

--{boundary}
Content-Type: message/delivery-status

Reporting-MTA: dns; {server}
Arrival-Date: {date}

Final-Recipient: rfc822; {recipient}
Action: {action}
Status: {status}
Diagnostic-Code: smtp; {diagnostic}

--{boundary}
Content-Type: text/rfc822-headers

{headers}
--{boundary}--
"""

AUTOREPLY = """\
From: <{recipient}>
To: {to}
Subject: Out of office: {subject}
Date: {date}
Message-ID: {message_id}
In-Reply-To: {original_id}
Auto-Submitted: auto-replied
Precedence: bulk
MIME-Version: 1.0
Content-Type: text/plain; charset=us-ascii

I am on holiday and will read your message when I am back.
"""


HARD_BOUNCE = """\
{header}From: MAILER-DAEMON@mx.example.net
Subject: Undelivered
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b

{text}
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.net

Final-Recipient: rfc822; {recipient}
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 no such user
{returned}--b--
"""


def hard_bounce(recipient: str, *, header: str = "", text: str = "No such user.", returned: str = "") -> str:
    """The shortest report that a recipient does not exist, with LF line ends.

    `header` is put in front of its own fields (whole lines), `returned` is the message that it returns.
    """
    part = f"--b\nContent-Type: message/rfc822\n\n{returned}\n" if returned else ""
    return HARD_BOUNCE.format(recipient=recipient, header=header, text=text, returned=part)


def failed(recipient: str | None, type_: str | None = "hard", **said: Any) -> RecipientReport:
    """What a report says of one recipient, once it is read: unknown, or by default for `soft` over quota."""
    values: dict[str, Any] = {
        "recipient": recipient,
        "original_recipient": None,
        "action": "failed",
        "type": type_,
        "status": "5.1.1" if type_ == "hard" else "4.2.2",
        "status_source": "wire",
        "reason": "userunknown",
        "blame": "recipient",
        "rule": None,
        "evidence": "",
        "diagnostic": "550 5.1.1 no such user",
    }
    return RecipientReport(**values | said)


@dataclass(frozen=True)
class Original:
    """The message that is answered: who sent it to whom, and its header section."""

    sender: str
    recipient: str
    headers: str
    subject: str
    message_id: str


@dataclass(frozen=True)
class Failure:
    """A report that delivery failed, as in RFC 3464."""

    status: str = "5.1.1"
    diagnostic: str = "550 5.1.1 User unknown"
    action: str = "failed"
    explanation: str = "Your message could not be delivered."
    sender: str = ""

    def compose(self, original: Original) -> bytes:
        """The report, with CRLF line ends."""
        return _fill(
            REPORT,
            original,
            subject="Undelivered Mail Returned to Sender" if self.action == "failed" else "Delayed Mail",
            headers=original.headers.strip() + "\n",
            status=self.status,
            diagnostic=self.diagnostic,
            action=self.action,
            explanation=self.explanation,
        )


def delay() -> Failure:
    """A warning that delivery takes longer than usual; nothing has failed yet."""
    return Failure(
        status="4.4.1",
        diagnostic="451 4.4.1 Connection timed out",
        action="delayed",
        explanation="Your message is delayed. You need not send it again.",
    )


@dataclass(frozen=True)
class AutoReply:
    """An answer of a vacation program, as in RFC 3834: to the envelope sender, with a sender of <>."""

    sender: str = ""

    def compose(self, original: Original) -> bytes:
        """The answer, with CRLF line ends."""
        return _fill(AUTOREPLY, original, subject=original.subject, original_id=original.message_id)


def _fill(template: str, original: Original, **values: str) -> bytes:
    text = template.format(
        server=SERVER,
        boundary=BOUNDARY,
        to=original.sender,
        recipient=original.recipient,
        date=format_datetime(datetime.now(UTC)),
        message_id=make_msgid(domain=SERVER),
        **values,
    )
    return "\r\n".join(text.splitlines()).encode("utf-8", "surrogateescape") + b"\r\n"
