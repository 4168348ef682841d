"""Inside: runs one server in its overlay, sends every scenario through it and keeps the reports."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from mailservers import world
from mailservers.mailboxes import answers
from mailservers.scenarios import SCENARIOS
from mailservers.servers import SERVERS, run, users


def main(name: str, out: Path) -> None:
    """Starts the world and the server `name`; the reports are written to `out`."""
    out.mkdir(parents=True, exist_ok=True)
    run(
        "ip link set lo up; for n in 1 2 3 4 5 6; do ip addr add 192.0.2.$n/24 dev lo; done; hostname mail.home.example"
    )
    users()
    world.start(out)
    if name == "dovecot":
        answers()
        return
    server = SERVERS[name]
    server.start()
    for scenario in SCENARIOS:
        if scenario.name in server.without:
            continue
        try:
            server.send(scenario)
        except OSError as error:
            print(f"  {scenario.name}: {error}", flush=True)
    wait(out, server.nudge, server.patience)


def wait(out: Path, nudge: str, patience: float) -> None:
    """Waits until the reports of all scenarios are there, or time is up."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        time.sleep(1)
        if nudge:
            subprocess.run(nudge, shell=True, capture_output=True, check=False)
    print(f"  {len(list(out.iterdir()))} reports", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
