"""`retour serve`: all services as children of one process."""

from __future__ import annotations

import signal
from pathlib import Path

from lab.process import Child, members
from lab.site import DOMAIN, RETOUR, retour
from lab.wait import wait_until


def test_a_reload_asked_for_too_early_is_done_when_the_services_are_ready(folder: Path) -> None:
    """The signal would end a service that does not listen to it yet, and all others with it."""
    home = folder / "r"
    assert retour("init", "--dir", home, "--domain", DOMAIN).returncode == 0
    with Child([*RETOUR, "serve", "--config", home / "retour.toml"], folder=folder, name="serve") as child:
        children = Path(f"/proc/{child.pid}/task/{child.pid}/children")
        wait_until(lambda: len(children.read_text().split()) == 3, what="three services")
        child.send_signal(signal.SIGUSR1)
        child.wait_ready()
        wait_until(lambda: child.log().count("configuration reloaded") == 3, what="three reloads")
        child.send_signal(signal.SIGTERM)
        assert child.wait() == 0


def test_the_services_end_with_it_when_it_is_killed(folder: Path) -> None:
    """By SIGKILL, which it cannot pass on: they finish what they have in hand, as after a SIGTERM, and are gone."""
    home = folder / "r"
    assert retour("init", "--dir", home, "--domain", DOMAIN).returncode == 0
    with Child([*RETOUR, "serve", "--config", home / "retour.toml"], folder=folder, name="serve") as child:
        child.wait_ready()
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        wait_until(lambda: not members(child.pid), what="the end of its services", seen=lambda: members(child.pid))
        for service in ("milter", "lmtpd", "courier"):
            assert f": {service} stopped" in child.log()
    assert not list((home / "sockets").iterdir())


def test_no_terminal_stops_a_service(folder: Path) -> None:
    """Ctrl-Z at `retour serve`: mail would wait for it, so nothing happens."""
    home = folder / "r"
    assert retour("init", "--dir", home, "--domain", DOMAIN).returncode == 0
    with Child([*RETOUR, "serve", "--config", home / "retour.toml"], folder=folder, name="serve") as child:
        child.wait_ready()
        for process in [child.pid, *map(int, Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split())]:
            handlers = dict(line.split(":\t", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
            caught = int(handlers["SigCgt"], 16) | int(handlers["SigIgn"], 16)
            assert all(caught >> (number - 1) & 1 for number in (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU))
        child.send_signal(signal.SIGTSTP)
        child.send_signal(signal.SIGTERM)
        assert child.wait() == 0
