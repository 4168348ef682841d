"""Check: shows in plain words what a configuration means, and warns of what does harm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from retour_bounces import Rules
from retour_cli.context import Context, options
from retour_cli.doctor import access
from retour_cli.doctor.finding import Finding, Urgency
from retour_cli.output import counted, json_option, print_json, say, wrapped
from retour_cli.render.feedback import feedback_warnings
from retour_cli.render.policy import hook_words, known_at_rcpt, policy_words, stream_words
from retour_cli.services.run_record import RunRecord, find_running
from retour_policy.clock import time_text
from retour_policy.config.model import Config, Stream
from retour_policy.config.secrets import load_secrets
from retour_policy.errors import ConfigError, Problem
from retour_policy.store import ahead
from retour_policy.store.ahead import AheadFigures
from retour_policy.tokens.verp import MAX_SRS_OCTETS, Pattern

user_option = click.option(
    "--user", help="As root: the user whom the services run as. [default: that of the units, else the database's owner]"
)

RELOAD = "systemctl reload retour (or SIGUSR1)"


@click.command()
@options
@user_option
@json_option
def check(context: Context, user: str | None, as_json: bool) -> None:
    """Check the configuration, the key ring and the database, and show what they mean.

    As root, it tries every file, folder and socket as the services' user.
    Exit status 78 if the services could not work with one, 75 if the
    database is down. `retour doctor` looks at the mail server too.
    """
    config = context.config
    context.become_services_user(user)
    files = access.find_files(context.path, config, ring_is_handed_over=context.ring_is_handed_over)
    denied = refuse_denied(context.path, files)
    _ = context.ring
    load_secrets(context.path, config)
    own_rules = len(context.rules.rules) - len(Rules.bundled().rules)
    figures = _count_ahead(context)
    denied += refuse_denied(context.path, access.find_sockets(config))
    running = find_running(context.path, config)
    outdated = [text for record in running for text in behind(record)]
    warned = [*denied, *warnings(config), *from_the_future(figures), *outdated]
    if as_json:
        print_json(_report(context, running, figures, warned))
        return
    _print_meaning(context, own_rules)
    for text in warned:
        say("", *wrapped("warning: ", text), err=True)


def _report(
    context: Context, running: Sequence[RunRecord], figures: AheadFigures, warned: Sequence[str]
) -> dict[str, Any]:
    config = context.config
    return {
        "config": str(context.path),
        "policy": policy_words(config),
        "streams": [_as_dict(config, s) for s in config.stream],
        "hooks": [{"name": hook.name} | hook_words(hook) for hook in config.hook],
        "ahead": asdict(figures),
        "running": [asdict(record) | {"changed": record.changed()} for record in running],
        "warnings": warned,
    }


def _print_meaning(context: Context, own_rules: int) -> None:
    """What is in force: files, policy, streams, hooks."""
    config, ring = context.config, context.ring.ring
    say(f"{context.path}: good")
    say(*wrapped("  database   ", context.store.name))
    say(*wrapped("  key ring   ", f"{config.tokens.keyring}: key {ring.signing()} signs, {len(ring.keys)} keys verify"))
    if config.lmtpd.rules:
        own = f"{config.lmtpd.rules}: {counted(own_rules, 'rule')}, tried before the built-in ones"
        say(*wrapped("  rules      ", own))
    for number, sentence in enumerate(policy_words(config)):
        say(*wrapped("  policy     " if number == 0 else "             ", sentence))
    for stream in config.stream:
        say("", f"stream {stream.name}")
        for label, text in stream_words(config, stream).items():
            say(*wrapped(f"  {label:<10} ", text))
    if not config.stream:
        say("", "no stream: all mail passes untouched")
    for hook in config.hook:
        say("", f"hook {hook.name}")
        for label, text in hook_words(hook).items():
            say(*wrapped(f"  {label:<10} ", text))


def _count_ahead(context: Context) -> AheadFigures:
    with context.store.reading() as connection:
        figures = ahead.count(connection, context.clock())
    context.store.close()
    return figures


def warnings(config: Config) -> list[str]:
    """Settings that are allowed but do harm."""
    found = []
    for stream in config.stream:
        if stream.pattern and stream.pattern.length() > MAX_SRS_OCTETS:
            over = stream.pattern.length() - MAX_SRS_OCTETS
            found.append(
                f"stream {stream.name}: {stream.envelope_from} has {stream.pattern.length()} octets with its token; "
                f"forwarders that rewrite senders (SRS) cut above {MAX_SRS_OCTETS}, "
                f"and bounces from behind them are lost: {_shorter(stream.pattern, over)}"
            )
        found += [f"stream {stream.name}: {text}" for text in _harm(stream)]
        if not known_at_rcpt(config, stream) and not stream.match.header and stream.suppressed == "refuse":
            found.append(f"stream {stream.name}: a stream above it needs a header field, so it cannot refuse at RCPT")
    found += feedback_warnings(config)
    for name, relay in config.relay.items():
        if relay.user and relay.tls == "none" and not relay.host.startswith("127."):
            found.append(f'relay {name}: the password goes over the network for all to read; tls = "starttls" hides it')
    if config.lmtpd.postmaster == "postmaster":
        found.append("lmtpd.postmaster is not set: unmatched mail goes to the relay's own postmaster")
    return found


def _shorter(pattern: Pattern, over: int) -> str:
    """How to save `over` octets: never by a domain that has mailboxes."""
    if over <= len(pattern.prefix + pattern.suffix) - 1:
        return f"shorten it by {over}, such as {pattern.prefix[:1]}%@{pattern.domain}"
    return f"shorten it by {over}, such as b%@b.{pattern.domain.partition('.')[2]}, a subdomain that nothing else uses"


def from_the_future(figures: AheadFigures) -> list[str]:
    """What a clock that was ahead has left in the database."""
    nouns = {"facts": "fact", "sends": "send", "storms": "storm", "items": "outbox item"}
    found = [counted(number, nouns[name]) for name, number in asdict(figures).items() if number]
    if not found:
        return []
    return [f"dated in the future: {', '.join(found)}; a clock was ahead (docs/keeping.md, A clock that was ahead)"]


def behind(record: RunRecord) -> list[str]:
    """What a running service does not know yet, and how it comes to know it."""
    service = f"{record.service} (process {record.pid})"
    changed = record.changed()
    found = []
    if changed and record.refused:
        found.append(f"{service} was asked to read the configuration again and refused it: {record.refused}")
    if changed:
        found.append(
            f"{service} runs with an older {' and '.join(changed)}, which it read {time_text(record.read_at)} UTC; "
            f"{RELOAD} has it read again"
        )
    elif record.until_restart:
        keys = ", ".join(record.until_restart)
        found.append(f"{service} takes {keys} only when it starts again: systemctl restart retour-{record.service}")
    return found


def _harm(stream: Stream) -> Iterator[str]:
    """What a stream loses by settings that look harmless."""
    if not stream.hears_reports:
        where = "the address in From" if stream.envelope_from == "header-from" else "the sender that the client gave"
        yield (
            f"what comes back goes to {where}, so Retour hears of no bounce; give it an envelope_from in a bounce "
            "domain, or name in hears_copies where copies of the reports come"
        )
    if stream.multi_recipient == "refuse":
        yield (
            'multi_recipient = "refuse" loses mail: no client that was tried sends the message again to those who '
            "heard 452; XVERP and the split hop give each recipient a sender of their own: docs/several-recipients.md"
        )


def refuse_denied(path: Path, findings: Sequence[Finding]) -> list[str]:
    """What harms, but lets the services start. Raises `ConfigError` with all that keeps them from working."""
    problems = [Problem(str(path), one.key, _sentence(one)) for one in findings if one.urgency is Urgency.CRITICAL]
    if problems:
        raise ConfigError(*problems)
    return [_sentence(one) for one in findings]


def _sentence(finding: Finding) -> str:
    return "; run: ".join((finding.text, *finding.mend))


def _as_dict(config: Config, stream: Stream) -> dict[str, Any]:
    return {
        "name": stream.name,
        "envelope_from": stream.envelope_from,
        "refuses_at_rcpt": stream.suppressed == "refuse" and known_at_rcpt(config, stream),
        "track": stream.track,
    }
