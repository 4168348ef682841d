"""Rebuild: computes all states again from the facts, and corrects what differs."""

from __future__ import annotations

import click

from retour_cli.context import Context, options
from retour_cli.output import counted, json_option, print_json, say, wrapped
from retour_cli.render.changes import ChangeList, progress
from retour_policy.core.fold import Account
from retour_policy.core.scope import scope_text
from retour_policy.errors import EX_FAILED
from retour_policy.ledger.policy_versions import put_in_force
from retour_policy.maintenance.rebuild import Difference, correct, differences
from retour_policy.maintenance.simulate import apply, rejudge


@click.command()
@options
@click.option("--check", "--dry-run", "only_check", is_flag=True, help="Show what differs, and change nothing.")
@click.option(
    "--under",
    type=click.Choice(["recorded", "current"]),
    default="recorded",
    show_default=True,
    help="Judge each fact by the policy that was in force then, or all by the current one.",
)
@click.option("--limit", type=click.IntRange(0), default=40, show_default=True, help="With current: how many to list.")
@json_option
def rebuild(context: Context, only_check: bool, under: str, limit: int, as_json: bool) -> None:
    """Compute the state of every address again from its facts, and correct what differs.

    On a healthy store nothing does. Exit status 1 if something did.

    With --under current all facts are judged anew by the policy that the
    configuration states, for good, and who is treated otherwise now is
    listed, as `retour simulate` does. Facts of storms stay as they were
    recorded, and hooks are told nothing.
    """
    if under == "current":
        _under_current(context, limit, only_check=only_check, as_json=as_json)
        return
    found = 0
    with progress(context.store, "rebuilding", as_json=as_json) as reached:
        for one in differences(context.store, reached):
            found += 1
            _say(one, only_check=only_check, as_json=as_json)
            if not only_check:
                correct(context.store, one)
    if not as_json:
        click.echo(f"{counted(found, 'address')} differed from the facts" if found else "no difference")
    if found:
        raise SystemExit(EX_FAILED)


def _under_current(context: Context, limit: int, *, only_check: bool, as_json: bool) -> None:
    """Have the current policy judge everything; or only show what that would change."""
    policy, now = context.policy, context.clock()
    number = None if only_check else context.write(lambda connection: put_in_force(connection, policy, now))
    shown = ChangeList(context.config, now, limit, as_json=as_json)
    with progress(context.store, "rebuilding", as_json=as_json) as reached:
        for chunk in rejudge(context.store, policy, number, reached):
            shown.add(chunk)
            if number is not None:
                apply(context.store, chunk, number)
    shown.end("nobody is treated otherwise")
    if not as_json:
        click.echo("nothing was changed" if only_check else "all facts are judged by the current policy")


def _say(one: Difference, *, only_check: bool, as_json: bool) -> None:
    if as_json:
        print_json({"address": one.text, "corrected": not only_check})
        return
    what = "differs" if only_check else "corrected"
    say(f"{one.text or '(erased)'}: {what}", *wrapped("  stored    ", _words(one.stored)))
    say(*wrapped("  by facts  ", _words(one.right)))


def _words(account: Account) -> str:
    """What was counted, and what suppresses, in one line."""
    if account.state.last < 0:
        return "cannot be read"
    counts = [f"{name} {n}" for count in account.state.counts.values() for name, n in sorted(count.totals.items())]
    stopped = [f"{scope_text(one.scope)}: {one.words()}" for one in account.suppressions.values()]
    return "; ".join([", ".join(counts) or "nothing counted", *(stopped or ["not suppressed"])])
