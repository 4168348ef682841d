"""Configuration: settings that are each allowed, and cannot be meant. Pure."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator

from retour_cli.doctor.finding import Finding, warning
from retour_policy.address import domain_ascii, domain_of
from retour_policy.clock import DAY
from retour_policy.config.model import Config, Match, Stream, in_bounce_domain

MIN_PREFIX = {4: 8, 6: 16}
"""Networks that are shorter hold a large part of the world, by IP version."""
MADE_BY_OTHERS = frozenset(("received", "return-path", "dkim-signature", "authentication-results", "arc-seal",
                            "arc-message-signature", "arc-authentication-results", "delivered-to", "bcc"))  # fmt: skip
"""Fields that mail servers and signers write; stamped, they say something false, or break a signature."""
AUTHORS = frozenset(("from", "sender", "to", "cc", "date", "message-id", "subject", "mime-version", "content-type"))
"""Fields that are the author's: the same for each message of a stream they make no sense."""


def find(config: Config, queue_lifetime: int | None = None) -> Iterator[Finding]:
    """What cannot be meant. `queue_lifetime` is for how many milliseconds the mail server tries, if that is known."""
    for number, stream in enumerate(config.stream):
        key = f"stream[{stream.name}]"
        yield from _never_matches(config.stream[:number], stream, key)
        yield from _headers(stream, key)
        yield from _own_sender(config, stream, key)
        yield from _early_heal(config, stream, key, max(queue_lifetime or 0, config.spool.queue_lifetime))
    yield from _trusted(config)


def _never_matches(above: tuple[Stream, ...], stream: Stream, key: str) -> Iterator[Finding]:
    for other in above:
        if _takes_all_of(other.match, stream.match):
            text = f"stream {stream.name} never gets a message: stream {other.name} above it matches all of its mail"
            yield warning("stream-never-matches", text, f"put {stream.name} above {other.name}", key=f"{key}.match")
            return


def _takes_all_of(one: Match, other: Match) -> bool:
    """Whether all that `other` matches is matched by `one`: each key that it demands is demanded as narrowly there."""
    for name in ("sender", "login"):
        wide, narrow = getattr(one, name), getattr(other, name)
        if wide and not (narrow and all(any(_covers(w, n) for w in wide) for n in narrow)):
            return False
    if one.client and not (other.client and all(any(_inside(n, w) for w in one.client) for n in other.client)):
        return False
    fields = {name.lower(): values for name, values in other.header.items()}
    return all(
        fields.get(name.lower()) and all(any(_covers(w, n) for w in values) for n in fields[name.lower()])
        for name, values in one.header.items()
    )


def _covers(wide: str, narrow: str) -> bool:
    """A pattern without brackets, which alone fnmatch(3) would take for a set."""
    return "[" not in wide and fnmatch.fnmatchcase(narrow.lower(), wide.lower())


def _inside(narrow: object, wide: object) -> bool:
    return narrow.version == wide.version and narrow.subnet_of(wide)  # type: ignore[attr-defined,no-any-return]


def _headers(stream: Stream, key: str) -> Iterator[Finding]:
    for name, edit in (stream.headers or {}).items():
        sets = edit is not False and not (isinstance(edit, dict) and "default" in edit)
        if name.lower() in MADE_BY_OTHERS and edit is not False:
            text = f"stream {stream.name} stamps {name}, which mail servers and signers write themselves"
            yield warning("header-of-others", text, f"take {name} out of headers", key=f"{key}.headers")
        elif name.lower() in AUTHORS and sets:
            text = f"stream {stream.name} gives all of its mail the same {name}, whatever its author wrote"
            mend = f'headers = {{ {name} = {{ default = "..." }} }}'
            yield warning("header-of-authors", text, mend, key=f"{key}.headers")


def _own_sender(config: Config, stream: Stream, key: str) -> Iterator[Finding]:
    """What a bounce domain sends is taken for mail that goes round."""
    for sender in stream.match.sender:
        if in_bounce_domain(config, sender) or domain_ascii(domain_of(sender)) in config.bounce_domains:
            text = (
                f"stream {stream.name} is for mail from {sender}, an address in a bounce domain: answers to it would "
                "be taken for returned mail"
            )
            yield warning("sender-in-bounce-domain", text, key=f"{key}.match.sender")


def _early_heal(config: Config, stream: Stream, key: str, lifetime: int) -> Iterator[Finding]:
    """A message that is still in the queue is not delivered yet."""
    rules = config.rules(stream)
    if rules.heal_sends and rules.heal_after <= lifetime:
        days = -(-lifetime // DAY) + 1
        text = (
            f"stream {stream.name} takes a send for good after {rules.heal_after // DAY} days, and the mail server "
            f"tries for {lifetime // DAY}: mail that fails at the end counts as arrived until then"
        )
        yield warning("heal-too-early", text, f'heal_after = "{days}d"', key=f"{key}.policy.heal_after")


def _trusted(config: Config) -> Iterator[Finding]:
    for network in config.milter.trusted:
        if network.prefixlen < MIN_PREFIX[network.version]:
            text = f"trusted has {network}: mail from anybody in it is stamped with your senders, and counted as yours"
            mend = 'trusted = ["127.0.0.0/8", "::1"]'
            yield warning("trusts-the-world", text, mend, key="milter.trusted")
