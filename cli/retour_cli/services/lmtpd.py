"""Lmtpd: the process that runs the LMTP daemon."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Literal

import click
import structlog

from retour_cli.context import Context, options
from retour_cli.services import store_log
from retour_cli.services.condition import Condition
from retour_cli.services.reload import reload_aside
from retour_cli.services.sockets import OpenSocket, Setting, open_all, renewed
from retour_cli.services.start import begin
from retour_cli.services.watchdog import Watchdog, in_loop
from retour_cli.services.workers import Workers, command, count_of, shared_sockets
from retour_cli.services.workers_type import WorkersType
from retour_policy.config.load import load_rules
from retour_policy.config.model import Config
from retour_policy.store.writer import Writer

log = structlog.get_logger()


@click.command()
@click.option("--workers", type=WorkersType(), help="How many processes; instead of lmtpd.workers.")
@options
def lmtpd(context: Context, workers: int | Literal["auto"] | None) -> None:
    """Run the LMTP daemon in the foreground.

    It takes returned mail from the mail server and answers its lookups.
    SIGTERM lets sessions finish; SIGUSR1 or SIGHUP reads the configuration
    again. Of several workers, one that dies is started again.
    """
    begin(context, "retour-lmtpd")
    shared = shared_sockets()
    count = count_of(workers or context.config.lmtpd.workers)
    if shared is None and count > 1:
        raise SystemExit(_run_workers(context, count))
    _run(context, shared)


def _run_workers(context: Context, count: int) -> int:
    _ = context.ring, context.rules  # so that an error shows once, here, and not in each worker
    with contextlib.ExitStack() as undo:
        opened = _open_all(context, undo)
        status = Workers(command("lmtpd", str(context.path)), count, opened, undo.close).run()
    log.info("lmtpd stopped")
    return status


def _run(context: Context, shared: list[socket.socket] | None) -> None:
    """Run the daemon in this process, on sockets that it shares, or (None) on its own."""
    from retour_lmtpd.backend import Backend
    from retour_lmtpd.daemon import Hooks, serve

    config = context.config
    with contextlib.ExitStack() as undo:
        opened = _open_all(context, undo) if shared is None else []
        *listeners, lookup = shared or (one.listener for one in opened)
        rules = context.rules  # read now, so that the condition knows of them
        condition = Condition("lmtpd", context)
        store_log.watch(context.store, condition)
        writer = Writer(context.store)
        backend = Backend(config, rules, context.ring, writer, context.clock)

        def adopt(new: Config) -> None:
            backend.adopt(new, load_rules(context.path, new))

        def ready() -> None:
            log.info("lmtpd ready", listen=", ".join(config.lmtpd.listen), lookup=config.lmtpd.lookup)
            condition.ready()
            Watchdog(writer, condition, [in_loop(asyncio.get_running_loop())]).start()

        def stopping() -> None:
            undo.close()  # at once, so that a process that starts now finds the paths free
            condition.stopping()

        hooks = Hooks(
            ready,
            lambda: reload_aside(context, condition, adopt),
            stopping,
            lambda: renewed(opened),
            shares=shared is not None,
        )
        serve(backend, listeners, lookup, hooks)
    if not writer.close():
        log.error("store is down at shutdown, work not finished")
    log.info("lmtpd stopped")


def _open_all(context: Context, undo: contextlib.ExitStack) -> list[OpenSocket]:
    """The listeners' sockets and the lookup's; `undo` removes their paths. Raises `ConfigError`."""
    config = context.config
    wanted = [*(("lmtpd.listen", spec) for spec in config.lmtpd.listen), ("lmtpd.lookup", config.lmtpd.lookup)]
    named = ((Setting(str(context.path), key), spec) for key, spec in wanted)
    return open_all(named, config.sockets, undo)
