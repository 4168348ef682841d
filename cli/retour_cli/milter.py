"""Milter: the process that runs the milter service."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

import click
import structlog

from retour_cli import listen, logs
from retour_cli.notify import notify
from retour_cli.restart import kept_until_restart
from retour_cli.setup import Setup, options
from retour_milter.desk import Desk
from retour_policy import load
from retour_policy.config import Config
from retour_policy.errors import ConfigError
from retour_policy.writer import Writer

RELOAD = signal.SIGUSR1  # SIGHUP stops libmilter

log = structlog.get_logger()


@click.command()
@options
def milter(setup: Setup) -> None:
    """Run the milter in the foreground.

    SIGTERM lets messages under way finish; SIGUSR1 reads the configuration
    again. (SIGHUP stops the milter library, so it is not used for that.)
    """
    from retour_milter import adapter

    logs.set_up()
    signal.pthread_sigmask(signal.SIG_BLOCK, {RELOAD})  # before the first thread, so that all inherit it
    place = listen.Place(str(setup.path), "milter.socket")
    writer = Writer(setup.store)
    desk = Desk(setup.config, setup.ring, setup.store, writer, setup.clock)
    listener = listen.open_socket(place, setup.config.milter.socket, setup.config.sockets)
    threading.Thread(target=_reload_on_signal, args=(setup, desk.adopt), daemon=True, name="reload").start()
    log.info("milter ready", socket=setup.config.milter.socket, streams=len(setup.config.stream))
    notify("READY=1")
    try:
        adapter.serve(desk, listener)
    finally:
        notify("STOPPING=1")
        listener.close()
        listen.remove(setup.config.milter.socket)
        writer.close()
        log.info("milter stopped")


def _reload_on_signal(setup: Setup, adopt: Callable[[Config], None]) -> None:
    while True:
        signal.sigwait({RELOAD})
        reload(setup, adopt)


def reload(setup: Setup, adopt: Callable[[Config], None]) -> None:
    """Read the configuration again; a bad one is logged and changes nothing."""
    notify("RELOADING=1")
    try:
        config = load.load(setup.path)
        load.load_keyring(setup.path, config)
        adopt(config)
        log.info("configuration reloaded", streams=len(config.stream))
        for key in kept_until_restart(setup.config, config):
            log.warning("changed, and takes effect at the next start only", key=key)
    except ConfigError as error:
        for problem in error.problems:
            log.error("configuration refused, the old one stays", problem=str(problem))
    except Exception:
        log.exception("configuration not reloaded, the old one stays")  # or no signal would ever be heard again
    finally:
        notify("READY=1")
