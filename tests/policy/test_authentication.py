"""Authentication-Results: what the mail server's own verifier says is believed, and nobody else."""

from __future__ import annotations

import pytest

from retour_policy.messages.authentication import by_verifier

OURS = "Authentication-Results: mx.example.com; {}\n"
RECEIVED = "Received: from there by mx.example.com; Mon, 30 Nov 2026 12:00:00 +0000\n"
PASS = "dkim=pass header.d=provider.example"
BODY = "From: Feedback <fbl@provider.example>\n\nx\n"


def passed(*fields: str) -> tuple[str, ...]:
    return by_verifier(("".join(fields) + BODY).encode(), "mx.example.com").passed


def test_what_our_verifier_has_found_is_read_above_and_below_our_own_trace() -> None:
    """Verifiers differ in whether they write above the Received field of their own server."""
    assert passed(OURS.format(PASS), RECEIVED) == ("dkim=provider.example",)
    assert passed(RECEIVED, OURS.format(PASS)) == ("dkim=provider.example",)
    assert passed(OURS.format("spf=fail smtp.mailfrom=a@b.example"), OURS.format(PASS), RECEIVED) != ()


@pytest.mark.parametrize("said", ["dkim=none", "dkim=fail header.d=provider.example", "none"])
def test_what_stands_below_ours_is_not_believed(said: str) -> None:
    """Whatever ours says: who sends a report can write a field with our name into it."""
    assert passed(OURS.format(said), RECEIVED, OURS.format(PASS)) == ()


def test_another_verifiers_name_is_nobodys() -> None:
    """Also one that ours is a part of, or that hides it in a comment."""
    for name in ("mx.example.com.evil.example", "evil.example (mx.example.com)", "", "(mx.example.com)"):
        assert passed(f"Authentication-Results: {name}; {PASS}\n", RECEIVED) == ()
