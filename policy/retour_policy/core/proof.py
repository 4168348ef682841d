"""Proof: how sure it is that a report is about a recipient of ours, and which complaints are complaints. Pure."""

from __future__ import annotations

from typing import Literal

Proof = Literal["signed", "shared", "corroborated", "vouched", "conflicting", "copied", "unsigned"]
"""What shows that a report is about a send of ours and about that recipient.

`signed`: a token of that recipient alone. `shared`: a token of several recipients, or the Message-ID of a stream
without tokens: others could have written the report. `corroborated`: a Retour-Ref of that recipient alone.
`vouched`: nothing, but the postmaster imported it with --count-unsigned.
`conflicting`: a genuine token, but the report names somebody else. `copied`: the same, and it is known that who is
named gets copies of many people's mail. `unsigned`: nothing.
"""
VOUCHED: Proof = "vouched"
UNSIGNED: Proof = "unsigned"
CONFLICTING: Proof = "conflicting"
COPIED: Proof = "copied"
NAMES_ANOTHER: tuple[Proof, ...] = (CONFLICTING, COPIED)

Claim = Literal["autoreply", "complaint", "unsubscribe"]
COMPLAINTS = ("abuse", "fraud")
"""Feedback-Types by which a person complains (RFC 5965 section 7.3). Others tell of a virus, of authentication
(RFC 6591) or that mail is no spam (RFC 6430); what is not known must not be guessed."""
OPT_OUT = "opt-out"
"""The Feedback-Type by which a person wants no more mail of the kind, and does not complain."""


def claim_of(kind: str, reason: str | None) -> Claim | None:
    """What a report that is not about delivery says against an address; None if nothing.

    `reason` is the Feedback-Type of a complaint.
    """
    if kind == "complaint":
        if reason == OPT_OUT:
            return "unsubscribe"
        return "complaint" if reason in COMPLAINTS else None
    if kind == "autoreply":
        return "autoreply"
    return "unsubscribe" if kind == "unsubscribe" else None
