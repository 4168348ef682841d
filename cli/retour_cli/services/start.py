"""Start: what every service does first."""

from __future__ import annotations

import structlog

from retour_cli.context import Context
from retour_cli.services import logs
from retour_policy.store.lock import Holder
from retour_policy.store.signals import ignore_stops

log = structlog.get_logger()


def begin(context: Context) -> None:
    """Log as services do, let no terminal stop this process, and if root started it, become the database's owner.

    Raises `ConfigError`.
    """
    logs.set_up()
    ignore_stops()
    context.on_long_wait = _log_who_holds_the_store
    context.become_owner()


def _log_who_holds_the_store(holder: Holder | None) -> None:
    log.warning("waiting for the store", holder=str(holder or "unknown"))
