"""Couriers that are killed: a process that has everything imported forks one for each line that it reads.

Run as `python -m lab.killed_courier STORE_URL KEYRING CONFIG...`; a line names a configuration by its number, the
answer is the process id of the courier that now works by it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import structlog

from lab.receiver import KEY
from retour_courier.courier import Courier
from retour_policy.clock import system_clock
from retour_policy.config.model import Config
from retour_policy.config.secrets import Secrets
from retour_policy.messages.signer import Signer
from retour_policy.parent import die_with_parent
from retour_policy.store.database import open_store
from retour_policy.store.writer import Writer
from retour_policy.tokens.keyring import KeyRingFile


class KilledCouriers:
    """The forking process, as a context manager."""

    def __init__(self, url: str, ring: Path, configs: Sequence[Mapping[str, Any]]) -> None:
        self._argv = [sys.executable, "-m", "lab.killed_courier", url, str(ring), *map(json.dumps, configs)]

    def __enter__(self) -> KilledCouriers:
        env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(self._argv, stdin=pipe, stdout=pipe, text=True, env=env, bufsize=1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()  # its couriers die with it
        self._process.communicate()

    def start(self, number: int) -> int:
        """A courier by that configuration; its process id."""
        assert self._process.stdin and self._process.stdout
        print(number, file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())


def main(url: str, ring: str, *configs: str) -> None:
    """Fork until standard input ends."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps them
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            die_with_parent(signal.SIGKILL)
            _live(url, Path(ring), Config.model_validate(json.loads(configs[int(line)])))
        print(pid, flush=True)


def _live(url: str, ring: Path, config: Config) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    store = open_store(url)
    writer = Writer(store)
    secrets = Secrets({hook.name: (KEY,) for hook in config.hook})

    async def work() -> None:
        signer = Signer(KeyRingFile(ring), system_clock)
        courier = Courier(config, secrets, store, writer, signer, system_clock)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, courier.stop)
        await courier.run()

    asyncio.run(work())
    writer.close()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
