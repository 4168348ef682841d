"""Reply: what one SMTP reply means, without a report around it."""

from __future__ import annotations

from retour_bounces.classify.rules import Rules
from retour_bounces.classify.verdict import Judge, Verdict


def judge(reply: str, *, status: str | None = None, command: str = "", rules: Rules | None = None) -> Verdict:
    """Type, reason and blame of an SMTP reply such as "550 5.1.1 <user@example.com>: User unknown".

    `status` is the enhanced status code where it is known from elsewhere, `command` the SMTP command that was
    answered ("RCPT", "DATA" ...), `rules` the bundled ones unless given. A type in front ("smtp; 550 ...") is
    forgiven.
    """
    kind, semicolon, rest = reply.partition(";")
    if semicolon and kind.strip().lower() in ("smtp", "lmtp", "x-postfix"):
        reply = rest
    return Judge(rules or Rules.bundled())(reply, status, command)
