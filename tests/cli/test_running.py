"""What `retour check` says of services that run: whether they know the configuration as it is."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from lab.process import Child
from lab.site import RETOUR
from lab.wait import wait_until


def said(office: Any) -> str:
    """The warnings of `retour check`, on one line."""
    return " ".join(office("check").stderr.split())


def test_check_says_that_a_service_runs_with_an_older_configuration(office: Any, folder: Path) -> None:
    """An edit is told until the service has read it; a refused one with its reason; a killed service not at all."""
    with Child([*RETOUR, "lmtpd", "--config", office.config], folder=folder, name="lmtpd") as child:
        child.wait_ready()
        older = f"lmtpd (process {child.pid}) runs with an older {office.config}"
        assert older not in said(office)
        office.edit("hard = 3", "hard = 4")
        assert older in said(office) and "systemctl reload retour" in said(office)
        child.send_signal(signal.SIGUSR1)
        wait_until(lambda: older not in said(office), what="the newer one in force", seen=lambda: said(office))

        office.edit("hard = 4", "hard = -4")
        child.send_signal(signal.SIGUSR1)
        child.wait_for_log("configuration refused")
        office.edit("hard = -4", "hard = 5")
        wait_until(lambda: "policy.hard: -4 is too small" in said(office), what="why", seen=lambda: said(office))
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert older not in said(office)


def test_check_names_what_waits_for_a_restart(office: Any, folder: Path) -> None:
    """A new socket is read by a reload and opened by a start: the line to run is printed."""
    with Child([*RETOUR, "courier", "--config", office.config], folder=folder, name="courier") as child:
        child.wait_ready()
        office.edit('mode = "0660"', 'mode = "0600"')
        child.send_signal(signal.SIGUSR1)
        wanted = "takes sockets only when it starts again: systemctl restart retour-courier"
        wait_until(lambda: wanted in said(office), what="the line", seen=lambda: said(office))
        (record,) = office.json("check")[0]["running"]
        assert (record["service"], record["pid"], record["changed"]) == ("courier", child.pid, [])
