"""Model: what the postmaster's file says, as frozen values; `load` reads it."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
)

from retour_policy.address import domain_ascii, normalise
from retour_policy.clock import DAY, HOUR, MINUTE, SECOND
from retour_policy.config.base import Section
from retour_policy.config.courier import CourierSection, ForwardSection, HookSection, RelaySection, Retry, SpoolSection
from retour_policy.config.feedback import Existing, FeedbackId, ListId, UnsubscribeSection, WebSection
from retour_policy.config.values import (
    Address,
    Copies,
    Count,
    Duration,
    Name,
    Networks,
    NotEmpty,
    OptionalAddress,
    OptionalFile,
    OptionalText,
    OptionalUnixSocket,
    Size,
    Socket,
    Span,
    Texts,
    Threshold,
    Workers,
    check_absolute,
    check_envelope_from,
    check_headers,
    check_mode,
    check_stream_name,
    check_texts,
)
from retour_policy.core.decide import RuleSet
from retour_policy.core.presets import PRESETS, Preset
from retour_policy.tokens.verp import Pattern


class StoreSection(Section):
    """Where facts and decisions are kept."""

    url: StrictStr = "sqlite:////var/lib/retour/retour.db"


class TokensSection(Section):
    """How tokens are signed, and how long they live."""

    keyring: Annotated[Path, AfterValidator(check_absolute)] = Path("/etc/retour/keys.toml")
    bounce_days: Annotated[StrictInt, Field(ge=1, le=3650)] = 30


class SocketsSection(Section):
    """Who may use the unix sockets."""

    group: StrictStr = "postfix"
    mode: Annotated[str, BeforeValidator(check_mode)] = "0660"


class MilterSection(Section):
    """What the milter listens on, whom it serves, and what it does while the store is down."""

    socket: Socket = "unix:/var/spool/postfix/retour/milter.sock"
    stamper: OptionalUnixSocket = ""
    trusted: Networks = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1"))
    on_store_failure: Literal["tempfail", "pass"] = "tempfail"
    store_timeout: Span = 10 * SECOND
    drain: Duration = 30 * SECOND


class LmtpdSection(Section):
    """What the LMTP daemon listens on, and who gets unmatched mail."""

    listen: tuple[Socket, ...] = Field(default=("unix:/var/spool/postfix/retour/lmtp.sock",), min_length=1)
    lookup: Socket = "unix:/var/spool/postfix/retour/lookup.sock"
    allow: Networks = ()
    postmaster: Address = "postmaster"
    feedback: OptionalAddress = None
    authserv_id: OptionalText = None
    mailbox_domains: Texts = ()
    rules: OptionalFile = None
    workers: Workers = 1
    max_connections: Annotated[StrictInt, Field(ge=1, le=10_000)] = 200
    idle_timeout: Span = 5 * MINUTE
    data_timeout: Span = 10 * MINUTE
    store_timeout: Span = 60 * SECOND


class Match(Section):
    """Which mail a stream is for: every key given must match, any value of a key suffices."""

    sender: Texts = NotEmpty
    login: Texts = NotEmpty
    client: Networks = NotEmpty
    header: dict[StrictStr, Annotated[Texts, BeforeValidator(check_texts), Field(min_length=1)]] = Field(
        default_factory=dict
    )


class RulesSection(Section):
    """Numbers of a policy; for those not given the preset's apply. 0 (or "0s") as a threshold only records."""

    hard: Threshold | None = None
    pause: Duration | None = None
    hard_for: Duration | None = None
    soft: Threshold | None = None
    soft_span: Duration | None = None
    soft_for: Duration | None = None
    network: Threshold | None = None
    network_span: Duration | None = None
    network_for: Duration | None = None
    longest: Duration | None = None
    trials: Count | None = None
    spare_for: Duration | None = None
    autoreply: Count | None = None
    autoreply_for: Duration | None = None
    complaint: Count | None = None
    unsubscribe: Count | None = None
    heal_sends: Threshold | None = None
    heal_after: Duration | None = None
    forget_after: Duration | None = None
    heed_blame: StrictBool | None = None
    distinct_days: StrictBool | None = None
    count_unsigned: StrictBool | None = None
    scope: Literal["everywhere", "stream"] | None = None

    def over(self, rules: RuleSet) -> RuleSet:
        """`rules` with the numbers given here in place of theirs."""
        given = {name: getattr(self, name) for name in RuleSet.__slots__ if getattr(self, name) is not None}
        return replace(rules, **given)


class PolicySection(RulesSection):
    """When an address is paused or suppressed."""

    preset: Preset = "careful"
    copies: Copies = ()


