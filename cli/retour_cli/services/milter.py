"""Milter: the process that runs the milter service."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

import click
import structlog

from retour_cli.context import Context, options
from retour_cli.services import logs
from retour_cli.services import sockets as listen
from retour_cli.services.restart import kept_until_restart
from retour_cli.services.sd_notify import notify
from retour_milter.backend import Backend
from retour_policy.config import load
from retour_policy.config.model import Config
from retour_policy.errors import ConfigError
from retour_policy.store.writer import Writer

RELOAD = {signal.SIGUSR1, signal.SIGHUP}
STOP = {signal.SIGTERM, signal.SIGINT}

_one_at_a_time = threading.Lock()
log = structlog.get_logger()


@click.command()
@options
def milter(context: Context) -> None:
    """Run the milter in the foreground.

    SIGTERM lets messages under way finish; SIGUSR1 or SIGHUP reads the
    configuration again.
    """
    from retour_milter import adapter

    logs.set_up()
    signal.pthread_sigmask(signal.SIG_BLOCK, RELOAD | STOP)  # before the first thread, so that all inherit it
    writer = Writer(context.store)
    backend = Backend(context.config, context.ring, context.store, writer, context.clock)
    place = listen.Place(str(context.path), "milter.socket")
    listener = listen.open_socket(place, context.config.milter.socket, context.config.sockets)
    failed = _start(lambda: adapter.serve(backend, listener))
    log.info("milter ready", socket=context.config.milter.socket, streams=len(context.config.stream))
    notify("READY=1")
    _wait_for_stop(context, backend.adopt)
    notify("STOPPING=1")
    listen.remove(context.config.milter.socket)
    if not backend.in_flight.drain(backend.settings.config.milter.drain):
        log.error("messages cut off at the end", waited_ms=backend.settings.config.milter.drain)
    if not writer.close():
        log.error("store is down at the end, work left undone")
    log.info("milter stopped")
    # libmilter would notice after five seconds; nothing is under way, and all is written.
    os._exit(1 if failed.is_set() else 0)


def _start(serve: Callable[[], None]) -> threading.Event:
    """Run `serve` in a thread; the event is set, and the process told to stop, if it ends by itself."""
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


def _wait_for_stop(context: Context, adopt: Callable[[Config], None]) -> None:
    """Wait in the main thread; a reload runs in another, so that this one waits again at once."""
    while signal.sigwait(RELOAD | STOP) in RELOAD:
        reload_aside(context, adopt)


def reload_aside(context: Context, adopt: Callable[[Config], None]) -> None:
    """`reload` in a thread of its own: it can wait for seconds for the store, and whoever asks must not."""
    threading.Thread(target=reload, args=(context, adopt), name="reload", daemon=True).start()


def reload(context: Context, adopt: Callable[[Config], None]) -> None:
    """Read the configuration again; a bad one is logged and changes nothing.

    Signals can come faster than this ends. One after the other, the last to adopt has read what the file says now.
    """
    with _one_at_a_time:
        notify("RELOADING=1")
        try:
            _reload(context, adopt)
        except ConfigError as error:
            for problem in error.problems:
                log.error("configuration refused, the old one stays", problem=str(problem))
        except Exception:
            log.exception("configuration not reloaded, the old one stays")  # or no signal would ever be heard again
        finally:
            notify("READY=1")


def _reload(context: Context, adopt: Callable[[Config], None]) -> None:
    config = load.load(context.path)
    load.load_keyring(context.path, config)
    adopt(config)
    log.info("configuration reloaded", streams=len(config.stream))
    for key in kept_until_restart(context.config, config):
        log.warning("changed, and takes effect at the next start only", key=key)
