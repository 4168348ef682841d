"""Surplus: reports about one recipient of a send, beyond a number a day, which are counted in one fact.

Anybody who holds a token can write as many different reports as they like; they must not fill the store. What would
change anything is recorded whatever their number: see `ReturnRecorder`.
"""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection

from retour_policy.clock import DAY
from retour_policy.store import facts
from retour_policy.store.facts import NewFact

MAX_PEOPLE = 100  # of a send whose reports name nobody, who each may have as many
MAX_FACTS_A_DAY = 50  # (UTC) about one recipient of a send
KIND = "surplus"


def is_one(connection: Connection, new: NewFact, people: int = 1) -> bool:
    """Whether there are so many facts about the same send and recipient, of the day of `new` or later.

    What names no recipient may come from any of the `people` whom the message went to.
    """
    if new.send_id is None:
        return False
    room = MAX_FACTS_A_DAY * (max(1, min(people, MAX_PEOPLE)) if new.address_id is None else 1)
    return facts.count_of_send(connection, new.send_id, new.address_id, _day(new), room) >= room


def add(connection: Connection, new: NewFact) -> None:
    """Count `new`, without what it says, in the day's fact of that kind. No policy judges it: it changes no state."""
    counted = NewFact(_day(new), KIND, new.address_id, new.send_id, new.stream, detail={"count": 1})
    found = facts.find_of_send(connection, counted)
    if found is None:
        facts.write(connection, replace(counted, at=new.at))
    else:
        number, detail = found
        facts.write_detail(connection, number, detail | {"count": detail.get("count", 0) + 1})


def _day(new: NewFact) -> int:
    return new.at - new.at % DAY
