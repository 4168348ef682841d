"""Processes: whether services and Postfix run, and have that database open which is at its path."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from retour_cli.doctor.finding import Finding, critical
from retour_policy.config.model import Config
from retour_policy.store.location import file_of

TIMEOUT_S = 5.0


def find(config: Config, *, postfix_runs: bool | None) -> Iterator[Finding]:
    """What does not run; `postfix_runs` is None where that is not known."""
    for spec, unit in sockets(config):
        if not answers(spec):
            text = f"nobody answers at {spec}: mail waits until {unit} runs"
            yield critical("service-away", text, f"systemctl start {unit}")
    if postfix_runs is False:
        yield critical("postfix-away", "Postfix does not run", "systemctl start postfix")
    if path := file_of(config.store.url):
        yield from _removed(path)


def sockets(config: Config) -> list[tuple[str, str]]:
    """The sockets that services open themselves, and the units that do; those of systemd always answer."""
    wanted = [(config.milter.socket, "retour-milter"), (config.lmtpd.lookup, "retour-lmtpd")]
    wanted += [(spec, "retour-lmtpd") for spec in config.lmtpd.listen]
    return [(spec, unit) for spec, unit in wanted if not spec.startswith("fd:")]


def answers(spec: str) -> bool:
    """Whether somebody listens at "unix:/path" or "inet:PORT@ADDRESS"."""
    kind, _, rest = spec.partition(":")
    port, _, host = rest.partition("@")
    try:
        if kind == "inet":
            socket.create_connection((host.strip("[]"), int(port)), TIMEOUT_S).close()
        else:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(TIMEOUT_S)
                probe.connect(rest)
    except PermissionError:
        return True  # it is not for this user, who cannot tell
    except OSError:
        return False
    return True


def _removed(path: Path) -> Iterator[Finding]:
    """Processes that have the file open which was at this path, and is no more (proc(5)); root sees all of them."""
    gone, seen = f"{path.resolve()} (deleted)", set()
    for descriptors in Path("/proc").glob("[0-9]*/fd"):
        with suppress(OSError):
            for name in os.listdir(descriptors):  # noqa: PTH208
                if os.readlink(descriptors / name) == gone:  # noqa: PTH115
                    seen.add(int(descriptors.parent.name))
    if seen:
        text = f"{path} was removed or replaced while it was open in process {', '.join(map(str, sorted(seen)))}"
        yield critical("database-replaced", text, "systemctl restart retour")
