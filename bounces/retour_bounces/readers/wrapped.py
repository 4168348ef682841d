"""Wrapped: what a gateway sends on inside a message of its own, mostly under a disclaimer."""

from __future__ import annotations

from collections.abc import Iterator

from retour_bounces.message.parts import Part, scan
from retour_bounces.prose import mail_system
from retour_bounces.readers.view import View

MAX_WRAPS = 3
"""Gateways that a report may have passed."""
_KINDS = ("message/rfc822", "message/global")


def inside(view: View) -> Iterator[View]:
    """The messages of mail systems that a gateway sends on, from the outermost; none where a person passes them on."""
    for _ in range(MAX_WRAPS):
        inner = _inner(view)
        if inner is None:
            return
        yield inner
        view = inner


def complaint(view: View) -> View | None:
    """A complaint that somebody forwards whole, as an attachment; None where there is none."""
    part = view.message.returned
    if part is None or part.kind not in _KINDS or not part.whole:
        return None
    inner = View(scan(_octets(part)))
    return inner if inner.message.report_type == "feedback-report" else None


def _inner(view: View) -> View | None:
    """What a mail system wrote, attached to what a gateway made of it; None for any other message."""
    part = view.message.returned
    if part is None or part.kind not in _KINDS or not part.whole or not _is_gateways(view):
        return None
    inner = View(scan(_octets(part)))
    is_same = view.subject.strip() == inner.subject.strip() != ""
    return inner if inner.is_from_mail_system and (is_same or view.names_failure) else None


def _is_gateways(view: View) -> bool:
    """Does it come from where no person writes? Who passes a report on does so in their own name."""
    fields = view.fields
    path = fields.get("return-path").strip()
    if mail_system.is_handed_on(fields) or mail_system.is_re(view.subject) or mail_system.is_list_mail(fields):
        return False
    return path == "<>" or (not path and view.is_from_mail_system)


def _octets(part: Part) -> bytes:
    encoded = part.fields.get("content-transfer-encoding").lower().startswith(("base64", "quoted"))
    return part.text().encode("utf-8", "replace") if encoded else part.body
