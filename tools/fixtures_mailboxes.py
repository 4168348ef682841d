"""Mailboxes: what Dovecot answers by itself: holiday notices, refusals, full mailboxes."""

from __future__ import annotations


def answers() -> None:
    """Delivers to mailboxes whose rules answer."""
