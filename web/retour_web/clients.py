"""Clients: who asks, where web servers stand between; whom a limit counts as one. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from retour_policy import networks
from retour_policy.networks import Network

LOCAL = "local"
"""Who asks over a Unix socket without saying for whom."""
IPV6_PREFIX = 64  # what one customer has at least: all of it counts as one client


def client_of(peer: str | None, forwarded: Iterable[str], trusted: Iterable[Network]) -> str:
    """The address of the client: the last one in X-Forwarded-For that no trusted web server has.

    `peer` is the address that the connection comes from, None for a Unix socket, whose peer is trusted. `forwarded` are
    the values of the header field. What stands before the first address that is not trusted anybody can have written.
    """
    trusted = tuple(trusted)
    if peer is not None and not networks.contain(trusted, peer):
        return peer
    found = peer or LOCAL
    for text in reversed(",".join(forwarded).split(",")):
        address = text.strip()
        if not _is_address(address):
            return found
        found = address
        if not networks.contain(trusted, address):
            return found
    return found


def group_of(client: str) -> str:
    """What a limit counts as one client: an IPv4 address, the network of an IPv6 address."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    if isinstance(address, ipaddress.IPv4Address):
        return client
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address), IPV6_PREFIX), strict=False))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
