"""Signatures: whose DKIM signature of a message is valid, asked of a DNS of the test's own."""

from __future__ import annotations

import asyncio
import base64
import subprocess
import threading

import dkim
import pytest

from retour_lmtpd import signatures
from retour_lmtpd.signatures import signers
from retour_policy.messages.authentication import Authentication, is_aligned

MESSAGE = b"From: fbl@provider.example\r\nTo: fbl@bounces.example.com\r\nSubject: complaint\r\n\r\nHello\r\n"


def _made(bits: int) -> tuple[bytes, bytes]:
    key = subprocess.run(["openssl", "genrsa", "-traditional", str(bits)], capture_output=True, check=True).stdout
    argv = ["openssl", "rsa", "-pubout", "-outform", "DER"]
    public = subprocess.run(argv, input=key, capture_output=True, check=True).stdout
    return key, b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)


@pytest.fixture(scope="module")
def key() -> tuple[bytes, bytes]:
    """A private key, and its record."""
    return _made(1024)


def signed(key: bytes, message: bytes = MESSAGE, domain: bytes = b"provider.example", **options: object) -> bytes:
    return bytes(dkim.sign(message, b"s", domain, key, **options)) + message


def found(message: bytes, record: bytes | None) -> tuple[str, ...]:
    return asyncio.run(signers(message, lambda name, timeout=5: record))


def test_a_valid_signature_names_its_domain(key: tuple[bytes, bytes]) -> None:
    """Each of several; a body that was changed, another key, or no record, and it does not."""
    private, record = key
    message = signed(private, signed(private), b"example.org")
    assert found(message, record) == ("example.org", "provider.example")
    for changed, has in (
        (message + b"more\r\n", record),
        (message, None),
        (message, b"v=DKIM1; p="),
        (MESSAGE, record),
    ):
        assert found(changed, has) == ()


def test_a_signature_of_a_part_of_the_body_proves_nothing(key: tuple[bytes, bytes]) -> None:
    """With l= anybody could append a complaint of their own (RFC 6376 section 8.2)."""
    assert found(signed(key[0], length=True) + b"more\r\n", key[1]) == ()


def test_a_short_key_proves_nothing() -> None:
    """Below 1024 bits it can be broken (RFC 8301)."""
    private, record = _made(512)
    assert found(signed(private), record) == ()


@pytest.mark.parametrize("field", [b"v=1", b"v=1; a=rsa-sha256; d=; s=; h=; bh=; b=", b"\xff", b"v=1;" * 5_000])
def test_a_signature_that_is_none_raises_nothing(field: bytes) -> None:
    """Whoever writes to us can put anything there."""
    assert found(b"DKIM-Signature: " + field + b"\r\n" + MESSAGE, b"v=DKIM1; p=") == ()


def test_a_dns_that_does_not_answer_is_not_waited_for(
    key: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session goes on, and the report is taken for unsigned."""
    monkeypatch.setattr(signatures, "MAX_TIME_S", 0.05)
    answers = threading.Event()

    def look_up(name: bytes, timeout: int = 5) -> bytes | None:
        answers.wait(60)
        return key[1]

    async def asked() -> tuple[str, ...]:
        result = await signers(signed(key[0]), look_up)
        answers.set()
        return result

    assert asyncio.run(asked()) == ()


@pytest.mark.parametrize(
    ("signer", "author", "aligned"),
    [
        ("provider.example", "provider.example", True),
        ("provider.example", "fbl.provider.example", True),
        ("fbl.provider.example", "provider.example", False),
        ("example", "provider.example", False),
        ("ider.example", "provider.example", False),
        ("provider.example", "", False),
    ],
)
def test_a_signature_is_aligned_with_its_author(signer: str, author: str, aligned: bool) -> None:
    """The same domain, or one that the author's lies in."""
    assert is_aligned(signer, author) is aligned
    assert Authentication((f"dkim={signer}", "spf=provider.example"), author).is_signed is aligned
