"""Clients and limits: who is asked for, behind which web servers, and how often."""

from __future__ import annotations

import ipaddress

import pytest

from retour_web.clients import LOCAL, client_of, group_of
from retour_web.limiter import MAX_KEYS, Limiter

TRUSTED = [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("2001:db8:1::/48")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", ["198.51.100.1"], "192.0.2.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1, 192.0.2.7, 10.0.0.2"], "192.0.2.7"),
        ("10.0.0.1", ["198.51.100.1", "192.0.2.7"], "192.0.2.7"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["198.51.100.1, nonsense"], "10.0.0.1"),
        ("10.0.0.1", [" , ,"], "10.0.0.1"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("2001:db8:1::5", ["2001:db8:2::1"], "2001:db8:2::1"),
        (None, [], LOCAL),
        (None, ["192.0.2.7"], "192.0.2.7"),
        (None, ["203.0.113.1, 192.0.2.7"], "192.0.2.7"),
    ],
)
def test_only_trusted_servers_speak_for_others(peer: str | None, forwarded: list[str], client: str) -> None:
    """The last address that no trusted server has; before it, anybody can have written anything."""
    assert client_of(peer, forwarded, TRUSTED) == client


def test_an_ipv6_customer_is_one_client() -> None:
    """They have 2^64 addresses at least; an IPv4 address written as IPv6 is itself."""
    assert group_of("2001:db8::1") == group_of("2001:db8::ffff:1") != group_of("2001:db8:0:1::1")
    assert group_of("::ffff:192.0.2.1") == group_of("192.0.2.1") != group_of("192.0.2.2")
    assert group_of(LOCAL) == LOCAL


def test_tries_count_within_a_minute() -> None:
    """The first `most` are welcome, later ones when the minute that began with the first is over."""
    now = [100.0]
    limiter = Limiter(2, lambda: now[0])
    assert [limiter.take("a"), limiter.take("a"), limiter.take("b")] == [0.0, 0.0, 0.0]
    now[0] += 20
    assert limiter.take("a") == 40.0
    now[0] += 40
    assert [limiter.take("a"), limiter.take("a"), limiter.take("a")] == [0.0, 0.0, 60.0]


def test_a_limiter_does_not_grow() -> None:
    """The oldest window is forgotten first, so whoever tries most stays counted longest."""
    now = [100.0]
    limiter = Limiter(1, lambda: now[0])
    limiter.take("first")
    for number in range(MAX_KEYS):
        limiter.take(str(number))
    assert len(limiter._windows) == MAX_KEYS
    assert limiter.take("first") == 0.0 and limiter.take(str(MAX_KEYS - 1)) > 0
