"""Ways: how Postfix names Retour's sockets, and whether its services can reach them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from retour_cli.postfix.instance import Instance

TRANSPORT = "retour"
"""The service of master.cf that delivers to Retour."""
FOLDER = "retour"
"""Where systemd opens the sockets that retour.toml names as `fd:...`, below the queue's folder: NAME.sock."""


def socket_name(spec: str, queue: Path, name: str) -> str:
    """A socket of retour.toml as main.cf has it: below the queue's folder its path is relative, as in the chroot.

    `name` is what its file is called where systemd opens it: milter, lookup or lmtp.
    """
    kind, _, rest = spec.partition(":")
    if kind == "inet":
        port, _, host = rest.partition("@")
        return f"inet:{host}:{port}"
    if kind == "fd":
        return f"unix:{FOLDER}/{name}.sock"
    path = Path(rest)
    return f"unix:{path.relative_to(queue)}" if path.is_relative_to(queue) else f"unix:{path}"


def lookup_table(spec: str, queue: Path) -> str:
    """Retour's lookup as a table."""
    return f"socketmap:{socket_name(spec, queue, 'lookup')}:bounce"


def next_hop(specs: Iterable[str], queue: Path) -> str:
    """The transport and its destination; of several sockets a unix socket, if there is one."""
    first = min(specs, key=lambda spec: spec.startswith("inet:"))
    return f"{TRANSPORT}:{socket_name(first, queue, 'lmtp')}"


def is_out_of_reach(name: str, instance: Instance, programs: Iterable[str]) -> bool:
    """Whether a socket lies where a chrooted service of these programs cannot see it."""
    chrooted = any(service.chroot for program in programs for service in instance.running(program))
    return chrooted and name.startswith(("unix:/", "socketmap:unix:/"))
