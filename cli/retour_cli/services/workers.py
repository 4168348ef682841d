"""Workers: several processes of one service that share its sockets, and the process that looks after them.

Each is started anew when it dies: what it had answered is in the store, and what it had not, the mail server sends
again. A reload and a stop reach all.
"""

from __future__ import annotations

import os
import secrets
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import structlog

from retour_cli.services.logs import IDENTIFIER_VARIABLE
from retour_cli.services.sd_notify import notify, reloading
from retour_cli.services.sockets import OpenSocket
from retour_policy.parent import die_with_parent

SOCKETS_VARIABLE = "RETOUR_WORKER_SOCKETS"
"""Names, in a worker's environment, the descriptors that it shares, in the order in which the service opens them."""
STOP_TIMEOUT_S = 60.0  # that a worker may take to finish
RESTART_PAUSE_S = 1.0  # between two starts of one worker
LOOK_INTERVAL_S = 5.0  # between looks at the sockets' paths
CONFIGURATION_ERROR = 78  # EX_CONFIG of sysexits.h: no later start succeeds either

log = structlog.get_logger()


def count_of(setting: int | Literal["auto"]) -> int:
    """How many workers that are; "auto": as many as there are cores for this process."""
    return len(os.sched_getaffinity(0)) if setting == "auto" else setting


def shared_sockets() -> list[socket.socket] | None:
    """The sockets that this process shares, if it is a worker."""
    text = os.environ.get(SOCKETS_VARIABLE)
    return [socket.socket(fileno=int(one)) for one in text.split(",")] if text else None


