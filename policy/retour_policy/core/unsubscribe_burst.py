"""Unsubscribe burst: many who unsubscribe at one receiving side within minutes of the send. Pure.

People take longer: it looks like a gateway that fetches links and submits forms. It is told, and nothing is withheld.
"""

from __future__ import annotations

from retour_policy.clock import MINUTE

SOON_AFTER_SEND_MS = 10 * MINUTE
"""How soon after the message to them somebody unsubscribes who may be a program."""
WINDOW_MS = 15 * MINUTE
"""In which they are counted."""
MIN_UNSUBSCRIBED = 10
MIN_SHARE = 0.2
"""Of the messages sent to that side in the window."""


def looks_like_a_gateway(unsubscribed: int, sent: int) -> bool:
    """Whether so many of those who were sent the stream have unsubscribed at once."""
    return unsubscribed >= MIN_UNSUBSCRIBED and unsubscribed >= MIN_SHARE * sent
