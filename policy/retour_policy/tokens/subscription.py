"""Subscription token: a signed reference to a subscription, and to the day on which it was made.

Its id holds 16 bits of days since 2020 and the 47 random bits of the subscription's number. So a subscription keeps its
number, and each message carries a token that lives as long as any.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from retour_policy.clock import DAY
from retour_policy.tokens import token
from retour_policy.tokens.token import EPOCH, ID_BITS, Keys, Purpose

LIFETIME_DAYS = 400
NUMBER_BITS = 47
"""Random ones: were they counted, a database put back from a backup would give one person's number to another."""


def draw_number(random_bits: Callable[[int], int] = secrets.randbits) -> int:
    """A number for a new subscription. Draw again if the store has it already."""
    return random_bits(NUMBER_BITS)


def make(keys: Keys, number: int, now: int) -> str:
    """The token for a subscription's number, made at `now` (milliseconds)."""
    days = (now - EPOCH) // DAY
    if not 0 <= days < 1 << (ID_BITS - NUMBER_BITS):
        raise ValueError(f"the clock is outside the years that a token can represent: {now}")
    return token.make(keys, Purpose.UNSUBSCRIBE, "", days << NUMBER_BITS | number)


def read(keys: Keys, text: str, now: int) -> int:
    """The number of the subscription that a token refers to. Raises as `token.read` does."""
    found = token.read(keys, Purpose.UNSUBSCRIBE, "", text, now=now, days=LIFETIME_DAYS, made_at=_made_at)
    return found & (1 << NUMBER_BITS) - 1


def _made_at(number: int) -> int:
    """The end of the day on which the token was made."""
    return EPOCH + ((number >> NUMBER_BITS) + 1) * DAY
