"""Store log: one line when the database under a running service was removed or replaced, one when it is back."""

from __future__ import annotations

import structlog

from retour_policy.store.database import Store

log = structlog.get_logger()


def watch(store: Store) -> None:
    """Log what happens to the files of `store` from now on."""

    def told(what: str) -> None:
        if what:
            log.error("database lost", database=store.name, problem=what)
        else:
            log.warning("database opened again", database=store.name)

    store.on_change = told
