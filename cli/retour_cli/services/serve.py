"""Serve: starts all services as children, and stops them together."""

from __future__ import annotations

import os
import secrets
import selectors
import signal
import socket
import subprocess
import sys
from functools import partial

import click
import structlog

from retour_cli.context import Context, options
from retour_cli.services.logs import IDENTIFIER_VARIABLE
from retour_cli.services.sd_notify import notify
from retour_cli.services.start import begin
from retour_policy.parent import die_with_parent

ALWAYS = ("milter", "lmtpd", "courier")
STOP_TIMEOUT_S = 60.0  # that a service may take to finish: longer than the milter's drain plus a hanging store

log = structlog.get_logger()


@click.command()
@options
def serve(context: Context) -> None:
    """Run all services in the foreground, the web service if there is a [web].

    For a small host, a container or a try-out; systemd runs each by itself.
    SIGTERM stops all of them; SIGUSR1 or SIGHUP makes them read the
    configuration again. When one dies, all stop, and the exit status is
    that one's (1 where a signal ended it). When this process is killed, they
    stop too.
    """
    begin(context, "retour")
    _ = context.config, context.ring, context.store  # so that an error shows once, here, and not in each service
    context.store.close()
    status = Supervisor(context).run()
    raise SystemExit(status)


class Supervisor:
    """Runs the children. Signals are read from a pipe, so that nothing is polled."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._services = (*ALWAYS, "web") if context.config.web else ALWAYS
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._ready: set[str] = set()
        self._to_reload: set[str] = set()
        self._asked_to_stop = False
        self._wakeup, write_end = socket.socketpair()
        write_end.setblocking(False)
        self._write_end = write_end
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(write_end.fileno())

    def run(self) -> int:
        """Start, wait, stop; the exit status."""
        sockets = {name: self._start(name) for name in self._services}
        selector = selectors.DefaultSelector()
        selector.register(self._wakeup, selectors.EVENT_READ, None)
        for name, messages in sockets.items():
            selector.register(messages, selectors.EVENT_READ, name)
        while not self._asked_to_stop and not self._dead():
            for key, _ in selector.select():
                self._take(key)
        died = self._dead()
        self._stop()
        for name in died:
            log.error("service died", service=name, status=self._children[name].returncode)
        return self._status(died)

    def _start(self, name: str) -> socket.socket:
        """Start one service with a socket of its own to say that it is ready."""
        messages = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        address = f"retour-{os.getpid()}-{secrets.token_hex(8)}"
        messages.bind("\0" + address)
        command = [sys.executable, "-m", "retour_cli", name, "--config", str(self._context.path)]
        environment = os.environ | {"NOTIFY_SOCKET": "@" + address, IDENTIFIER_VARIABLE: "1"}
        self._children[name] = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            preexec_fn=partial(die_with_parent, signal.SIGTERM, os.getpid()),  # also where this process is killed
        )
        return messages

    def _take(self, key: selectors.SelectorKey) -> None:
        if key.data is not None:
            message = key.fileobj.recv(4096)  # type: ignore[union-attr]
            self._heard(key.data, message)
            return
        for number in self._wakeup.recv(4096):
            self._signalled(signal.Signals(number))

    def _heard(self, name: str, message: bytes) -> None:
        if message.startswith(b"STATUS="):
            notify(message.decode("utf-8", "replace"))
        elif message.startswith(b"READY=1") and name not in self._ready:
            self._ready.add(name)
            self._reload_those_ready()
            if len(self._ready) == len(self._services):
                log.info("all services ready")
                notify("READY=1")

    def _signalled(self, number: signal.Signals) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._asked_to_stop = True
        elif number in (signal.SIGUSR1, signal.SIGHUP):
            self._to_reload.update(self._services)
            self._reload_those_ready()

    def _reload_those_ready(self) -> None:
        """A service that does not handle the signal yet would die of it; it gets it when it is ready."""
        for name in self._to_reload & self._ready:
            self._send(name, signal.SIGUSR1)
        self._to_reload -= self._ready

    def _send(self, name: str, number: signal.Signals) -> None:
        if self._children[name].poll() is None:
            self._children[name].send_signal(number)

    def _dead(self) -> list[str]:
        return [name for name, child in self._children.items() if child.poll() is not None]

    def _stop(self) -> None:
        notify("STOPPING=1")
        for name in self._children:
            self._send(name, signal.SIGTERM)
        for name, child in self._children.items():
            try:
                child.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                log.error("service does not stop, killed", service=name)
                child.kill()
                child.wait()

    def _status(self, died: list[str]) -> int:
        """0 if the stop was asked for; else that of the service that died, or 1."""
        statuses = [self._children[name].returncode for name in died]
        return 0 if not died else next((status for status in statuses if status > 0), 1)
