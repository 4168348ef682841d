"""Policies: the policy in force, and those that older facts were judged by."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import Connection, select

from retour_policy.config.model import Config
from retour_policy.core.decide import RuleSet
from retour_policy.core.fold import StreamPolicy
from retour_policy.core.presets import CAREFUL
from retour_policy.store import schema
from retour_policy.store.upsert import ignoring

_table = schema.policy


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
        """The policy that `to_dict` wrote; a number that it lacks is the careful one."""
        return cls(_ground(values["default"]), {name: _ground(one) for name, one in values["streams"].items()})

    def ground(self, stream: str | None) -> StreamPolicy:
        """What the facts of a stream are judged by."""
        return self.streams.get(stream or "", self.default)

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {"default": _values(self.default), "streams": {name: _values(one) for name, one in self.streams.items()}}

    def digest(self) -> bytes:
        """What tells it from another policy."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).digest()


def put_in_force(connection: Connection, policy: Policy, now: int) -> int:
    """The policy's number in the store; one that is new there gets a row."""
    digest = policy.digest()
    row = {"hash": digest, "at": now, "content": policy.to_dict()}
    connection.execute(ignoring(connection, _table), row)
    return int(connection.scalar(select(_table.c.id).where(_table.c.hash == digest)) or 0)


def all_policies(connection: Connection) -> dict[int, Policy]:
    """Every policy that a fact was ever judged by, by its number."""
    return {
        number: Policy.from_dict(content)
        for number, content in connection.execute(select(_table.c.id, _table.c.content))
    }


def _values(ground: StreamPolicy) -> dict[str, Any]:
    return asdict(ground.rules) | {"transactional": ground.transactional}


def _ground(values: dict[str, Any]) -> StreamPolicy:
    numbers = {name: values.get(name, getattr(CAREFUL, name)) for name in RuleSet.__slots__}
    return StreamPolicy(RuleSet(**numbers), values.get("transactional", False))
