"""Policy versions: the policy in force, and those by which older facts were judged."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import Connection

from retour_policy.config.model import Config
from retour_policy.core.decide import RuleSet
from retour_policy.core.fold import StreamPolicy
from retour_policy.core.presets import CAREFUL
from retour_policy.store import policies

_BEFORE = {"trials": 0, "spare_for": 0}
"""What policies did before there were these numbers."""


@dataclass(frozen=True)
class Policy:
    """The whole policy of one configuration: the rules of each stream, and those of all others."""

    default: StreamPolicy
    streams: dict[str, StreamPolicy] = field(default_factory=dict)

    @classmethod
    def of(cls, config: Config) -> Policy:
        """The policy that a configuration states."""
        streams = {s.name: StreamPolicy(config.rules(s), s.transactional) for s in config.stream}
        return cls(StreamPolicy(config.rules(None)), streams)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Policy:
        """The policy that `to_dict` wrote; a number that is missing there is that of the careful preset."""
        return cls(
            _stream_policy(values["default"]), {name: _stream_policy(one) for name, one in values["streams"].items()}
        )

    def for_stream(self, stream: str | None) -> StreamPolicy:
        """What the facts of a stream are judged by."""
        return self.streams.get(stream or "", self.default)

    def to_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        return {"default": _values(self.default), "streams": {name: _values(one) for name, one in self.streams.items()}}

    def digest(self) -> bytes:
        """A hash that differs from that of any other policy."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).digest()


def put_in_force(connection: Connection, policy: Policy, now: int) -> int:
    """The policy's number in the store; one that is new there gets a row."""
    return policies.ensure(connection, policy.digest(), policy.to_dict(), now)


def all_policies(connection: Connection) -> dict[int, Policy]:
    """Every policy that a fact was ever judged by, by its number."""
    return {number: Policy.from_dict(content) for number, content in policies.read(connection).items()}


def _values(stream_policy: StreamPolicy) -> dict[str, Any]:
    return asdict(stream_policy.rules) | {"transactional": stream_policy.transactional}


def _stream_policy(values: dict[str, Any]) -> StreamPolicy:
    known = _BEFORE | values
    numbers = {name: known.get(name, getattr(CAREFUL, name)) for name in RuleSet.__slots__}
    return StreamPolicy(RuleSet(**numbers), values.get("transactional", False))
