"""Web: the process that runs the web service."""

from __future__ import annotations

import asyncio
import contextlib

import click
import structlog

from retour_cli.context import Context, options
from retour_cli.services import store_log
from retour_cli.services.condition import Condition
from retour_cli.services.reload import reload_aside
from retour_cli.services.sockets import OpenSocket, Setting, open_all, renewed
from retour_cli.services.start import begin
from retour_cli.services.watchdog import Watchdog, in_loop
from retour_policy.config.feedback import WebSection
from retour_policy.config.logo import load_logo
from retour_policy.config.model import Config, SocketsSection
from retour_policy.errors import ConfigError, Problem
from retour_policy.store.writer import Writer

log = structlog.get_logger()


@click.command()
@options
def web(context: Context) -> None:
    """Run the web service in the foreground.

    People unsubscribe there, and their mail programs (RFC 8058). A web
    server stands before it: docs/web.md. SIGTERM lets requests finish;
    SIGUSR1 or SIGHUP reads the configuration again.
    """
    from retour_web.backend import Backend
    from retour_web.server import Hooks, serve

    begin(context, "retour-web")
    section = _section(context, context.config)
    with contextlib.ExitStack() as undo:
        opened = _open_all(context, section, undo)
        logo = context.logo  # read now, so that the condition knows of it
        condition = Condition("web", context)
        store_log.watch(context.store, condition)
        writer = Writer(context.store)
        backend = Backend(context.config, logo, context.ring, context.store, writer, context.clock)

        def adopt(new: Config) -> None:
            _section(context, new)
            backend.adopt(new, load_logo(context.path, new))

        def ready() -> None:
            log.info("web ready", listen=", ".join(section.listen), public_url=section.public_url)
            condition.ready()
            Watchdog(writer, condition, [in_loop(asyncio.get_running_loop())]).start()

        def stopping() -> None:
            undo.close()  # at once, so that a process that starts now finds the paths free
            condition.stopping()

        hooks = Hooks(ready, lambda: reload_aside(context, condition, adopt), stopping, lambda: renewed(opened))
        serve(backend, [one.listener for one in opened], hooks)
    if not writer.close():
        log.error("store is down at shutdown, work not finished")
    log.info("web stopped")


def _section(context: Context, config: Config) -> WebSection:
    """The section [web]. Raises `ConfigError`."""
    if config.web is None:
        raise ConfigError(Problem(str(context.path), "web", "is missing: this service needs it; docs/web.md"))
    return config.web


def _open_all(context: Context, section: WebSection, undo: contextlib.ExitStack) -> list[OpenSocket]:
    """The listening sockets; `undo` removes their paths. Raises `ConfigError`."""
    settings = SocketsSection(group=section.group, mode=context.config.sockets.mode)
    setting = Setting(str(context.path), "web.listen", group_key="web.group")
    return open_all(((setting, spec) for spec in section.listen), settings, undo)
