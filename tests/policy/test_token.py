"""Tokens: what was signed verifies, and nothing else does."""

from __future__ import annotations

import base64
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retour_policy.clock import DAY
from retour_policy.tokens import token
from retour_policy.tokens.keyring import Key, KeyRing, derive
from retour_policy.tokens.token import Expired, Forged, NotAToken, Purpose, TokenError, UnknownKey

ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
NOW = 1_800_000_000_000
DOMAIN = "bounces.example.com"
RING = KeyRing(bytes(32), (Key(3, "signing", "2026-12-31", bytes([3]) * 32), Key(4, "next", "2026-12-31", bytes(32))))
IDS = st.integers(0, (1 << 63) - 1)
PURPOSES = st.sampled_from(Purpose)


def read(text: str, purpose: Purpose = Purpose.BOUNCE, domain: str = DOMAIN, now: int = NOW, days: int = 30) -> int:
    return token.read(RING, purpose, domain, text, now=now, days=days)


def fresh() -> tuple[int, str]:
    number = token.draw_id(NOW)
    return number, token.make(RING, Purpose.BOUNCE, DOMAIN, number)


@given(IDS, PURPOSES, st.sampled_from([DOMAIN, "", "a.example"]))
def test_what_was_made_is_read(number: int, purpose: Purpose, domain: str) -> None:
    """A token of any id gives that id back, in 30 characters of lower-case base32, or 40 of those in web links."""
    text = token.make(RING, purpose, domain, number)
    assert len(text) == (40 if "unsubscribe" in purpose else 30) and set(text) <= set(ALPHABET)
    assert read(text, purpose, domain, now=token.id_time(number)) == number


def test_every_change_of_one_character_is_refused() -> None:
    """No other character of the alphabet may stand at any of the 30 places."""
    _, text = fresh()
    for place in range(30):
        for other in set(ALPHABET) - {text[place]}:
            with pytest.raises((Forged, UnknownKey)):
                read(text[:place] + other + text[place + 1 :])


@given(st.integers(0, (1 << 30) - 1))
def test_every_change_of_case_is_accepted(mask: int) -> None:
    """Servers change case, so each letter counts the same in upper and lower case."""
    number, text = fresh()
    assert read("".join(c.upper() if mask >> n & 1 else c for n, c in enumerate(text))) == number


@pytest.mark.parametrize("look_alike", "\u017f\u212a\u0131\u0130\u0430\uff41\uff12\u00b2\u24d0", ids=ascii)
def test_look_alikes_are_refused(look_alike: str) -> None:
    """What is no ASCII is no token, even where upper() or lower() makes a letter of the alphabet of it."""
    _, text = fresh()
    for place in range(30):
        with pytest.raises(NotAToken):
            read(text[:place] + look_alike + text[place + 1 :])


@given(st.text(max_size=40) | st.text(ALPHABET + ALPHABET.upper() + "=0189-", min_size=28, max_size=33))
def test_any_other_text_is_refused_with_a_reason(text: str) -> None:
    """Whatever stands where a token should be raises a `TokenError`, and no other error."""
    with pytest.raises(TokenError) as caught:
        read(text)
    assert caught.value.reason


def test_padding_is_no_part_of_a_token() -> None:
    """Characters that base32 decoders skip do not make a second spelling."""
    _, text = fresh()
    for other in (text + "=", text[:-1] + "=", text + "aa", text + "\n", " " + text, text[:29]):
        with pytest.raises(TokenError):
            read(other)


@pytest.mark.parametrize("other", [p for p in Purpose if p != Purpose.BOUNCE])
def test_another_purpose_is_refused(other: Purpose) -> None:
    """A bounce token is no unsubscribe token, even under the same key of the ring."""
    _, text = fresh()
    alike = token.length(other) == token.length(Purpose.BOUNCE)
    with pytest.raises(Forged if alike else NotAToken):
        read(text, purpose=other)


def test_the_two_ways_to_unsubscribe_are_told_apart() -> None:
    """One names a subscription, the other a message; neither stands for the other, though they look alike."""
    number = token.draw_id(NOW)
    ways = (Purpose.UNSUBSCRIBE, Purpose.GROUP_UNSUBSCRIBE)
    for made, wanted in (ways, ways[::-1]):
        text = token.make(RING, made, "", number)
        assert read(text, made, "") == number
        with pytest.raises(Forged):
            read(text, wanted, "")


def test_a_long_token_has_one_spelling() -> None:
    """Its last two bits must be zero: else three other links would unsubscribe the same person."""
    number = token.draw_id(NOW)
    text = token.make(RING, Purpose.UNSUBSCRIBE, "", number)
    for last in set(ALPHABET) - {text[-1]}:
        with pytest.raises(TokenError):
            read(text[:-1] + last, Purpose.UNSUBSCRIBE, "")


@pytest.mark.parametrize("other", ["", "bounces.example.org", "example.com", DOMAIN + "."])
def test_another_domain_is_refused(other: str) -> None:
    """A token is good for its own domain only."""
    _, text = fresh()
    with pytest.raises(Forged):
        read(text, domain=other)


