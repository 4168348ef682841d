"""Doctor: what is wrong with Retour, the Postfix beside it and the DNS, the most urgent first, and what mends it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from retour_cli.aside import aside
from retour_cli.commands.check import warnings
from retour_cli.context import Context, options
from retour_cli.doctor import configuration, inside, limits, milter_lists, processes, rewriting, routing, signing, zone
from retour_cli.doctor.finding import Finding, Urgency, exit_status, hint, warning
from retour_cli.doctor.names import Names
from retour_cli.output import counted, json_option, print_json, say, wrapped
from retour_cli.postfix import change
from retour_cli.postfix.instance import Instance
from retour_cli.postfix.postconf import Programs, read_if_any


@click.command()
@options
@click.option("--postfix", type=click.Path(path_type=Path), help="Postfix's folder. [default: that of postconf]")
@click.option("--resolver", metavar="HOST[:PORT]", help="The DNS server to ask. [default: the host's]")
@click.option("--no-dns", is_flag=True, help="Leave the DNS alone.")
@click.option("--deep", is_flag=True, help="Compare each index of the database with its table; takes longer.")
@click.option("--user", help="As root: the user whom the services run as. [default: as for check]")
@click.option("--live", metavar="ADDRESS", help="Send a message to this address of yours, all the way and back.")
@click.option("--server", metavar="HOST[:PORT]", default="127.0.0.1", show_default=True, help="Where --live sends it.")
@json_option
def doctor(
    context: Context,
    postfix: Path | None,
    resolver: str | None,
    no_dns: bool,
    deep: bool,
    user: str | None,
    live: str | None,
    server: str,
    as_json: bool,
) -> None:
    """Find what is wrong, the most urgent first, and the line that mends it.

    It looks at Retour's files as the services' user, at the configuration,
    at Postfix, at the DNS of the bounce domains and at the DKIM signer; it
    changes nothing. Exit status 78 if mail does not go, 1 if something is
    to be mended, 0 if there are hints at most.

    With --live it sends a message, and then a forged and a real bounce of
    it; what these count against the address is taken back.
    """
    programs = Programs(postfix)
    _ = context.config  # an error in it ends this at once
    names = None if no_dns else Names(resolver)
    found = list(_all(context, programs, names, user, deep))
    found.sort(key=lambda one: one.urgency)
    for one in found:
        _print(one, as_json)
    if live:
        from retour_cli.doctor.live import Live

        found += Live(context, programs, live, server, names, user).run(as_json)
    if not as_json:
        say(_summary(found))
    raise SystemExit(exit_status(found))


def _all(context: Context, programs: Programs, names: Names | None, user: str | None, deep: bool) -> Iterator[Finding]:
    config, instance = context.config, read_if_any(programs)
    yield from inside.restored(aside(lambda: inside.find(context, user, deep=deep)))
    runs = change.is_running(programs) if instance and change.is_root() else None  # only root is told
    yield from processes.find(config, postfix_runs=runs)
    yield from (warning("setting-harms", text, f"edit {context.path}") for text in warnings(config))
    yield from configuration.find(config, limits.queue_lifetime(instance) if instance else None)
    yield from signing.find(config)
    if instance is None:
        yield hint("postfix-missing", "there is no Postfix here, or its files cannot be read: it was not looked at")
        return
    yield from _of_postfix(context, instance)
    if names:
        yield from zone.find(config, instance, names)


def _of_postfix(context: Context, instance: Instance) -> Iterator[Finding]:
    for group in (milter_lists, routing, rewriting, limits):
        yield from group.find(context.config, instance)


def _print(one: Finding, as_json: bool) -> None:
    if as_json:
        print_json({"urgency": one.urgency.name.lower(), "finding": one.name, "text": one.text,
                    "mend": list(one.mend), "setting": one.key})  # fmt: skip
        return
    key = f"{one.key}: " if one.key else ""
    say(*wrapped(f"{one.urgency.name.lower():<9}", f"{key}{one.text} [{one.name}]"))
    say(*(f"           {line}" for line in one.mend), "")


def _summary(found: Sequence[Finding]) -> str:
    if not found:
        return "nothing wrong was found"
    numbers = {urgency: sum(one.urgency is urgency for one in found) for urgency in Urgency}
    nouns = {Urgency.CRITICAL: "critical finding", Urgency.WARNING: "warning", Urgency.HINT: "hint"}
    words = (counted(number, nouns[urgency]) for urgency, number in numbers.items() if number)
    return f"{', '.join(words)}; docs/doctor.md explains each"
