"""Lmtpd: the process that runs the LMTP daemon."""

from __future__ import annotations

import click
import structlog

from retour_cli import listen, logs
from retour_cli.milter import reload
from retour_cli.notify import notify
from retour_cli.setup import Setup, options
from retour_policy.config import Config
from retour_policy.load import load_rules
from retour_policy.writer import Writer

log = structlog.get_logger()


@click.command()
@options
def lmtpd(setup: Setup) -> None:
    """Run the LMTP daemon in the foreground.

    It takes returned mail from the mail server and answers its look-ups.
    SIGTERM lets sessions finish; SIGUSR1 or SIGHUP reads the configuration
    again.
    """
    from retour_lmtpd.daemon import Hooks, serve
    from retour_lmtpd.reception import Reception

    logs.set_up()
    config, file = setup.config, str(setup.path)
    writer = Writer(setup.store)
    reception = Reception(config, setup.rules, setup.ring, writer, setup.clock)
    listeners = [listen.open_socket(listen.Place(file, "lmtpd.listen"), x, config.sockets) for x in config.lmtpd.listen]
    lookup = listen.open_socket(listen.Place(file, "lmtpd.lookup"), config.lmtpd.lookup, config.sockets)

    def adopt(fresh: Config) -> None:
        reception.adopt(fresh, load_rules(setup.path, fresh))

    def ready() -> None:
        log.info("lmtpd ready", listen=config.lmtpd.listen, lookup=config.lmtpd.lookup)
        notify("READY=1")

    hooks = Hooks(ready, lambda: reload(setup, adopt), lambda: notify("STOPPING=1"))
    try:
        serve(reception, listeners, lookup, hooks)
    finally:
        for spec in (*config.lmtpd.listen, config.lmtpd.lookup):
            listen.remove(spec)
        writer.close()
        log.info("lmtpd stopped")