def test_another_key_is_refused() -> None:
    """A ring with another secret under the same number says forged, one without that number says so."""
    number, text = fresh()
    other = KeyRing(bytes(32), (Key(3, "signing", "2026-12-31", b"x" * 32), Key(4, "next", "2026-12-31", b"y" * 32)))
    without = KeyRing(bytes(32), (Key(6, "signing", "2026-12-31", b"x" * 32), Key(7, "next", "2026-12-31", b"y" * 32)))
    with pytest.raises(Forged):
        token.read(other, Purpose.BOUNCE, DOMAIN, text, now=NOW, days=30)
    with pytest.raises(UnknownKey):
        token.read(without, Purpose.BOUNCE, DOMAIN, text, now=NOW, days=30)
    assert read(text) == number


def test_spare_bits_must_be_zero() -> None:
    """The two bits above the id, which the signature does not cover, may hold nothing."""
    _, text = fresh()
    value = int.from_bytes(base64.b32decode(text.upper() + "AA"), "big")
    for bits in (1, 2, 3):
        changed = value | bits << (10 + 80 + 63)
        other = base64.b32encode(changed.to_bytes(20, "big")).decode()[:30].lower()
        assert other != text
        with pytest.raises(Forged):
            read(other)


def test_a_token_expires_at_the_millisecond() -> None:
    """A token of 30 days is good at exactly 30 days and refused a millisecond later."""
    number, text = fresh()
    born = token.id_time(number)
    assert born == NOW
    assert read(text, now=born + 30 * DAY) == number
    with pytest.raises(Expired):
        read(text, now=born + 30 * DAY + 1)


def test_a_forged_token_is_not_called_expired() -> None:
    """The signature is judged before the age, so that nobody learns by trying which ids are old."""
    old = token.make(RING, Purpose.BOUNCE, DOMAIN, token.draw_id(NOW - 400 * DAY))
    with pytest.raises(Expired):
        read(old)
    with pytest.raises(Forged):
        read(old, domain="example.org")


def test_ids_sort_by_time_and_fit_a_bigint() -> None:
    """An id drawn a millisecond later is larger, whatever was drawn at random; the last one fits 63 bits."""
    most = (1 << 22) - 1
    assert token.draw_id(NOW, lambda _: most) < token.draw_id(NOW + 1, lambda _: 0) < 1 << 63
    last = token.EPOCH + (1 << 41) - 1
    assert token.draw_id(last, lambda _: most) == (1 << 63) - 1
    for outside in (token.EPOCH - 1, last + 1):
        with pytest.raises(ValueError, match="clock"):
            token.draw_id(outside)


def test_nothing_is_signed_without_a_key() -> None:
    """A ring that lacks its signing key, and an id that does not fit, are errors and never a weak token."""

    class Hollow:
        to_come = 8

        def signing(self) -> int:
            return 7

        def derived(self, number: int, purpose: Purpose) -> bytes | None:
            return None

    with pytest.raises(ValueError, match="no key 7"):
        token.make(Hollow(), Purpose.BOUNCE, DOMAIN, 1)
    for number in (-1, 1 << 63):
        with pytest.raises(ValueError, match="not an id"):
            token.make(RING, Purpose.BOUNCE, DOMAIN, number)


def openssl(*words: str, stdin: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *words], input=stdin, capture_output=True, check=True).stdout


def test_a_derived_key_is_what_openssl_derives() -> None:
    """HKDF-SHA256 without salt, the secret as key, "retour " and the purpose as info: the same by openssl."""
    secret = bytes(range(32))
    for purpose in Purpose:
        options = ["digest:SHA256", f"hexkey:{secret.hex()}", f"info:retour {purpose}"]
        words = [word for option in options for word in ("-kdfopt", option)]
        assert derive(secret, purpose) == openssl("kdf", "-keylen", "32", "-binary", *words, "HKDF")


@pytest.mark.parametrize("purpose", Purpose)
@pytest.mark.parametrize(("slot", "number"), [(0, 0), (3, (1 << 63) - 1), (31, 931_111_111_111_111_111)])
def test_a_token_is_what_openssl_signs(purpose: Purpose, slot: int, number: int) -> None:
    """The whole token, put together by hand from openssl's HKDF and HMAC and coreutils' base32."""
    secret = bytes([slot]) * 32
    key = openssl(
        "kdf", "-keylen", "32", "-binary", "-kdfopt", "digest:SHA256", "-kdfopt", f"hexkey:{secret.hex()}",
        "-kdfopt", f"info:retour {purpose}", "HKDF",
    )  # fmt: skip
    message = bytes([slot]) + b"\0" + purpose.encode() + b"\0bounces.example.com\0" + number.to_bytes(8, "big")
    mac = openssl("dgst", "-sha256", "-mac", "HMAC", "-macopt", f"hexkey:{key.hex()}", "-binary", stdin=message)
    long = "unsubscribe" in purpose
    bits = f"{slot:05b}" + "00" + f"{number:063b}" + "".join(f"{octet:08b}" for octet in mac[: 16 if long else 10])
    octets = int(bits + "0" * (2 if long else 10), 2).to_bytes(25 if long else 20, "big")
    encoded = subprocess.run(["base32"], input=octets, capture_output=True, check=True).stdout.decode()
    ring = KeyRing(bytes(32), (Key(slot, "signing", "2026-12-31", secret),))
    assert token.make(ring, purpose, DOMAIN, number) == encoded[: 40 if long else 30].lower()
