"""Store log: one line when a running service has lost its database, one when it is back; systemd shows it as status."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from retour_cli.services.sd_notify import notify

log = structlog.get_logger()


def teller(name: str) -> Callable[[str], None]:
    """Is told of the database of that name: what is wrong with it, or (with "") that all is well again."""

    def tell(what: str) -> None:
        if what:
            log.error("database lost", database=name, problem=what)
            notify(f"STATUS=Waiting for the database, and putting mail off: {what}")
        else:
            log.warning("database opened again", database=name)
            notify("STATUS=")

    return tell
