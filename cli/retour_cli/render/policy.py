"""Policy: what a configuration means, in plain sentences."""

from __future__ import annotations

from retour_cli.output import counted
from retour_cli.render.feedback import feedback_words
from retour_policy.clock import DAY, HOUR, MINUTE, SECOND
from retour_policy.config.courier import HookSection
from retour_policy.config.model import Config, StormSection, Stream
from retour_policy.core.decide import RuleSet
from retour_policy.core.scope import scope_text


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
            found.append(f"{name.capitalize()}{days}{over}: suppressed {_lasts(lasts)}{_spares(rules)}.")
    if rules.autoreply:
        found.append(f"Auto-replies: {rules.autoreply}: suppressed {_lasts(rules.autoreply_for)}.")
    if rules.complaint:
        found.append(
            f"{counted(rules.complaint, 'complaint')}: suppressed for good, not for transactional streams."
            if rules.scope == "everywhere"
            else f"{counted(rules.complaint, 'complaint')}: suppressed for good in that stream."
        )
    if rules.unsubscribe:
        found.append(f"{counted(rules.unsubscribe, 'unsubscription')}: suppressed for good in that stream.")
    if rules.heal_sends:
        found.append(
            f"{counted(rules.heal_sends, 'send')} without a failure within {span_words(rules.heal_after)} "
            f"{'clears' if rules.heal_sends == 1 else 'clear'} the count."
        )
    found += _time_words(rules)
    found.append(
        "What blames the sender or the content never counts."
        if rules.heed_blame
        else "Every failure counts, no matter who is to blame."
    )
    if rules.count_unsigned:
        found.append("Reports without any proof count too: anybody who forges one can have an address suppressed.")
    return found


def _time_words(rules: RuleSet) -> list[str]:
    found = []
    if rules.forget_after:
        found.append(f"A failure older than {span_words(rules.forget_after)} no longer counts.")
    if rules.longest:
        longest = span_words(rules.longest)
        found.append(
            f"Each suppression lasts twice as long as the one before it, at most {longest}; then one send tries."
        )
    if rules.trials and rules.hard and rules.hard_for:
        found.append(f"After {counted(rules.trials, 'suppression')} whose trials failed a hard one is for good.")
    return found


def _not_transactional(rules: RuleSet) -> str:
    return ", not for transactional streams" if rules.heed_blame else ""


def _spares(rules: RuleSet) -> str:
    if not (rules.heed_blame and rules.spare_for and rules.heal_sends):
        return _not_transactional(rules)
    return f", not for transactional streams while less than {span_words(rules.spare_for)} passed without a good send"


def policy_words(config: Config) -> list[str]:
    """The policy of all streams without their own, in plain sentences."""
    rules = config.rules(None)
    plain = "Storms are not detected, because every failure counts, no matter who is to blame."
    storms = storm_sentence(config.storm) if rules.heed_blame else plain
    return [*policy_sentences(rules), *_copies_words(config), storms]


def _copies_words(config: Config) -> list[str]:
    """Whose failures say nothing about anybody."""
    names = " and ".join(config.policy.copies)
    return [f"Mail to {names} is a copy of other people's mail: when it fails, it counts for nobody."] if names else []


def storm_sentence(limits: StormSection) -> str:
    """When failures are held, in a plain sentence."""
    if not limits.least:
        return "Storms are not looked for (least = 0)."
    all_of = f", or {limits.all_of} and all of them" if limits.all_of else ""
    sides = f", or most of the mail at {limits.sides_share:.0%} of all sides" if limits.sides_share else ""
    return (
        f"Storms: when of the sends of {span_words(limits.window)} from one stream to one side at least {limits.least} "
        f"and {limits.share:.0%} fail{all_of}{sides}, these failures are held. They count when the address fails on "
        f"{limits.repeats} days over at least {span_words(limits.repeats_over)} (soft, network: "
        f"{span_words(limits.soft_repeats_over)}) with no good send between."
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
    return f"{counted(rules.hard, 'hard bounce')}: suppressed {where} {_lasts(rules.hard_for)}.{pause}"


def _lasts(length: int) -> str:
    return f"for {span_words(length)}" if length else "for good"


def span_words(length: int) -> str:
    """Milliseconds in the largest unit that divides them."""
    unit, name = next(
        u for u in ((DAY, "day"), (HOUR, "hour"), (MINUTE, "minute"), (SECOND, "second")) if not length % u[0]
    )
    return counted(length // unit, name)


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
    if stream.hears_copies:
        words["hears"] = f"copies of reports, at {stream.hears_copies}"
    words |= feedback_words(config, stream)
    if stream.retry:
        span, size = span_words(stream.retry.interval), stream.max_size // 1024
        words["resends"] = f"soft bounces up to {stream.retry.count} times, {span} apart, of messages up to {size}k"
    if not stream.track:
        words["records"] = "nothing (track = false): what comes back is counted for nobody"
    return words


def sender_words(stream: Stream) -> str:
    """What becomes of the envelope sender."""
    if stream.pattern:
        return f"{stream.envelope_from}, {stream.pattern.length()} octets with the token"
    return stream.envelope_from or "stays as it is"


def refusal_words(config: Config, stream: Stream) -> str:
    """When suppressed recipients are refused."""
    if stream.suppressed == "pass":
        return "nobody (suppressed = pass)"
    if stream.suppressed == "drop":
        return "nobody: suppressed recipients are taken off silently, and so is a message when nobody is left"
    if known_at_rcpt(config, stream):
        return "suppressed recipients, with 550 at RCPT"
    return "at the end of the message: a header decides; suppressed recipients are taken off, 550 when nobody is left"


def known_at_rcpt(config: Config, stream: Stream) -> bool:
    """Whether neither this stream nor one above it needs a header field."""
    above = config.stream[: config.stream.index(stream) + 1]
    return not any(one.match.header for one in above)
