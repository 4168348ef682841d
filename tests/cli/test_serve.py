"""`retour serve`: all services as children of one process."""

from __future__ import annotations

import signal
from pathlib import Path

from lab.process import Child
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
