"""Recording during an erasure on another host: what was read before the address was locked is out of date by then."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from retour_policy.config.model import Stream
from retour_policy.core.fold import Account
from retour_policy.erasure.erase import erase
from retour_policy.ledger import accounts
from retour_policy.messages import judge, returned
from retour_policy.messages.router import Route
from retour_policy.outbox.resends import Resends
from retour_policy.store.addresses import Address

A = "anna@example.net"


@pytest.mark.parametrize("type_", ["hard", "soft", None])
def test_who_was_erased_while_the_lock_was_awaited_is_not_named(
    book: Any, make_part: Any, make_bounce: Any, monkeypatch: pytest.MonkeyPatch, type_: str | None
) -> None:
    """What was read of them before is not written again: neither by a report nor by a resend nor as a raw head."""
    send = book.send(A, message_id=f"<1.{A}>", tag=f"order of {A}", spool="2027-01-15-a.gz")
    report = make_bounce(make_part(A, type_, diagnostic=f"<{A}> is gone")) if type_ else None
    stream = Stream(name="news", retry={"interval": "4h", "count": 2})
    recorder = replace(book.recorder, resends=Resends({"news": stream}, lambda: next(book._drawn)))

    def lock_late(connection: Any, address: Address) -> Account:
        with monkeypatch.context() as patch:
            patch.setattr(returned, "lock", accounts.lock)
            erase(connection, address)  # as another host's transaction did, which held the lock until now
        return accounts.lock(connection, address)

    monkeypatch.setattr(returned, "lock", lock_late)
    monkeypatch.setattr(
        judge, "lock_all", lambda connection, some: {one.id: lock_late(connection, one) for one in some}
    )
    with book.store.writing() as connection:
        recorder.record(connection, book.arrival(Route("verp", "news", send), report, raw=b"raw"))
    with book.store.reading() as connection:
        rows = [connection.execute(text(f"SELECT * FROM {name}")).all() for name in ("fact", "send")]
        heads = connection.scalar(text("SELECT count(*) FROM unread"))
    assert [len(of) for of in rows] == [1, 1] and heads == 0
    assert A not in str(rows) and ".gz" not in str(rows)
