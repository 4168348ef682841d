"""Consistency: what in a configuration contradicts something else in it."""

from __future__ import annotations

from collections.abc import Iterator

from retour_policy.address import domain_ascii
from retour_policy.config.courier import HookSection
from retour_policy.config.feedback_consistency import feedback_contradictions
from retour_policy.config.model import Config, in_bounce_domain
from retour_policy.core.decide import RuleSet
from retour_policy.core.hook_formats import TAKES


def contradictions(config: Config) -> Iterator[tuple[str, str]]:
    """Values that are each allowed but contradict one another: key and text. No other file is read."""
    names = [stream.name for stream in config.stream]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"stream[{name}].name", "two streams have this name; each needs a name of its own"
    if in_bounce_domain(config, config.lmtpd.postmaster):
        text = "is in a bounce domain, so mail to it would come back to Retour; name a mailbox elsewhere"
        yield "lmtpd.postmaster", text
    for domain in config.lmtpd.mailbox_domains:
        if domain_ascii(domain) not in config.pattern_domains:
            text = f"{domain} is not the domain of any stream's pattern; name one that is, or leave it out"
            yield "lmtpd.mailbox_domains", text
    sockets = (*config.lmtpd.listen, config.lmtpd.lookup)
    if any(socket.startswith("inet:") for socket in sockets) and not config.lmtpd.allow:
        text = 'is missing, and a TCP listener needs it; name the mail server\'s network, such as ["192.0.2.1"]'
        yield "lmtpd.allow", text
    yield from _shared_sockets(config)
    yield from _short_windows("policy", config.rules(None))
    for stream in config.stream:
        yield from _short_windows(f"stream[{stream.name}].policy", config.rules(stream))
    yield from _sides_twice(config)
    if "default" not in config.relay:
        yield "relay.default", "is missing; streams without one of their own use it"
    yield from _outside(config)
    yield from feedback_contradictions(config)


def _short_windows(key: str, rules: RuleSet) -> Iterator[tuple[str, str]]:
    """Spans that are too short for what they must cover."""
    for name in ("pause", "soft_span", "network_span"):
        if rules.forget_after and rules.forget_after <= getattr(rules, name):
            yield f"{key}.forget_after", f"is not longer than {name}, so failures would expire before they are counted"
    if rules.hard_for and rules.hard_for < rules.pause:
        yield f"{key}.hard_for", "is shorter than pause; a suppression must not be shorter than a pause"


def _sides_twice(config: Config) -> Iterator[tuple[str, str]]:
    seen: dict[str, str] = {}
    for side, domains in config.sides.items():
        for domain in map(domain_ascii, domains):
            if domain in seen:
                yield f"sides.{side}", f"{domain} is in {seen[domain]} too; a domain can be in one side only"
            seen[domain] = side


def _shared_sockets(config: Config) -> Iterator[tuple[str, str]]:
    wanted = [("milter.socket", config.milter.socket), ("lmtpd.lookup", config.lmtpd.lookup)]
    wanted += [("milter.stamper", config.milter.stamper)] if config.milter.stamper else []
    wanted += [("lmtpd.listen", listen) for listen in config.lmtpd.listen]
    wanted += [("web.listen", listen) for listen in (config.web.listen if config.web else ())]
    seen: dict[str, str] = {}
    for key, socket in wanted:
        if socket in seen:
            yield key, f"{socket} is {seen[socket]} too; each needs a socket of its own"
        seen[socket] = key


def _outside(config: Config) -> Iterator[tuple[str, str]]:
    """The same for hooks, relays and resends, and what they refer to."""
    names = [hook.name for hook in config.hook]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"hook[{name}].name", "two hooks have this name; each needs a name of its own"
    for hook in config.hook:
        yield from _of_hook(config, hook)
    for relay_name, relay in config.relay.items():
        if relay.user is not None and relay.password_file is None:
            yield f"relay.{relay_name}.password_file", f"is missing; {relay.user} needs one to log in"
    yield from _of_streams(config)
    if config.forward.relay not in config.relay:
        yield "forward.relay", _no_relay(config, config.forward.relay)


def _of_hook(config: Config, hook: HookSection) -> Iterator[tuple[str, str]]:
    key = f"hook[{hook.name}]"
    if bool(hook.webhook) == bool(hook.command):
        what = "both webhook and command" if hook.webhook else "neither webhook nor command"
        yield key, f"has {what}; use one of them"
    if hook.webhook and hook.webhook.startswith("http:") and not hook.allow_http:
        text = "http sends addresses unencrypted; use https, or set allow_http = true"
        yield f"{key}.webhook", text
    if hook.webhook and hook.secret_file is None and hook.password_file is None:
        text = "is missing; to make one: (printf whsec_; openssl rand -base64 32) > FILE"
        yield f"{key}.secret_file", text
    if (hook.user is None) != (hook.password_file is None):
        missing = "user" if hook.user is None else "password_file"
        yield f"{key}.{missing}", "is missing; to log in, a webhook needs user and password_file"
    if hook.user is not None and not hook.webhook:
        yield f"{key}.user", "is for webhooks; a command needs none"
    yield from _of_format(key, hook)
    for name in hook.streams:
        if config.stream_named(name) is None:
            yield f"{key}.streams", f"there is no stream {name!r}"


def _of_format(key: str, hook: HookSection) -> Iterator[tuple[str, str]]:
    if hook.format == "retour":
        return
    if not hook.webhook:
        yield f"{key}.format", "is for webhooks; a command always gets Retour's own JSON"
    takes = TAKES[hook.format]
    if others := sorted({one for one in hook.events if one not in takes}):
        yield f"{key}.on", f"{hook.format} has no word for {', '.join(others)}; it takes {', '.join(takes)}"


def _of_streams(config: Config) -> Iterator[tuple[str, str]]:
    for stream in config.stream:
        if stream.relay not in config.relay:
            yield f"stream[{stream.name}].relay", _no_relay(config, stream.relay)
        if stream.retry and not stream.track:
            text = "needs track = true: what is not recorded cannot be sent again"
            yield f"stream[{stream.name}].retry", text
        if stream.retry and not stream.pattern and stream.headers is False:
            text = "needs a sender with %, or headers: without token and Retour-Ref a resend would look like new mail"
            yield f"stream[{stream.name}].retry", text


def _no_relay(config: Config, name: str) -> str:
    return f"there is no relay {name!r}; the relays are: {', '.join(config.relay)}"
