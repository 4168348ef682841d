"""Courier: the process that runs the courier."""

from __future__ import annotations

import asyncio
import signal

import click
import structlog

from retour_cli.context import Context, options
from retour_cli.services import store_log
from retour_cli.services.condition import Condition
from retour_cli.services.reload import reload_aside
from retour_cli.services.start import begin
from retour_cli.services.watchdog import Watchdog, in_loop
from retour_courier.courier import Courier
from retour_policy.config.model import Config
from retour_policy.config.secrets import load_secrets
from retour_policy.messages.signer import Signer
from retour_policy.store.writer import Writer

log = structlog.get_logger()


@click.command()
@options
def courier(context: Context) -> None:
    """Run the courier in the foreground.

    It calls webhooks and commands, forwards to postmaster, and sends again
    what bounced softly. SIGTERM finishes what is in hand; SIGUSR1 or SIGHUP
    reads the configuration again.
    """
    begin(context, "retour-courier")
    asyncio.run(_run(context))
    log.info("courier stopped")


async def _run(context: Context) -> None:
    secrets = load_secrets(context.path, context.config)
    condition = Condition("courier", context)
    store_log.watch(context.store, condition)
    writer = Writer(context.store)
    worker = Courier(context.config, secrets, context.store, writer, Signer(context.ring, context.clock), context.clock)
    loop = asyncio.get_running_loop()

    def adopt(config: Config) -> None:
        """Called in a thread of the reload."""
        secrets = load_secrets(context.path, config)
        loop.call_soon_threadsafe(worker.adopt, config, secrets)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop)
    for number in (signal.SIGUSR1, signal.SIGHUP):
        loop.add_signal_handler(number, lambda: reload_aside(context, condition, adopt))
    log.info("courier ready", hooks=[hook.name for hook in context.config.hook], relays=list(context.config.relay))
    condition.ready()
    Watchdog(writer, condition, [in_loop(loop)]).start()
    try:
        await worker.run()
        condition.stopping()
    finally:
        await asyncio.to_thread(writer.close)
