"""Answers: what the milter can say to a step of a client. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from retour_milter.header_edits import HeaderEdit
from retour_milter.recipients import NO_EDITS, RecipientEdits
from retour_policy.core.suppression import Suppression


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that refuses."""

    code: str
    status: str
    text: str


@dataclass(frozen=True, slots=True)
class Edits:
    """What to change at the end of a message."""

    sender: str | None = None
    """The new envelope sender without <>; None: unchanged."""
    recipients: RecipientEdits = NO_EDITS
    headers: tuple[HeaderEdit, ...] = ()


class Discard:
    """Accept and discard it: of sendmail(1), where a refusal would leave it in the queue; in a stream that drops."""


Answer = Reply | Edits | Discard
PASS = Edits()
DISCARD = Discard()
STORE_IS_DOWN = Reply("451", "4.3.0", "try again later")
STOPPING = Reply("451", "4.3.2", "stopping, try again later")
SECOND_RECIPIENT = Reply("452", "4.5.3", "one recipient a message in this stream")


def refusal(recipient: str, found: Suppression) -> Reply:
    """The 550 with cause and date; 451 while one message tries. libmilter cannot send a single %."""
    words = f"<{recipient}> is suppressed: {found.words()}"
    text = "".join(c if c.isascii() and c.isprintable() and c != "%" else "?" for c in words)
    code, status = ("451", "4.7.1") if found.cause == "trial" else ("550", "5.7.1")
    return Reply(code, status, text[:400])
