"""Check: says in plain words what a configuration means, and warns of what will hurt."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from retour_bounces import Rules
from retour_cli.context import Context, options
from retour_cli.output import counted, json_option, print_json, say, wrapped
from retour_policy.clock import DAY, HOUR, MINUTE, SECOND
from retour_policy.config.courier import HookSection
from retour_policy.config.model import Config, StormSection, Stream
from retour_policy.config.secrets import load_secrets
from retour_policy.core.decide import RuleSet
from retour_policy.core.scope import scope_text
from retour_policy.tokens.verp import SRS_LIMIT


@click.command()
@options
@json_option
def check(context: Context, as_json: bool) -> None:
    """Check the configuration, the key ring and the database, and say what they mean.

    Exit status 78 where a file is wrong, 75 where the database is down.
    """
    config = context.config
    ring = context.ring.ring
    load_secrets(context.path, config)
    own_rules = len(context.rules.rules) - len(Rules.bundled().rules)
    context.store.close()
    warned = [*warnings(config), *unreadable(context.path, config)]
    if as_json:
        print_json(
            {
                "config": str(context.path),
                "policy": _policy(config),
                "streams": [_as_dict(config, s) for s in config.stream],
                "hooks": [{"name": hook.name} | hook_words(hook) for hook in config.hook],
                "warnings": warned,
            }
        )
        return
    say(f"{context.path}: good")
    say(*wrapped("  database   ", context.store.name))
    say(*wrapped("  key ring   ", f"{config.tokens.keyring}: key {ring.signing()} signs, {len(ring.keys)} keys verify"))
    if config.lmtpd.rules:
        say(*wrapped("  rules      ", f"{config.lmtpd.rules}: {counted(own_rules, 'rule')}, asked before ours"))
    for number, sentence in enumerate(_policy(config)):
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
    for text in warned:
        say("", *wrapped("warning: ", text), err=True)


def hook_words(hook: HookSection) -> dict[str, str]:
    """What a hook does, by label."""
    target = f"posts to {hook.webhook}, signed" if hook.webhook else f"runs {' '.join(hook.command)}"
    of = f" of {' and '.join(hook.streams)}" if hook.streams else ""
    return {"is told of": ", ".join(hook.on) + of, "target": target}


def policy_sentences(rules: RuleSet) -> list[str]:
    """The policy in plain sentences."""
    found = [_hard_words(rules)]
    for count, name, span, lasts in (
        (rules.soft, "soft bounces", rules.soft_span, rules.soft_for),
        (rules.network if rules.heed_blame else 0, "failures of the network", rules.network_span, rules.network_for),
    ):
        if count:
            days = f" on {count} days" if rules.distinct_days else f": {count}"
            over = f" over at least {span_words(span)}" if span else ""
            found.append(f"{name.capitalize()}{days}{over}: suppressed {_lasts(lasts)}{_not_transactional(rules)}.")
    if rules.autoreply:
        found.append(f"Auto-replies: {rules.autoreply}: suppressed {_lasts(rules.autoreply_for)}.")
    if rules.complaint:
        found.append(
            f"{_number(rules.complaint, 'complaint')}: suppressed for good, not for transactional streams."
            if rules.scope == "everywhere"
            else f"{_number(rules.complaint, 'complaint')}: suppressed for good in that stream."
        )
    if rules.unsubscribe:
        found.append(f"{_number(rules.unsubscribe, 'unsubscription')}: suppressed for good in that stream.")
    if rules.heal_sends:
        found.append(
            f"{rules.heal_sends} sends without a failure within {span_words(rules.heal_after)} clear the count."
        )
    found += _time_words(rules)
    found.append(
        "What blames the sender or the content never counts."
        if rules.heed_blame
        else "Every failure counts, whoever is to blame."
    )
    if rules.count_unsigned:
        found.append("Reports without any proof count too: whoever forges one can have an address suppressed.")
    return found


def _time_words(rules: RuleSet) -> list[str]:
    found = []
    if rules.forget_after:
        found.append(f"A failure older than {span_words(rules.forget_after)} counts no more.")
    if rules.longest:
        longest = span_words(rules.longest)
        found.append(
            f"Each suppression lasts twice as long as the one before it, at most {longest}; then one send tries."
        )
    return found


def _not_transactional(rules: RuleSet) -> str:
    return ", not for transactional streams" if rules.heed_blame and rules.scope == "everywhere" else ""


def _policy(config: Config) -> list[str]:
    rules = config.rules(None)
    plain = "Storms are not looked for, as every failure counts, whoever is to blame."
    return [*policy_sentences(rules), storm_sentence(config.storm) if rules.heed_blame else plain]


def storm_sentence(limits: StormSection) -> str:
    """When failures are held, in a plain sentence."""
    if not limits.least:
        return "Storms are not looked for (least = 0)."
    all_of = f", or {limits.all_of} and all of them" if limits.all_of else ""
    return (
        f"Storms: when of the sends of {span_words(limits.window)} from one stream to one side at least {limits.least} "
        f"and {limits.share:.0%} fail hard{all_of}, these failures are held, and count only for who fails again "
        f"{span_words(limits.settle_after)} to {span_words(limits.lapse_after)} after it is over."
    )


def _hard_words(rules: RuleSet) -> str:
    if not rules.hard:
        return "Hard bounces: never suppressed, only recorded."
    pause = (
        f" Before that each pauses the address for {span_words(rules.pause)}{_not_transactional(rules)}."
        if rules.pause and rules.hard > 1
        else ""
    )
    where = "everywhere" if rules.scope == "everywhere" else "in the stream that came back"
    return f"{_number(rules.hard, 'hard bounce')}: suppressed {where} {_lasts(rules.hard_for)}.{pause}"


def _number(count: int, name: str) -> str:
    return f"{count} {name}" + ("" if count == 1 else "s")


def _lasts(length: int) -> str:
    return f"for {span_words(length)}" if length else "for good"


def span_words(length: int) -> str:
    """Milliseconds in the largest unit that divides them."""
    unit, name = next(
        u for u in ((DAY, "day"), (HOUR, "hour"), (MINUTE, "minute"), (SECOND, "second")) if not length % u[0]
    )
    return f"{length // unit} {name}" + ("" if length == unit else "s")


def stream_words(config: Config, stream: Stream) -> dict[str, str]:
    """What a stream does, by label."""
    match = stream.match
    keys = [
        f"{name} {' or '.join(map(str, value))}"
        for name, value in (("sender", match.sender), ("login", match.login), ("client", match.client))
        if value
    ]
    keys += [f"header {name}: {' or '.join(value)}" for name, value in match.header.items()]
    words = {
        "mail from": ", and ".join(keys) or "everybody whom the milter serves",
        "sender": sender_words(stream),
        "refuses": refusal_words(config, stream),
    }
    own = [one for one in policy_sentences(config.rules(stream)) if one not in policy_sentences(config.rules(None))]
    if own:
        words["policy"] = " ".join(own)
    if scope_text(stream.name) != stream.name:
        words["scope"] = f"written {scope_text(stream.name)}: the word alone is a class of streams"
    if stream.retry:
        span, size = span_words(stream.retry.interval), stream.max_size // 1024
        words["resends"] = f"soft bounces up to {stream.retry.count} times, {span} apart, of messages up to {size}k"
    if not stream.track:
        words["records"] = "nothing (track = false): what comes back is counted for nobody"
    return words


def sender_words(stream: Stream) -> str:
    """How the envelope sender becomes."""
    if stream.pattern:
        return f"{stream.envelope_from}, {stream.pattern.length()} octets with the token"
    return stream.envelope_from or "stays as it is"


def refusal_words(config: Config, stream: Stream) -> str:
    """When suppressed recipients are refused."""
    if stream.suppressed == "pass":
        return "nobody (suppressed = pass)"
    if stream.suppressed == "drop":
        return "nobody: suppressed recipients are taken off silently"
    if known_at_rcpt(config, stream):
        return "suppressed recipients, with 550 at RCPT"
    return "at the end of the message: a header decides; suppressed recipients are taken off, 550 when nobody is left"


def known_at_rcpt(config: Config, stream: Stream) -> bool:
    """Whether neither this stream nor one above it needs a header field."""
    above = config.stream[: config.stream.index(stream) + 1]
    return not any(one.match.header for one in above)


def warnings(config: Config) -> list[str]:
    """What is allowed and will hurt."""
    found = []
    for stream in config.stream:
        if stream.pattern and stream.pattern.length() > SRS_LIMIT:
            over = stream.pattern.length() - SRS_LIMIT
            found.append(
                f"stream {stream.name}: {stream.envelope_from} has {stream.pattern.length()} octets with its token; "
                f"forwarders that rewrite senders (SRS) cut above {SRS_LIMIT}, and bounces from behind them are lost: "
                f"shorten it by {over} (b% is shorter than b-%), or use a shorter domain"
            )
        if not known_at_rcpt(config, stream) and not stream.match.header and stream.suppressed == "refuse":
            found.append(f"stream {stream.name}: a stream above it needs a header field, so it cannot refuse at RCPT")
    for name, relay in config.relay.items():
        if relay.user and relay.tls == "none" and not relay.host.startswith("127."):
            found.append(f'relay {name}: the password goes over the network for all to read; tls = "starttls" hides it')
    if config.lmtpd.postmaster == "postmaster":
        found.append("lmtpd.postmaster is not set: what nothing matches goes to the relay's own postmaster")
    return found


def unreadable(path: Path, config: Config) -> list[str]:
    """What the user whose the key ring is cannot read, though root, who checks, can: the daemons run as that user."""
    owner = config.tokens.keyring.stat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        return []
    found = [file for file in (path, config.lmtpd.rules) if file and not _may_read(owner, file)]
    return [f"{file}: cannot be read by the user who owns {config.tokens.keyring}" for file in found]


def _may_read(user: os.stat_result, file: Path) -> bool:
    """Tried as that user, with his own group and no other."""
    try:
        os.setegid(user.st_gid)
        os.seteuid(user.st_uid)
        with file.open("rb"):
            return True
    except OSError:
        return False
    finally:
        os.seteuid(0)
        os.setegid(0)


def _as_dict(config: Config, stream: Stream) -> dict[str, Any]:
    return {
        "name": stream.name,
        "envelope_from": stream.envelope_from,
        "refuses_at_rcpt": stream.suppressed == "refuse" and known_at_rcpt(config, stream),
        "track": stream.track,
    }
