"""Complaint tokens: which send a complaint is about, by what its returned message carries of ours, and what lacks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from retour_bounces import Report

SendOf = Callable[[str], int | None]
"""The send id in a text, if Retour made it and it is not too old."""


def _nothing(_: str) -> int | None:
    return None


@dataclass(frozen=True, slots=True)
class ComplaintTokens:
    """Reads what providers leave in the message that they return; they take out the recipient's name."""

    reference: SendOf = _nothing
    """Of a Retour-Ref field."""
    feedback: SendOf = _nothing
    """Of a CFBL-Feedback-ID field."""
    sender: SendOf = _nothing
    """Of a VERP address, which the message had as its envelope sender."""

    def send(self, report: Report, *, is_signed: bool) -> int | None:
        """The send that a complaint names by a CFBL-Feedback-ID, or by its envelope sender.

        The first is public in the message's header: RFC 9477 section 3.4 asks that the report is signed by its author's
        domain.
        """
        original = report.original
        named = self.feedback(original.cfbl_feedback_id) if original.cfbl_feedback_id and is_signed else None
        if named is None and original.envelope_sender:
            named = self.sender(original.envelope_sender)
        return named

    def missing(self, report: Report, *, is_signed: bool) -> str:
        """Why a complaint could not be matched, for postmaster."""
        original, found = report.original, list[str]()
        if not (original.retour_ref or original.cfbl_feedback_id or original.envelope_sender):
            return "the returned message has no Retour-Ref, no CFBL-Feedback-ID and no envelope sender of ours"
        if original.retour_ref:
            is_ours = self.reference(original.retour_ref) is not None
            found.append("the send in Retour-Ref is gone" if is_ours else "Retour-Ref is not ours, or too old")
        if original.cfbl_feedback_id and self.feedback(original.cfbl_feedback_id) is None:
            found.append("CFBL-Feedback-ID is not ours, or too old")
        elif original.cfbl_feedback_id and not is_signed:
            found.append("CFBL-Feedback-ID is ours, but no valid DKIM signature of the report is aligned with its From")
        if original.envelope_sender and self.sender(original.envelope_sender) is None:
            found.append("its envelope sender is not ours, or too old")
        return "; ".join(found) or "the send that it names is gone, or had several recipients of whom it names none"