@dataclass
class _Worker:
    """One place for a process; which one is in it changes."""

    number: int
    process: subprocess.Popen[bytes] | None = None
    messages: socket.socket | None = None
    started: float = 0.0
    ready: bool = False
    answers: set[str] = field(default_factory=set)
    """What it has said since the service manager was told the same."""

    def is_dead(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def send(self, number: signal.Signals) -> None:
        if self.process and not self.is_dead():
            self.process.send_signal(number)


class Workers:
    """Runs them. Signals are read from a pipe, so that nothing is polled but the sockets' paths."""

    def __init__(
        self, argv: Sequence[str], count: int, opened: Sequence[OpenSocket], close: Callable[[], None]
    ) -> None:
        """`argv` starts a worker. `close` removes the paths of the sockets, at once when the service stops."""
        self._argv = argv
        self._opened = opened
        self._close = close
        self._workers = [_Worker(number + 1) for number in range(count)]
        self._ended: list[_Worker] = []
        """Those that were replaced and finish what they have begun."""
        self._status: int | None = None
        self._told_ready = False
        self._selector = selectors.DefaultSelector()
        wakeup, self._write_end = socket.socketpair()
        self._write_end.setblocking(False)
        self._selector.register(wakeup, selectors.EVENT_READ, None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(self._write_end.fileno())

    def run(self) -> int:
        """Start them, look after them, stop them; the exit status."""
        while self._status is None:
            self._start_missing()
            for key, _ in self._selector.select(self._patience()):
                self._take(key)
            self._bury()
            self._renew()
        self._stop()
        return self._status

    def _start_missing(self) -> None:
        for worker in self._workers:
            if worker.process is None and time.monotonic() >= worker.started + RESTART_PAUSE_S:
                self._start(worker)

    def _patience(self) -> float:
        is_one_missing = any(worker.process is None for worker in self._workers)
        return RESTART_PAUSE_S / 2 if is_one_missing else LOOK_INTERVAL_S

    def _start(self, worker: _Worker) -> None:
        worker.messages = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        address = f"retour-{os.getpid()}-{secrets.token_hex(8)}"
        worker.messages.bind("\0" + address)
        worker.messages.setblocking(False)
        self._selector.register(worker.messages, selectors.EVENT_READ, worker)
        worker.started, worker.ready = time.monotonic(), False
        descriptors = [one.listener.fileno() for one in self._opened]
        worker.process = subprocess.Popen(
            self._argv,
            env=_environment("@" + address, descriptors),
            stdin=subprocess.DEVNULL,
            pass_fds=descriptors,
            preexec_fn=partial(die_with_parent, signal.SIGTERM, os.getpid()),
        )

    def _take(self, key: selectors.SelectorKey) -> None:
        if isinstance(key.data, _Worker):
            for message in _received(key.fileobj):  # type: ignore[arg-type]
                self._heard(key.data, message)
            return
        for number in key.fileobj.recv(4096):  # type: ignore[union-attr]
            self._signalled(signal.Signals(number))

    def _heard(self, worker: _Worker, message: str) -> None:
        lines = message.splitlines()
        statuses = [line for line in lines if line.startswith("STATUS=")]
        if statuses and worker in self._workers:
            notify(*statuses)
        worker.ready = worker.ready or "READY=1" in lines
        worker.answers.update(lines)
        for what in ("READY=1", "WATCHDOG=1"):
            self._tell_if_all(what)

    def _tell_if_all(self, what: str) -> None:
        """Tell the service manager what all workers have said: one that hangs must not seem to be well."""
        if all(what in worker.answers for worker in self._workers):
            for worker in self._workers:
                worker.answers.discard(what)
            if what == "READY=1" and not self._told_ready:
                self._told_ready = True
                log.info("all workers ready", workers=len(self._workers))
            notify(what)

    def _signalled(self, number: signal.Signals) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._status = 0
        elif number in (signal.SIGUSR1, signal.SIGHUP):
            notify(*reloading())
            for worker in self._workers:
                worker.answers.discard("READY=1")
                self._reload(worker)

    def _reload(self, worker: _Worker) -> None:
        """One that is not ready would die of the signal; it is started again instead, and reads the newest file."""
        worker.send(signal.SIGUSR1 if worker.ready else signal.SIGTERM)

    def _bury(self) -> None:
        self._ended = [one for one in self._ended if not self._forget_if_dead(one)]
        for worker in self._workers:
            status = worker.process.poll() if worker.process else None
            if status is None or not self._forget_if_dead(worker):
                continue
            log.error("worker died, and is started again", worker=worker.number, status=status)
            if status == CONFIGURATION_ERROR:
                self._status = status

    def _forget_if_dead(self, worker: _Worker) -> bool:
        if not worker.is_dead():
            return False
        if worker.messages:
            self._selector.unregister(worker.messages)
            worker.messages.close()
        worker.process = worker.messages = None
        worker.answers.clear()
        return True

    def _renew(self) -> None:
        """Where the path of a socket is gone, start workers on a new one; those before finish what they have."""
        old = [one.listener for one in self._opened]
        if not [one for one in self._opened if one.renew()]:
            return
        for worker in self._workers:
            worker.send(signal.SIGTERM)
        self._ended += self._workers
        self._workers = [_Worker(worker.number) for worker in self._workers]
        for before, one in zip(old, self._opened, strict=True):
            if one.listener is not before:
                before.close()

    def _stop(self) -> None:
        self._close()  # at once, so that a process that starts now finds the paths free
        notify("STOPPING=1")
        everybody = [*self._workers, *self._ended]
        for worker in everybody:
            worker.send(signal.SIGTERM)
        ends = time.monotonic() + STOP_TIMEOUT_S
        for worker in everybody:
            if worker.process:
                _wait(worker.process, worker.number, max(0.0, ends - time.monotonic()))


def _wait(process: subprocess.Popen[bytes], number: int, timeout_s: float) -> None:
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        log.error("worker does not stop, killed", worker=number)
        process.kill()
        process.wait()


def _environment(messages: str, descriptors: Sequence[int]) -> Mapping[str, str]:
    """What a worker is to find: it reports to its supervisor, also that it is alive."""
    inherited = {name: value for name, value in os.environ.items() if name != "WATCHDOG_PID"}
    shared = ",".join(map(str, descriptors))
    return inherited | {"NOTIFY_SOCKET": messages, SOCKETS_VARIABLE: shared, IDENTIFIER_VARIABLE: "1"}


def _received(messages: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found.append(messages.recv(4096).decode("utf-8", "replace"))
        except BlockingIOError:
            return found


def command(service: str, config: str) -> list[str]:
    """What starts a worker of a service."""
    return [sys.executable, "-m", "retour_cli", service, "--config", config]
