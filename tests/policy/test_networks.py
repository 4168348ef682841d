"""Which clients lie in a network."""

from __future__ import annotations

import ipaddress

from retour_policy.networks import contain


def test_an_ipv4_client_is_the_same_when_written_as_ipv6() -> None:
    """A dual-stack listener shows ::ffff:127.0.0.1 for 127.0.0.1."""
    networks = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("2001:db8::/32"))
    assert contain(networks, "::ffff:127.0.0.1")
    assert contain(networks, "2001:db8::1")
    assert not contain(networks, "::ffff:192.0.2.1")
    assert not contain(networks, None)
    assert not contain(networks, "unknown")