class Stream(Section):
    """A named kind of outgoing mail."""

    name: Annotated[str, BeforeValidator(check_stream_name)]
    match: Match = Match()
    envelope_from: Annotated[str | None, BeforeValidator(check_envelope_from)] = None
    hears_copies: Address | None = None
    track: StrictBool = True
    transactional: StrictBool = False
    suppressed: Literal["refuse", "drop", "pass"] = "refuse"
    multi_recipient: Literal["shared", "refuse"] = "shared"
    headers: Annotated[dict[str, Any] | Literal[False], BeforeValidator(check_headers)] = Field(default_factory=dict)
    unsubscribe: UnsubscribeSection | None = None
    list_id: ListId = None
    feedback_id: FeedbackId = None
    cfbl: StrictBool = False
    existing: Existing = "keep"
    policy: RulesSection = RulesSection()
    relay: StrictStr = "default"
    retry: Retry | None = None
    max_size: Size = 256 * 1024

    @cached_property
    def pattern(self) -> Pattern | None:
        """The VERP pattern, or None for a static or unchanged sender."""
        return Pattern.parse(self.envelope_from) if self.envelope_from and "%" in self.envelope_from else None

    @cached_property
    def mailto_pattern(self) -> Pattern | None:
        """The pattern of the addresses to which its recipients write to unsubscribe, if there is one."""
        if self.unsubscribe is None or not self.unsubscribe.mailto:
            return None
        return self.unsubscribe.own_pattern or self.pattern

    @cached_property
    def static_sender(self) -> str | None:
        """The static envelope sender, if the stream has one."""
        return self.envelope_from if "@" in (self.envelope_from or "") and not self.pattern else None

    @property
    def fixed_addresses(self) -> tuple[str, ...]:
        """The addresses without a token that its reports come to."""
        return tuple(one for one in (self.static_sender, self.hears_copies) if one)

    @property
    def hears_reports(self) -> bool:
        """Whether what comes back of its mail comes to Retour at all."""
        return bool(self.pattern or self.fixed_addresses)


class StormSection(Section):
    """When a burst of bounces is a storm, at one receiving side or at all. `least = 0` switches it off."""

    window: Duration = 6 * HOUR
    least: Count = 20
    share: Annotated[StrictFloat, Field(gt=0, le=1)] = 0.2
    all_of: Count = 5
    sides_share: Annotated[StrictFloat, Field(ge=0, le=1)] = 0.5
    close_after: Duration = HOUR
    repeats: Threshold = 3
    repeats_over: Duration = 10 * DAY
    soft_repeats_over: Duration = 30 * DAY


class Config(Section):
    """The whole file."""

    log_addresses: StrictBool = True
    store: StoreSection = StoreSection()
    tokens: TokensSection = TokensSection()
    sockets: SocketsSection = SocketsSection()
    milter: MilterSection = MilterSection()
    lmtpd: LmtpdSection = LmtpdSection()
    stream: tuple[Stream, ...] = ()
    policy: PolicySection = PolicySection()
    storm: StormSection = StormSection()
    sides: dict[StrictStr, Texts] = Field(default_factory=dict)
    relay: dict[Name, RelaySection] = Field(default_factory=lambda: {"default": RelaySection()})
    hook: tuple[HookSection, ...] = ()
    forward: ForwardSection = ForwardSection()
    spool: SpoolSection = SpoolSection()
    courier: CourierSection = CourierSection()
    web: WebSection | None = None

    def rules(self, stream: Stream | None) -> RuleSet:
        """The rules of a stream, or (None) of all streams without numbers of their own."""
        general = self.policy.over(PRESETS[self.policy.preset])
        return stream.policy.over(general) if stream else general

    def stream_named(self, name: str) -> Stream | None:
        """The stream of that name."""
        return next((stream for stream in self.stream if stream.name == name), None)

    @cached_property
    def bounce_domains(self) -> frozenset[str]:
        """Domains all of whose mail comes to Retour: those of VERP patterns, except `mailbox_domains`."""
        return self.pattern_domains.difference(map(domain_ascii, self.lmtpd.mailbox_domains))

    @cached_property
    def pattern_domains(self) -> frozenset[str]:
        """Domains of VERP patterns, and of the patterns of addresses to which people write to unsubscribe."""
        return frozenset(pattern.domain for pattern in self.patterns)

    @cached_property
    def patterns(self) -> tuple[Pattern, ...]:
        """The patterns of all streams, each once."""
        found = (one for stream in self.stream for one in (stream.pattern, stream.mailto_pattern))
        return tuple(dict.fromkeys(one for one in found if one))

    @cached_property
    def static_senders(self) -> frozenset[str]:
        """Static envelope senders, and addresses that copies of reports come to, normalised."""
        return frozenset(normalise(one) for stream in self.stream for one in stream.fixed_addresses)


def in_bounce_domain(config: Config, address: str) -> bool:
    """Whether mail to `address` would come to Retour itself."""
    domain = domain_ascii(address.rpartition("@")[2])
    own = config.static_senders | {normalise(config.lmtpd.feedback or "")}
    return domain in config.bounce_domains or normalise(address) in own
