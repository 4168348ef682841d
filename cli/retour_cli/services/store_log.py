"""Store log: one line when a running service has lost its database, one when it is back; systemd shows it as status."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from retour_cli.services.condition import Condition
from retour_cli.services.sd_notify import notify
from retour_policy.store.database import Store

DATABASE = "database"
"""What the trouble is about that a condition is told."""

log = structlog.get_logger()


def teller(name: str, condition: Condition | None = None) -> Callable[[str], None]:
    """Is told of the database of that name: what is wrong with it, or (with "") that all is well again."""

    def tell(what: str) -> None:
        if what:
            log.error("database lost", database=name, problem=what)
        else:
            log.warning("database opened again", database=name)
        trouble = _words(what)
        if condition:
            condition.trouble(DATABASE, trouble)
        else:
            notify(f"STATUS={trouble}")

    return tell


def watch(store: Store, condition: Condition) -> None:
    """Log what happens to `store` from now on, and tell `condition`, also of a server that is away at the start."""
    store.on_change = teller(store.name, condition)
    condition.trouble(DATABASE, _words(store.trouble))


def _words(what: str) -> str:
    return what and f"Waiting for the database, and putting mail off: {what}"
