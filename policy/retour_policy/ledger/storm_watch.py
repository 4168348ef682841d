"""Storm watch: the failures of a group, counted one after the other, with the counters read and written once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection

from retour_policy.core.storm import ALL_SIDES, Figures, bucket, looks_everywhere
from retour_policy.ledger.storms import Storms
from retour_policy.store import storms as table
from retour_policy.store.storms import Counted, Latest, Place

NOTHING = Figures(0, 0)


@dataclass
class StormWatch:
    """For failures of one `Storms.frame`: from one time to another, all sides' counters are summed alike."""

    storms: Storms
    connection: Connection
    frame: tuple[int, int]
    """From which five minutes on is counted, and before which time."""
    _latest: dict[Place, Latest] = field(default_factory=dict)
    _figures: dict[Place, Figures] = field(default_factory=dict)
    _pending: Counter[Counted] = field(default_factory=Counter)

    @classmethod
    def begin(
        cls, storms: Storms, connection: Connection, failures: Collection[tuple[str, str]], now: int
    ) -> StormWatch:
        """`failures` are streams and addresses that may be told of. Those of later calls must be among them."""
        watch = cls(storms, connection, storms.frame(now))
        places = {(stream, side) for stream, to in failures for side in (storms.sides.of(to), ALL_SIDES)}
        if places:
            watch._latest = table.read_latest(connection, places, now - storms.limits.window)
            watch._figures = dict.fromkeys(places, NOTHING)
            watch._figures |= table.read_all_figures(connection, places, *watch.frame)
            for place in places & watch._latest.keys():
                watch._restart(place)
        return watch

    def failure(self, stream: str, address: str, sent_at: int, now: int, *, counted: bool) -> int | None:
        """Count a failure that blames the recipient or the network; the storm that holds it, if one does.

        With `counted` a milder failure of the same send is counted already.
        """
        side, sent_at = self.storms.sides.of(address), min(sent_at, now)  # the clock may have been ahead when sent
        here, all_ = (stream, side), (stream, ALL_SIDES)
        own, everywhere = self._storm(here).open, self._storm(all_).open
        if not counted:
            for place in (here,) if own else (here, all_):
                self._count(place, sent_at, now)
        if counted or own or everywhere:
            return own or everywhere
        return self._opened(here, now) or self._opened_everywhere(all_, now)

    def flush(self) -> None:
        """Write what was counted."""
        if self._pending:
            rows = [replace(one, failed=one.failed * n, late=one.late * n) for one, n in self._pending.items()]
            table.count(self.connection, _sorted(rows))
            self._pending.clear()

    def _storm(self, place: Place) -> Latest:
        return self._latest.get(place, Latest())

    def _since(self, place: Place) -> int:
        """Failures held by the last storm must not open the next one."""
        return max(self.frame[0], bucket(self._storm(place).closed))

    def _restart(self, place: Place) -> None:
        """The figures of a place where a storm closed lately are of a time of its own."""
        if self._since(place) > self.frame[0]:
            self._figures[place] = table.read_figures(self.connection, *place, self._since(place), self.frame[1])

    def _count(self, place: Place, sent_at: int, now: int) -> None:
        is_late = now - sent_at >= self.storms.limits.window
        one = Counted(*place, bucket(now if is_late else sent_at), failed=int(not is_late), late=int(is_late))
        self._pending[one] += 1
        if self._since(place) <= one.bucket < self.frame[1]:
            was = self._figures[place]
            self._figures[place] = replace(was, failed=was.failed + one.failed, late=was.late + one.late)

    def _opened(self, place: Place, now: int) -> int | None:
        return self._note(place, self.storms.break_out(self.connection, *place, self._figures[place], now))

    def _opened_everywhere(self, place: Place, now: int) -> int | None:
        if not looks_everywhere(self._figures[place].failures, self.storms.limits):
            return None
        self.flush()
        figures = self._figures[place]
        return self._note(place, self.storms.break_out_everywhere(self.connection, place[0], figures, now))

    def _note(self, place: Place, storm: int | None) -> int | None:
        if storm is not None:
            self._latest[place] = replace(self._storm(place), open=storm)
        return storm


def _sorted(rows: list[Counted]) -> list[Counted]:
    """In the order in which all hosts write them."""
    return sorted(rows, key=lambda one: (one.stream, one.side, one.bucket))
