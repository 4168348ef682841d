"""Token: a signed reference to a send record, valid for one purpose and one domain.

150 bits in lower-case base32 (RFC 4648): 5 for the key's number, 65 for the id (of which the first two are
spare and zero), 80 for the MAC. The id holds 41 bits of milliseconds since 2020 and 22 random bits.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

from retour_policy.clock import DAY

LENGTH = 30
EPOCH = 1_577_836_800_000  # 2020-01-01T00:00:00Z in milliseconds
RANDOM_BITS = 22
ID_BITS = 63
MAC_BITS = 80
FIELD_BITS = 65  # the id's, spare bits included
_PADDING = 10  # base32 works on 160 bits; the last two characters are always "aa" and omitted


class Purpose(StrEnum):
    """What a token is used for. Each purpose has a key of its own."""

    BOUNCE = "bounce"
    REFERENCE = "reference"
    UNSUBSCRIBE = "unsubscribe"
    FEEDBACK = "feedback"
    FORWARD = "forward"


class TokenError(ValueError):
    """The token is not valid; `reason` is for the log only."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NotAToken(TokenError):
    """The text does not have the form of a token."""


class Forged(TokenError):
    """The signature does not match."""


class Expired(TokenError):
    """Genuine, but too old."""


class UnknownKey(TokenError):
    """Its key is not in the ring: forged, or the ring was read too long ago."""


class KeyToCome(UnknownKey):
    """Its key is the one that the next rotation makes: forged, or signed by a host whose ring is newer."""


class Keys(Protocol):
    """What tokens need of a key ring."""

    def signing(self) -> int:
        """The number of the key that signs."""

    @property
    def to_come(self) -> int:
        """The number of the key that the next rotation makes. Where all are taken, an old key has it still."""

    def derived(self, number: int, purpose: Purpose) -> bytes | None:
        """The key of that number for a purpose, or None if the ring lacks it."""


def draw_id(now: int, random_bits: Callable[[int], int] = secrets.randbits) -> int:
    """A new 63-bit id for the time `now` (milliseconds since 1970). Draw again if the store has it already."""
    since = now - EPOCH
    if not 0 <= since < 1 << (ID_BITS - RANDOM_BITS):
        raise ValueError(f"the clock is outside the years that a token can represent: {now}")
    return since << RANDOM_BITS | random_bits(RANDOM_BITS)


def id_time(number: int) -> int:
    """When an id was drawn: milliseconds since 1970."""
    return (number >> RANDOM_BITS) + EPOCH


def make(keys: Keys, purpose: Purpose, domain: str, number: int) -> str:
    """The token for id `number`, signed by the ring's signing key for `purpose` and `domain` (lower case)."""
    slot = keys.signing()
    key = keys.derived(slot, purpose)
    if key is None or not 0 <= number < 1 << ID_BITS:
        raise ValueError(f"no key {slot} to sign with, or not an id: {number}")
    mac = _mac(key, slot, purpose, domain, number)
    value = (slot << FIELD_BITS | number) << MAC_BITS | mac
    return base64.b32encode((value << _PADDING).to_bytes(20, "big"))[:LENGTH].decode("ascii").lower()


def read(keys: Keys, purpose: Purpose, domain: str, text: str, *, now: int, days: int) -> int:
    """The id that `text` refers to.

    Case is folded first, as some servers change it. Raises `NotAToken`, `UnknownKey`, `KeyToCome`, `Forged`, or
    `Expired` where the token is older than `days` at the time `now` (milliseconds).
    """
    slot, number, mac = split(text)
    key = keys.derived(slot, purpose)
    if key is None or not _is_signed(key, slot, purpose, domain, number, mac):
        if slot == keys.to_come:
            raise KeyToCome(f"key {slot} is not in the ring yet")
        raise Forged("the signature does not match") if key else UnknownKey(f"no key {slot} in the ring")
    if now - id_time(number) > days * DAY:
        raise Expired(f"older than {days} days")
    return number


def split(text: str) -> tuple[int, int, int]:
    """Key number, id field (spare bits included) and MAC of a token, unverified. Raises `NotAToken`."""
    if len(text) != LENGTH or not text.isascii():
        raise NotAToken("not 30 characters of base32")
    try:
        octets = base64.b32decode(text.upper() + "AA")
    except binascii.Error as error:
        raise NotAToken("not 30 characters of base32") from error
    value = int.from_bytes(octets, "big") >> _PADDING
    field = value >> MAC_BITS
    return field >> FIELD_BITS, field & (1 << FIELD_BITS) - 1, value & (1 << MAC_BITS) - 1


def _is_signed(key: bytes, slot: int, purpose: Purpose, domain: str, number: int, mac: int) -> bool:
    spare = number >> ID_BITS
    right = _mac(key, slot, purpose, domain, number & (1 << ID_BITS) - 1)
    return hmac.compare_digest(mac.to_bytes(10, "big"), right.to_bytes(10, "big")) and not spare


def _mac(key: bytes, slot: int, purpose: Purpose, domain: str, number: int) -> int:
    message = b"\0".join((bytes([slot]), purpose.encode(), domain.encode(), number.to_bytes(8, "big")))
    return int.from_bytes(hmac.digest(key, message, hashlib.sha256)[: MAC_BITS // 8], "big")


def first_id(at: int) -> int:
    """The lowest send id that could be drawn at `at` (milliseconds)."""
    return max(0, at - EPOCH) << RANDOM_BITS
