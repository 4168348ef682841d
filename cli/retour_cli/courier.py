"""Courier: the process that runs the courier."""

from __future__ import annotations

import signal
import threading

import click
import structlog

from retour_cli import logs
from retour_cli.milter import reload_aside
from retour_cli.notify import notify
from retour_cli.setup import Setup, options
from retour_policy.config import Config
from retour_policy.writer import Writer

log = structlog.get_logger()


@click.command()
@options
def courier(setup: Setup) -> None:
    """Run the courier in the foreground.

    It forwards to postmaster what nothing matches. SIGTERM finishes the
    item in hand; SIGUSR1 or SIGHUP reads the configuration again.
    """
    from retour_courier.courier import Courier

    logs.set_up()
    writer = Writer(setup.store)
    worker = Courier(setup.config, setup.store, writer, setup.clock)
    stop = threading.Event()

    def adopt(config: Config) -> None:
        worker.config = config

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    for number in (signal.SIGUSR1, signal.SIGHUP):
        signal.signal(number, lambda *_: reload_aside(setup, adopt))
    log.info("courier ready", relay=worker.config.relay["default"].host)
    notify("READY=1")
    worker.run(stop)
    notify("STOPPING=1")
    writer.close()
    log.info("courier stopped")
