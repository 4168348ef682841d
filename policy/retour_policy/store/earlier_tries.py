"""Earlier tries: sends that were put off, so that the client sent the same message again. They are no good sends.

A mail server behind us answered the client with 451, or Retour died between its commit and its answer: the earlier try
reached nobody that we know of.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, func, select

from retour_policy.clock import DAY
from retour_policy.store import schema
from retour_policy.store.addresses import MAX_PARAMETERS
from retour_policy.store.upsert import ignoring
from retour_policy.tokens.token import first_id, id_time

UNHEARD = "unheard"
"""Why a recipient stands apart: no report comes, or the message was put off."""
MAX_RETRY_MS = 5 * DAY  # for as long a client sends a message again that was put off (RFC 5321 section 4.5.4.1)
_send, _recipient = schema.send, schema.send_recipient
_EARLIER = (
    select(_recipient.c.send_id, _recipient.c.address_id, _send.c.message_id, _send.c.stream)
    .join(_send, _send.c.id == _recipient.c.send_id)
    .where(
        _recipient.c.address_id.in_(bindparam("to", expanding=True)),
        _recipient.c.send_id >= bindparam("since"),
        # Not by the index on Message-IDs: a list gives all its copies the same one.
        func.coalesce(_send.c.message_id, "").in_(bindparam("message_ids", expanding=True)),
    )
)
_DELETE_RECIPIENT = delete(_recipient).where(
    _recipient.c.send_id == bindparam("send"), _recipient.c.address_id == bindparam("of")
)


@dataclass(frozen=True, slots=True)
class Try:
    """A send that is being written, as far as it shows that it is another try."""

    number: int
    stream: str
    message_id: str | None
    to: Collection[int]
    """The numbers of all addresses that the client named, withheld or not."""
    judged_after: int = MAX_RETRY_MS
    """When a send counts as good (milliseconds): an earlier one is not set apart any more then."""

    @property
    def since(self) -> int:
        """The first id that an earlier try can have."""
        return first_id(id_time(self.number) - min(MAX_RETRY_MS, self.judged_after))


_Same = tuple[str | None, str, int]  # Message-ID, stream, address


def repeated(tries: Sequence[Try]) -> dict[int, set[int]]:
    """Of tries that are written together, in order: by send, the addresses that a later one of them repeats. Pure."""
    later: dict[_Same, int] = {}
    found: dict[int, set[int]] = {}
    for one in reversed(tries):
        for same in _same(one):
            if same in later and later[same] <= one.number:
                found.setdefault(one.number, set()).add(same[-1])
        later |= _since([one], later)
    return found


def set_apart(connection: Connection, tries: Sequence[Try]) -> None:
    """Set apart what the store has of earlier tries of these, whose recipients are not in the store yet."""
    since = _since(tries)
    if not since:
        return
    names = {"message_ids": sorted({one[0] or "" for one in since}), "since": min(since.values())}
    numbers = sorted({one[-1] for one in since})
    for start in range(0, len(numbers), MAX_PARAMETERS):
        rows = connection.execute(_EARLIER, names | {"to": numbers[start : start + MAX_PARAMETERS]})
        _move(connection, sorted((send, to) for send, to, *same in rows if since.get((*same, to), send + 1) <= send))


def _move(connection: Connection, earlier: Sequence[tuple[int, int]]) -> None:
    if earlier:
        connection.execute(_DELETE_RECIPIENT, [{"send": send, "of": to} for send, to in earlier])
        rows = [{"send_id": send, "address_id": to, "why": UNHEARD} for send, to in earlier]
        connection.execute(ignoring(connection, schema.recipient_apart), rows)


def _since(tries: Iterable[Try], known: Mapping[_Same, int] | None = None) -> dict[_Same, int]:
    """From which send on another one with the same Message-ID, stream and address is an earlier try of these."""
    found = dict[_Same, int]()
    for one in tries:
        for same in _same(one):
            found[same] = min(one.since, found.get(same, one.since), (known or {}).get(same, one.since))
    return found


def _same(one: Try) -> Iterable[_Same]:
    return [(one.message_id, one.stream, to) for to in one.to] if one.message_id else []
