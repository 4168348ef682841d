"""Report: what a returned message says, and where it says it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Kind = Literal[
    "bounce",
    "delayed",
    "delivered",
    "relayed",
    "expanded",
    "autoreply",
    "complaint",
    "mdn",
    "challenge",
    "unsubscribe",
    "not-a-report",
]
Action = Literal["failed", "delayed", "delivered", "relayed", "expanded"]
Type = Literal["hard", "soft"]
Blame = Literal["recipient", "sender", "content", "network", "nobody"]

_KINDS: tuple[tuple[Action, Kind], ...] = (
    ("failed", "bounce"),
    ("delayed", "delayed"),
    ("delivered", "delivered"),
    ("relayed", "relayed"),
    ("expanded", "expanded"),
)
"""The kind of a report by the action that says the worst of what it tells."""


@dataclass(frozen=True, slots=True)
class RecipientReport:
    """What a report says about one recipient (RFC 3464 section 2.3, or the same read from words)."""

    recipient: str | None
    """The final address, as the reporting server knew it."""
    original_recipient: str | None
    """The address that the sender gave, where the report tells it (Original-Recipient, or "forwarded
    from")."""
    action: Action
    type: Type | None
    """hard or soft for a failed recipient, else None."""
    status: str | None
    """Enhanced status code (RFC 3463), such as "5.1.1"."""
    status_source: Literal["wire", "derived"] | None
    """"wire" where the code stood in the message, "derived" where it was concluded from words."""
    reason: str | None
    blame: Blame | None
    rule: str | None
    """Name of the rule that gave the reason, or None where the code table did."""
    evidence: str
    """The words that the rule fired on."""
    diagnostic: str
    """What the reporting or the remote server said, cleaned, at most 1,000 characters."""
    contradiction: str | None = None
    """What else in the message speaks against this reading, such as "5.1.1, but the text says quota"."""
    inner_recipient: str | None = None
    """The receiving side's own name for the recipient (user@host.example.com), where `recipient` is the
    outer one."""


@dataclass(frozen=True, slots=True)
class Original:
    """What the report returned of the message that it is about: a few of its header fields."""

    message_id: str | None = None
    retour_ref: str | None = None
    cfbl_feedback_id: str | None = None
    """Its CFBL-Feedback-ID (RFC 9477)."""
    envelope_sender: str | None = None
    """The Original-Mail-From of a complaint (RFC 5965), or the Return-Path of what was returned."""
    sender: str | None = None
    """The From field's address."""
    recipient: str | None = None
    """The To field's only address; None with several."""
    subject: str | None = None
    envelope_id: str | None = None
    """Original-Envelope-Id of the report (RFC 3464 section 2.2.1)."""
    answered: tuple[str, ...] = ()
    """Other Message-IDs that the report itself names as what it answers, the likeliest first; at most 5."""


@dataclass(frozen=True, slots=True)
class Report:
    """One returned message, read."""

    kind: Kind
    reports: tuple[RecipientReport, ...] = ()
    original: Original = Original()
    reason: str | None = None
    """For what is not about delivery: "vacation", "left" (auto-reply), the Feedback-Type of a complaint
    (RFC 5965), "abuse", "not-spam", "opt-out" ...; None where it has none."""
    recipient: str | None = None
    """Who an auto-reply, complaint or receipt speaks of, where the message tells."""
    truncated: bool = False
    """The message was cut, on its way or by its reader."""

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, the form that `retour explain --json` prints."""
        return asdict(self)


def kind_of(reports: tuple[RecipientReport, ...]) -> Kind:
    """The kind of a report about recipients, of whom there is one at least: the worst action names it."""
    actions = {one.action for one in reports}
    return next(kind for action, kind in _KINDS if action in actions)
