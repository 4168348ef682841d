"""Token: a signed reference to a record, valid for one purpose and one domain.

150 bits in lower-case base32 (RFC 4648): 5 for the key's number, 65 for the id (of which the first two are
spare and zero), 80 for the MAC. The id holds 41 bits of milliseconds since 2020 and 22 random bits.

A token by which somebody unsubscribes stands in web links, where it can be guessed at as often as one likes, and lives
long: it has a MAC of 128 bits, and so 40 characters, of which the last two bits are zero.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

from retour_policy.clock import DAY
from retour_policy.keyed_hash import keyed_hash

LENGTH = 30
LONG_LENGTH = 40
EPOCH = 1_577_836_800_000  # 2020-01-01T00:00:00Z in milliseconds
RANDOM_BITS = 22
ID_BITS = 63
MAC_BITS = 80
LONG_MAC_BITS = 128
FIELD_BITS = 65  # the id's, spare bits included


class Purpose(StrEnum):
    """What a token is used for. Each purpose has a key of its own."""

    BOUNCE = "bounce"
    REFERENCE = "reference"
    UNSUBSCRIBE = "unsubscribe"
    GROUP_UNSUBSCRIBE = "group unsubscribe"
    """Of one of the several recipients of a message, who are told apart by what they write."""
    FEEDBACK = "feedback"
    FORWARD = "forward"


_LONG = (Purpose.UNSUBSCRIBE, Purpose.GROUP_UNSUBSCRIBE)


def length(purpose: Purpose) -> int:
    """How many characters a token of that purpose has."""
    return LONG_LENGTH if purpose in _LONG else LENGTH


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
    signed = (slot << FIELD_BITS | number).to_bytes(9, "big") + mac
    characters = length(purpose)
    value = int.from_bytes(signed, "big") << _spare_bits(purpose)
    octets = (value << _padding(characters)).to_bytes(_octets(characters), "big")
    return base64.b32encode(octets)[:characters].decode("ascii").lower()


def read(
    keys: Keys,
    purpose: Purpose,
    domain: str,
    text: str,
    *,
    now: int,
    days: int,
    made_at: Callable[[int], int] | None = None,
) -> int:
    """The id that `text` refers to.

    Case is folded first, as some servers change it. Raises `NotAToken`, `UnknownKey`, `KeyToCome`, `Forged`, or
    `Expired` where the token is older than `days` at the time `now` (milliseconds). `made_at` says when an id's token
    was made, where that is not when the id was drawn.
    """
    slot, number, mac = split(text, purpose)
    key = keys.derived(slot, purpose)
    if key is None or not _is_signed(key, slot, purpose, domain, number, mac):
        if slot == keys.to_come:
            raise KeyToCome(f"key {slot} is not in the ring yet")
        raise Forged("the signature does not match") if key else UnknownKey(f"no key {slot} in the ring")
    if now - (made_at or id_time)(number) > days * DAY:
        raise Expired(f"older than {days} days")
    return number


def split(text: str, purpose: Purpose = Purpose.BOUNCE) -> tuple[int, int, bytes]:
    """Key number, id field (spare bits included) and MAC of a token, unverified. Raises `NotAToken`."""
    characters, spare = length(purpose), _spare_bits(purpose)
    if len(text) != characters or not text.isascii():
        raise NotAToken(f"not {characters} characters of base32")
    try:
        octets = base64.b32decode(text.upper() + "A" * (-characters % 8))
    except binascii.Error as error:
        raise NotAToken(f"not {characters} characters of base32") from error
    value = int.from_bytes(octets, "big") >> _padding(characters)
    if value & (1 << spare) - 1:
        raise NotAToken("its last bits are not zero")
    mac_bits = _mac_bits(purpose)
    field, mac = value >> spare >> mac_bits, value >> spare & (1 << mac_bits) - 1
    return field >> FIELD_BITS, field & (1 << FIELD_BITS) - 1, mac.to_bytes(mac_bits // 8, "big")


def _mac_bits(purpose: Purpose) -> int:
    return LONG_MAC_BITS if purpose in _LONG else MAC_BITS


def _spare_bits(purpose: Purpose) -> int:
    """At the end of a token, for base32 holds five bits a character."""
    return 5 * length(purpose) - 5 - FIELD_BITS - _mac_bits(purpose)


def _octets(characters: int) -> int:
    """Base32 works on groups of 8 characters, which are 5 octets."""
    return -(-characters // 8) * 5


def _padding(characters: int) -> int:
    """The bits of the last group that are always zero, and whose characters ("a") are omitted."""
    return _octets(characters) * 8 - characters * 5


def _is_signed(key: bytes, slot: int, purpose: Purpose, domain: str, number: int, mac: bytes) -> bool:
    spare = number >> ID_BITS
    right = _mac(key, slot, purpose, domain, number & (1 << ID_BITS) - 1)
    return hmac.compare_digest(mac, right) and not spare


def _mac(key: bytes, slot: int, purpose: Purpose, domain: str, number: int) -> bytes:
    message = b"\0".join((bytes([slot]), purpose.encode(), domain.encode(), number.to_bytes(8, "big")))
    return keyed_hash(key, message)[: _mac_bits(purpose) // 8]


def first_id(at: int) -> int:
    """The lowest send id that could be drawn at `at` (milliseconds)."""
    return max(0, at - EPOCH) << RANDOM_BITS
