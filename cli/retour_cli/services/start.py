"""Start: what every service does first."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from retour_cli.context import Context
from retour_cli.services import logs, store_log
from retour_policy.config.model import Config
from retour_policy.store.lock import Holder
from retour_policy.store.signals import ignore_stops

log = structlog.get_logger()


def begin(context: Context, service: str) -> Callable[[], object]:
    """Log as `service` does, let no terminal stop this process, and if root started it, become the database's owner.

    What it returns writes the last lines of the log, for a process that ends by `os._exit`. Raises `ConfigError`.
    """
    write_last_lines = logs.set_up(service)
    ignore_stops()
    context.on_long_wait = _log_who_holds_the_store
    context.on_store_change = store_log.teller
    context.become_owner()
    log_addresses(context, context.config)
    return write_last_lines


def log_addresses(context: Context, config: Config) -> None:
    """Log addresses from now on, or hashes of them, as `config` says. Raises `ConfigError`."""
    logs.hash_addresses(None if config.log_addresses else context.ring.log_name)


def _log_who_holds_the_store(holder: Holder | None) -> None:
    log.warning("waiting for the store", holder=str(holder or "unknown"))
