"""Networks: whether a client is in one of several IP networks. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def contain(networks: Iterable[Network], client: str | None) -> bool:
    """Whether the IP address `client` is in one of `networks`; an IPv4 address written as IPv6 counts as IPv4.

    A text that is not an IP address, and None for a client without one, is in none of them.
    """
    try:
        address = ipaddress.ip_address(client or "")
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return any(mapped in network for network in networks)
