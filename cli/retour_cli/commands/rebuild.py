"""Rebuild: computes all states again from the facts, and corrects what differs."""

from __future__ import annotations

import click

from retour_cli.context import Context, options
from retour_cli.output import counted, json_option, print_json, say, wrapped
from retour_policy.core.fold import Account
from retour_policy.core.scope import scope_text
from retour_policy.errors import EX_FAILED


@click.command()
@options
@click.option("--check", "only_check", is_flag=True, help="Show what differs, and change nothing.")
@json_option
def rebuild(context: Context, only_check: bool, as_json: bool) -> None:
    """Compute the state of every address again from its facts, and correct what differs.

    On a healthy store nothing does. Exit status 1 if something did.
    """
    from retour_policy.maintenance.rebuild import correct, differences

    found = 0
    for one in differences(context.store):
        found += 1
        if as_json:
            print_json({"address": one.text, "corrected": not only_check})
        else:
            what = "differs" if only_check else "corrected"
            say(f"{one.text or '(erased)'}: {what}", *wrapped("  stored    ", _words(one.stored)))
            say(*wrapped("  by facts  ", _words(one.right)))
        if not only_check:
            correct(context.store, one)
    if not as_json:
        click.echo(f"{counted(found, 'address')} differed from the facts" if found else "no difference")
    if found:
        raise SystemExit(EX_FAILED)


def _words(account: Account) -> str:
    """What was counted, and what suppresses, in one line."""
    if account.state.last < 0:
        return "cannot be read"
    counts = [f"{name} {n}" for count in account.state.counts.values() for name, n in sorted(count.totals.items())]
    stopped = [f"{scope_text(one.scope)}: {one.words()}" for one in account.suppressions.values()]
    return "; ".join([", ".join(counts) or "nothing counted", *(stopped or ["not suppressed"])])
