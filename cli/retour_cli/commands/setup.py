"""Setup: shows what to add to the Postfix that is there, and to the DNS; with --apply it writes that."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from retour_cli.answers import Answers, doubts, refuse_mailboxes
from retour_cli.aside import aside
from retour_cli.commands.init import Places, mailboxes_option, make
from retour_cli.context import Context, options
from retour_cli.doctor.processes import answers, sockets
from retour_cli.output import json_option, print_json, say, wrapped
from retour_cli.postfix import change
from retour_cli.postfix.instance import Instance
from retour_cli.postfix.postconf import PostfixError, Programs, read
from retour_cli.postfix.recipe import Edit, Plan, plan
from retour_cli.postfix.zone import records
from retour_policy.config.load import parse
from retour_policy.config.model import Config
from retour_policy.errors import InputError
from retour_policy.messages.signer import Signer

START = "systemctl enable --now retour"


@click.command()
@options
@click.option("--domain", help="The domain that returned mail comes to, where there is no configuration yet.")
@click.option("--sender", help="The sender of the first stream. [default: newsletter@ the domain above]")
@click.option("--postmaster", help="Who gets what could not be matched. [default: postmaster@ the domain above]")
@mailboxes_option
@click.option("--postfix", type=click.Path(path_type=Path), help="Postfix's folder. [default: that of postconf]")
@click.option("--apply", is_flag=True, help="Write it, after a backup; test it; have Postfix read it again.")
@click.option("--revert", is_flag=True, help="Take back what --apply has written.")
@json_option
def setup(
    context: Context,
    domain: str | None,
    sender: str | None,
    postmaster: str | None,
    mailboxes: bool | None,
    postfix: Path | None,
    apply: bool,
    revert: bool,
    as_json: bool,
) -> None:
    """Show which lines Postfix and the DNS need, with your own values.

    It looks at the Postfix that is there and adds to what it has. Nothing
    is changed without --apply. Where there is no configuration yet, it asks
    what `retour init` takes as options.
    """
    programs = Programs(postfix)
    if revert:
        _revert(programs, as_json)
        return
    instance = read(programs)
    new = None if context.path.exists() else _ask(instance, domain, sender, postmaster, mailboxes)
    if new is None and (domain or sender or postmaster):
        raise InputError(
            f"{context.path}: is there already; edit it, and leave --domain, --sender and --postmaster out"
        )
    places = Places.below(context.path.absolute().parent)
    text = new.configuration(places.marks) if new else ""
    config = parse(context.path, text) if new else context.config
    what = plan(config, instance)
    if as_json:
        _print_json(what, config, instance)
    else:
        _print(what, config, instance)
    _refuse(what)
    if apply:
        _apply(context, programs, instance, (places, text) if new else None, as_json)
    elif not as_json:
        say("", f"Nothing was changed. `{shlex.join(['retour', *sys.argv[1:], '--apply'])}` writes this.")


def _ask(
    instance: Instance, domain: str | None, sender: str | None, postmaster: str | None, mailboxes: bool | None
) -> Answers:
    """What was not given as an option, from the terminal. Raises `InputError` where nobody can be asked."""
    asked = domain is None and _somebody_is_there()
    if domain is None and not asked:
        raise InputError("there is no configuration yet: say --domain, such as --domain bounces.example.com")
    if asked:
        suggested = f"bounces.{instance.value('mydomain')}"
        domain = click.prompt("Domain that returned mail comes to, one that nothing else uses", default=suggested)
    first = Answers.of(domain or "", has_mailboxes=bool(mailboxes), postmaster=postmaster, sender=sender)
    why = [] if mailboxes is not None else list(doubts(first.domain, instance, sender))
    if why and asked:
        say(f"{first.domain} looks like a domain with mailboxes: {', '.join(why)}.")
        mailboxes = click.confirm("Has anybody a mailbox in it?", default=True)
    else:
        refuse_mailboxes(first.domain, why)
    if asked:
        sender = sender or click.prompt("Sender of the first stream", default=first.sender)
        postmaster = postmaster or click.prompt("Who gets what cannot be matched", default=first.postmaster)
    return Answers.of(first.domain, has_mailboxes=bool(mailboxes), postmaster=postmaster, sender=sender)


def _somebody_is_there() -> bool:
    return sys.stdin.isatty()


def _print(what: Plan, config: Config, instance: Instance) -> None:
    say(f"Postfix {instance.value('mail_version')} in {instance.config}")
    say("", "DNS, where the records of the domain are kept:")
    for record in records(config, instance):
        say(f"    {record}", *wrapped("      ", record.why))
    for file in ("main.cf", "master.cf"):
        edits = [edit for edit in what.edits if edit.file == file]
        if edits:
            say("", f"{instance.config / file}:")
        for edit in edits:
            say(*_lines(edit))
    if not what.edits:
        say("", "Postfix has all that it needs.")


def _lines(edit: Edit) -> list[str]:
    """What to write, what stood there before, and why; the first can be copied."""
    shown = edit.after if edit.kind == "service" else f"{edit.name} = {edit.after}"
    if edit.kind == "option":
        shown = f"# postconf -P '{edit.name}={edit.after}'"
    was = [f"      was: {edit.before}"] if edit.before else []
    return [f"    {shown}", *was, *wrapped("      ", edit.why)]


def _print_json(what: Plan, config: Config, instance: Instance) -> None:
    for record in records(config, instance):
        print_json({"dns": str(record), "why": record.why})
    for edit in what.edits:
        print_json({"file": edit.file} | asdict(edit))
    for text in what.obstacles:
        print_json({"obstacle": text})


def _refuse(what: Plan) -> None:
    if what.obstacles:
        raise InputError("\n".join(("Nothing was changed, because of this:", *what.obstacles)))


def _apply(
    context: Context, programs: Programs, instance: Instance, new: tuple[Places, str] | None, as_json: bool
) -> None:
    """The configuration first, then Postfix; and that only when Retour answers, or all mail would wait."""
    if not change.is_root():
        raise InputError("only root can change Postfix")
    if new:
        aside(lambda: make(*new))
    silent = [spec for spec, _ in sockets(context.config) if not answers(spec)]
    if silent:
        made = f"{context.path} is written.\n" if new else ""
        raise InputError(
            f"{made}Postfix was not changed: nobody answers at {', '.join(silent)}, and mail would wait.\n"
            f"Start Retour: {START}\nThen: retour setup --apply"
        )
    edits = plan(context.config, instance).edits
    genuine, forged = aside(lambda: _addresses(context))
    _test_lookup(programs, instance, context.config, genuine, forged)
    try:
        backup = change.apply(programs, instance, edits) if edits else None
        if change.is_running(programs):
            programs.run("postfix", "reload")
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}") from error
    _say_done(backup, as_json)


def _say_done(backup: Path | None, as_json: bool) -> None:
    if as_json:
        print_json({"applied": backup is not None, "backup": str(backup) if backup else None})
    elif backup:
        say("", f"Written, checked and reloaded. `retour setup --revert` takes it back (from {backup}).")
        say("`retour doctor` looks at the whole; `retour doctor --live ADDRESS` tries it with a message.")
    else:
        say("", "Nothing to write.")


def _revert(programs: Programs, as_json: bool) -> None:
    if not change.is_root():
        raise InputError("only root can change Postfix")
    config = read(programs).config
    try:
        left = change.revert(programs, config)
        if change.is_running(programs):
            programs.run("postfix", "reload")
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}") from error
    if as_json:
        print_json({"reverted": True, "changed since": left})
        return
    say(*left)
    say(f"{config}: as it was before `retour setup --apply`; Retour itself is as it was.")


def _addresses(context: Context) -> Sequence[str]:
    """As the services' user: a VERP address that is genuine, and one that is not; "" where no stream has a pattern."""
    context.become_services_user()
    signer = Signer(context.ring, context.clock)
    stream = next((stream for stream in context.config.stream if stream.pattern), None)
    if stream is None or stream.pattern is None:
        return ("", "")
    genuine = signer.envelope_sender(stream, signer.draw()) or ""
    end = len(stream.pattern.prefix) + 29
    return genuine, genuine[:end] + ("a" if genuine[end] != "a" else "b") + genuine[end + 1 :]


def _test_lookup(programs: Programs, instance: Instance, config: Config, genuine: str, forged: str) -> None:
    """Ask Retour as Postfix will. Raises `PostfixError`."""
    kind, _, rest = config.lmtpd.lookup.partition(":")
    port, _, host = rest.partition("@")
    table = f"socketmap:unix:{rest}:bounce" if kind == "unix" else f"socketmap:inet:{host}:{port}:bounce"
    if not genuine or kind == "fd":
        return  # systemd's own socket is where a unit says
    if programs.lookup(table, genuine, instance.queue) is None:
        raise PostfixError(
            f"Postfix was not changed: Retour's lookup does not know its own address {genuine} ({table}). Have the "
            "services read the configuration again: systemctl reload retour"
        )
    if programs.lookup(table, forged, instance.queue) is not None:
        raise PostfixError(f"Postfix was not changed: Retour's lookup takes the forged address {forged} ({table})")
