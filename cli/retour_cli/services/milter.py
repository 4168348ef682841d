"""Milter: the process that runs the milter service."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

import click
import structlog

from retour_cli.context import Context, options
from retour_cli.services import store_log
from retour_cli.services.condition import Condition
from retour_cli.services.reload import reload_aside
from retour_cli.services.sockets import OpenSocket, Setting
from retour_cli.services.start import begin
from retour_cli.services.watchdog import Watchdog
from retour_milter.backend import Backend
from retour_milter.stamper import Stamper
from retour_policy.store.writer import Writer

RELOAD_SIGNALS = {signal.SIGUSR1, signal.SIGHUP}
STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT}
TICK_INTERVAL_S = 5.0  # between looks at the store and at the socket's path

log = structlog.get_logger()


@click.command()
@options
def milter(context: Context) -> None:
    """Run the milter in the foreground.

    SIGTERM lets messages under way finish; SIGUSR1 or SIGHUP reads the
    configuration again.
    """
    from retour_milter import adapter

    write_last_lines = begin(context, "retour-milter")
    # before the first thread, so that all inherit it
    signal.pthread_sigmask(signal.SIG_BLOCK, RELOAD_SIGNALS | STOP_SIGNALS)
    condition = Condition("milter", context)
    store_log.watch(context.store, condition)
    writer = Writer(context.store)
    backend = Backend(context.config, context.ring, context.store, writer, context.clock)
    setting = Setting(str(context.path), "milter.socket")
    opened = OpenSocket(setting, context.config.milter.socket, context.config.sockets)
    stamper = _open_stamper(context, backend)
    descriptor = os.dup(opened.listener.fileno())
    failed = _start(lambda: adapter.serve(backend, descriptor))
    log.info("milter ready", socket=context.config.milter.socket, streams=len(context.config.stream))
    condition.ready()
    Watchdog(writer, condition).start()
    _wait_for_stop(context, condition, backend, lambda: _renew(opened, descriptor, stamper))
    condition.stopping()
    opened.remove()
    if stamper:
        stamper.close()
    began = time.monotonic()
    if not backend.in_flight.drain(backend.settings.config.milter.drain):
        log.error("messages cut off at shutdown", waited_ms=int((time.monotonic() - began) * 1000))
    if not writer.close():
        log.error("store is down at shutdown, work not finished")
    log.info("milter stopped")
    write_last_lines()
    # libmilter would notice after five seconds; no message is in progress, and everything is written.
    os._exit(1 if failed.is_set() else 0)


def _start(serve: Callable[[], None]) -> threading.Event:
    """Run `serve` in a thread; if it ends by itself, the event is set and the process stops."""
    failed = threading.Event()

    def run() -> None:
        try:
            serve()
        except Exception:
            log.exception("libmilter failed")
        failed.set()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=run, name="libmilter", daemon=True).start()
    return failed


def _wait_for_stop(context: Context, condition: Condition, backend: Backend, renew: Callable[[], None]) -> None:
    """Wait in the main thread; a reload runs in another, so that this one waits again at once."""
    while True:
        came = signal.sigtimedwait(RELOAD_SIGNALS | STOP_SIGNALS, TICK_INTERVAL_S)
        if came is not None and came.si_signo in STOP_SIGNALS:
            return
        renew()
        if came is None:
            backend.tick()
        else:
            reload_aside(context, condition, backend.adopt)


class _OpenStamper:
    """A stamper, and the socket that it answers on."""

    def __init__(self, context: Context, backend: Backend) -> None:
        setting = Setting(str(context.path), "milter.stamper")
        self._opened = OpenSocket(setting, context.config.milter.stamper, context.config.sockets)
        self._stamper = Stamper(backend, self._opened.listener)
        self._stamper.start()

    def renew(self) -> None:
        """Where the socket's path is gone, answer on a new one."""
        if new := self._opened.renew():
            self._stamper.listen_on(new)

    def close(self) -> None:
        """Answer nobody any more."""
        self._opened.remove()
        self._stamper.close()


def _open_stamper(context: Context, backend: Backend) -> _OpenStamper | None:
    return _OpenStamper(context, backend) if context.config.milter.stamper else None


def _renew(opened: OpenSocket, descriptor: int, stamper: _OpenStamper | None) -> None:
    """Where the socket's path is gone, put a new socket in the place of the one that libmilter accepts on."""
    if stamper:
        stamper.renew()
    old = opened.listener
    if new := opened.renew():
        os.dup2(new.fileno(), descriptor, inheritable=False)
        old.close()
