"""Redact: takes an address out of rows that are about others or about nobody."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection

from retour_policy.core.erased import kept_of_erased, notes_of
from retour_policy.core.fold import Account
from retour_policy.erasure.matcher import AddressMatcher
from retour_policy.ledger.accounts import lock, write
from retour_policy.store import addresses, mentions
from retour_policy.store.addresses import Address
from retour_policy.store.batches import in_batches
from retour_policy.store.database import Store
from retour_policy.store.mentions import SEND_HEADERS, SearchedRows, delete_forward, delete_unread

_NAMES = ("recipient", "original_recipient", "conflict")
"""The keys of a fact's detail that say whom the report is about."""


@dataclass(frozen=True)
class _RedactionTarget:
    """Rows of a table, how to find those that mention the address, and what to do with such a row."""

    rows: SearchedRows
    is_mentioned_in: Callable[[Any, AddressMatcher], bool]
    """Examines a row as it was read; no lock is held."""
    redact: Callable[[Connection, int, AddressMatcher], bool]
    """Reads the row with that key again, because it may have changed, and takes the address out of it."""

    def keys(self, store: Store, matcher: AddressMatcher) -> Iterator[list[int]]:
        """The keys of the rows that mention the address, in chunks."""
        return self.rows.iterate_keys(store, matcher.needles, lambda row: self.is_mentioned_in(row, matcher))


def redact_mentions(store: Store, matcher: AddressMatcher) -> Iterator[int]:
    """Take the address out of rows about others or about nobody; yields how many rows each transaction changed.

    Reads the whole store, a part at a time, and can be run again at any time. Only what mentions it is written.
    """
    for target in _TARGETS:
        for keys in target.keys(store, matcher):
            for _, changed in in_batches(store, keys, 1, _redacting(target, matcher)):
                yield changed


def _redacting(target: _RedactionTarget, matcher: AddressMatcher) -> Callable[[Connection, Sequence[int]], int]:
    def work(connection: Connection, keys: Sequence[int]) -> int:
        return sum(target.redact(connection, key, matcher) for key in keys)

    return work


def _in_fact(row: Any, matcher: AddressMatcher) -> bool:
    return bool(matcher.redact(row.detail) != row.detail)


def _redact_fact(connection: Connection, number: int, matcher: AddressMatcher) -> bool:
    row = mentions.find_fact(connection, number)
    if row is None or not _in_fact(row, matcher):
        return False
    detail = matcher.redact(row.detail)
    if any(matcher.matches(row.detail.get(name) or "") for name in _NAMES):  # the report's text is about them
        detail = kept_of_erased(row.detail)
    if row.address_id is not None and notes_of(detail) != notes_of(row.detail):
        _locked(connection, row.address_id)  # a fold in progress writes its old note before it is searched below
    mentions.write_fact(connection, number, detail)
    return True


def _locked(connection: Connection, number: int) -> tuple[Address, Account]:
    address = Address(number, addresses.find_key(connection, number))
    return address, lock(connection, address)


def _in_suppression(row: Any, matcher: AddressMatcher) -> bool:
    return matcher.matches(row.note)


def _redact_suppressions(connection: Connection, number: int, matcher: AddressMatcher) -> bool:
    """The notes of an address, reduced like the facts that they come from."""
    address, before = _locked(connection, number)
    after = {scope: replace(one, note=matcher.redact(one.note)) for scope, one in before.suppressions.items()}
    write(connection, address, before, replace(before, suppressions=after))
    return after != before.suppressions


def _in_send(row: Any, matcher: AddressMatcher) -> bool:
    return any(matcher.matches(getattr(row, name) or "") for name in ("sender", *SEND_HEADERS))


def _redact_send(connection: Connection, number: int, matcher: AddressMatcher) -> bool:
    row = mentions.find_send(connection, number)
    if row is None or not _in_send(row, matcher):
        return False
    erased = {name: None for name in SEND_HEADERS if matcher.matches(getattr(row, name) or "")}
    mentions.write_send(connection, number, erased | {"sender": matcher.redact(row.sender)})
    return True


def _redacted_event(body: bytes, matcher: AddressMatcher) -> bytes:
    """An event's JSON without the address; unchanged if it does not mention it."""
    if not matcher.may_match(body):
        return body
    text = body.decode("utf-8", "replace")
    try:
        event = json.loads(text)
    except (ValueError, RecursionError):
        return matcher.redact(text).encode() if matcher.matches(text) else body
    left = matcher.redact(event)
    return json.dumps(left, ensure_ascii=False).encode() if left != event else body


def _in_event(row: Any, matcher: AddressMatcher) -> bool:
    body = bytes(row.body)
    return _redacted_event(body, matcher) != body


def _redact_event(connection: Connection, number: int, matcher: AddressMatcher) -> bool:
    body = mentions.find_body(connection, number)
    left = _redacted_event(body, matcher)
    if left == body:
        return False
    mentions.write_body(connection, number, left)
    return True


def _in_forward(row: Any, matcher: AddressMatcher) -> bool:
    return matcher.matches_mail(bytes(row.body))


def _in_error(row: Any, matcher: AddressMatcher) -> bool:
    return matcher.matches(row.error)


def _redact_error(connection: Connection, number: int, matcher: AddressMatcher) -> bool:
    error = mentions.find_error(connection, number)
    if not matcher.matches(error):
        return False
    mentions.write_error(connection, number, matcher.redact(error))
    return True


def _in_unread(row: Any, matcher: AddressMatcher) -> bool:
    return matcher.matches_mail(bytes(row.head))


_TARGETS = (
    _RedactionTarget(mentions.FACTS, _in_fact, _redact_fact),
    _RedactionTarget(mentions.SUPPRESSIONS, _in_suppression, _redact_suppressions),
    _RedactionTarget(mentions.SENDS, _in_send, _redact_send),
    _RedactionTarget(mentions.EVENTS, _in_event, _redact_event),
    # Not decoded again while others wait: its body never changes, and no other item gets its number.
    _RedactionTarget(mentions.FORWARDS, _in_forward, lambda connection, id_, _: delete_forward(connection, id_)),
    _RedactionTarget(mentions.ERRORS, _in_error, _redact_error),
    _RedactionTarget(mentions.UNREAD, _in_unread, lambda connection, id_, _: delete_unread(connection, id_)),
)
