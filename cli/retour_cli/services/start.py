"""Start: what every service does first."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from retour_cli.context import Context
from retour_cli.services import logs
from retour_policy.store.lock import Holder
from retour_policy.store.signals import ignore_stops

log = structlog.get_logger()


def begin(context: Context) -> Callable[[], object]:
    """Log as services do, let no terminal stop this process, and if root started it, become the database's owner.

    What it returns writes the last lines of the log, for a process that ends by `os._exit`. Raises `ConfigError`.
    """
    write_last_lines = logs.set_up()
    ignore_stops()
    context.on_long_wait = _log_who_holds_the_store
    context.become_owner()
    return write_last_lines


def _log_who_holds_the_store(holder: Holder | None) -> None:
    log.warning("waiting for the store", holder=str(holder or "unknown"))
