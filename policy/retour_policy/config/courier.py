"""Courier: the parts of the configuration that are about what leaves the host: hooks, relays, resends, the spool."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, StrictInt, StrictStr

from retour_policy.clock import DAY, HOUR, MINUTE, SECOND
from retour_policy.config.base import Section
from retour_policy.config.values import Duration, Name, NotEmpty, Span, Texts, check_absolute
from retour_policy.core.hook_events import EVENTS, GROUPS
from retour_policy.core.hook_formats import Format

File = Annotated[Path, AfterValidator(check_absolute)]
Connections = Annotated[StrictInt, Field(ge=1, le=1000)]


def _event(value: object) -> object:
    if isinstance(value, str) and (value in EVENTS or value in GROUPS):
        return value
    raise ValueError(f"is not an event; use one of {', '.join((*GROUPS, *EVENTS))}")


def _url(value: object) -> object:
    try:
        parts = urlsplit(value) if isinstance(value, str) else None
        if parts and parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            if parts.username is None and not parts.fragment:
                return value
            raise ValueError("contains a user, a password or a #fragment; leave that out, because the secret signs")
    except ValueError as error:
        raise ValueError(f'cannot be used: {error}; for example "https://app.example.com/retour"') from None
    raise ValueError('is not a URL; for example "https://app.example.com/retour"')


class HookSection(Section):
    """Which events are told, and how: one of `webhook` and `command`."""

    name: Name
    on: tuple[Annotated[str, BeforeValidator(_event)], ...] = Field(min_length=1)
    streams: Texts = NotEmpty
    webhook: Annotated[str | None, BeforeValidator(_url)] = None
    format: Format = "retour"
    secret_file: File | None = None
    user: StrictStr | None = None
    password_file: File | None = None
    allow_http: StrictBool = False
    allow_private: Texts = NotEmpty
    command: Texts = NotEmpty
    timeout: Span = 15 * SECOND
    connections: Connections = 8

    @property
    def channel(self) -> str:
        """Its channel of the outbox."""
        return f"hook:{self.name}"

    @property
    def events(self) -> tuple[str, ...]:
        """The events that `on` names, groups resolved."""
        return tuple(event for one in self.on for event in GROUPS.get(one, (one,)))


class Batch(Section):
    """A pause after each `size` messages."""

    size: Annotated[StrictInt, Field(ge=1, le=1_000_000)]
    pause: Duration


class RelaySection(Section):
    """A mail server that accepts what Retour itself sends."""

    host: StrictStr = "127.0.0.1"
    port: Annotated[StrictInt, Field(ge=1, le=65_535)] = 25
    user: StrictStr | None = None
    password_file: File | None = None
    tls: Literal["none", "starttls", "tls"] = "none"
    batch: Batch | None = None
    connections: Connections = 2
    timeout: Span = MINUTE


class Retry(Section):
    """When and how often a message that bounced softly is sent again."""

    interval: Duration
    count: Annotated[StrictInt, Field(ge=1, le=20)]


class ForwardSection(Section):
    """How many messages postmaster gets one by one; what exceeds that in a window goes into a digest."""

    most: Annotated[StrictInt, Field(ge=1, le=1_000_000)] = 60
    per: Span = HOUR
    relay: StrictStr = "default"


class SpoolSection(Section):
    """Where copies of messages that may be sent again are kept, and how long bounces of them can take."""

    dir: File = Path("/var/lib/retour/spool")
    queue_lifetime: Duration = 5 * DAY


class CourierSection(Section):
    """How long an item is leased to one courier, and how often and how long it is tried."""

    lease: Span = MINUTE
    first_pause: Span = 10 * SECOND
    longest_pause: Span = 6 * HOUR
    keep_dead: Span = 30 * DAY
    drain: Duration = 30 * SECOND
