"""Limits: sizes and times of Postfix that cost reports."""

from __future__ import annotations

import re
from collections.abc import Iterator

from retour_cli.doctor.finding import Finding, hint, warning
from retour_cli.postfix.instance import Instance
from retour_policy.clock import DAY, HOUR, MINUTE, SECOND
from retour_policy.config.model import Config

MIN_SIZE_OCTETS = 10_240_000  # Postfix's default
MIN_LIFETIME_MS = DAY
_UNITS = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY}


def time_ms(text: str, unit: str) -> int | None:
    """A time of main.cf in milliseconds; without a unit it has the setting's own."""
    found = re.fullmatch(r"(\d+)([smhdw]?)", text.strip())
    return int(found[1]) * _UNITS[found[2] or unit] if found else None


def queue_lifetime(instance: Instance) -> int | None:
    """For how many milliseconds Postfix tries to deliver."""
    return time_ms(instance.value("maximal_queue_lifetime"), "d")


def find(config: Config, instance: Instance) -> Iterator[Finding]:
    """What costs reports."""
    yield from _sizes(instance)
    yield from _lifetimes(config, instance)


def _sizes(instance: Instance) -> Iterator[Finding]:
    text = instance.value("message_size_limit")
    limit = int(text) if text.isdecimal() else 0
    if 0 < limit < MIN_SIZE_OCTETS:
        said = (
            f"message_size_limit is {limit}: a report that returns a whole message is larger than that message was, "
            "and is refused for good when it passes the limit"
        )
        yield hint("size-limit-tight", said, f"message_size_limit = {MIN_SIZE_OCTETS}")


def _lifetimes(config: Config, instance: Instance) -> Iterator[Finding]:
    bounce = time_ms(instance.value("bounce_queue_lifetime"), "d")
    if bounce is not None and bounce < MIN_LIFETIME_MS:
        text = (
            f"bounce_queue_lifetime is {instance.value('bounce_queue_lifetime')}: a report that Retour cannot take for "
            "that long is deleted without a word"
        )
        yield warning("reports-deleted-early", text, "bounce_queue_lifetime = 5d")
    tries = queue_lifetime(instance)
    if tries is not None and tries > config.spool.queue_lifetime and any(one.retry for one in config.stream):
        text = f"Postfix tries for {tries // DAY} days, and queue_lifetime says {config.spool.queue_lifetime // DAY}"
        yield warning("queue-lifetime-differs", text, f'queue_lifetime = "{tries // DAY}d"', key="spool.queue_lifetime")
    if tries is not None and tries > config.tokens.bounce_days * DAY:
        text = f"Postfix tries for {tries // DAY} days, and a token is believed for {config.tokens.bounce_days}"
        yield warning("tokens-too-short", text, f"bounce_days = {tries // DAY + 2}", key="tokens.bounce_days")
    delay = instance.value("delay_warning_time")
    if (time_ms(delay, "h") or 0) > 0:
        text = (
            f"delay_warning_time is {delay}: Postfix tells the sender that mail is late, and the sender is Retour now, "
            "which records it; nobody else hears of it"
        )
        yield hint("delays-go-to-retour", text, "delay_warning_time = 0h")
