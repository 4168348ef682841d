"""Groups: what is recorded together comes to the same as what is recorded one by one, in far fewer statements."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, event, text

from lab.reports import failed
from lab.world import LIKE, World
from retour_bounces import Report
from retour_policy.maintenance.rebuild import differences
from retour_policy.messages.outgoing import OutgoingMessage, RecordedSend
from retour_policy.messages.returned import ReturnedMessage
from retour_policy.messages.router import Route
from retour_policy.store.sends import NewSend
from retour_policy.tokens.token import first_id

KINDS = ("autoreply", "complaint")
STREAMS = [{"name": "news"}, {"name": "invoices", "transactional": True}]
PEOPLE = [f"{name}@{side}.example" for name in ("ann", "bob", "eve") for side in ("one", "two")]
READS = (
    "SELECT text, key FROM address",
    "SELECT * FROM send",
    "SELECT send_id, text FROM send_recipient JOIN address ON id = address_id",
    "SELECT send_id, text, why FROM recipient_apart JOIN address ON id = address_id",
    "SELECT stream, side, bucket, sent, failed, late, refused, told FROM storm_counter",
    "SELECT state, text FROM address_state JOIN address ON id = address_id",
    "SELECT scope, cause, since, until, tries, note, text FROM suppression JOIN address ON id = address_id",
    "SELECT stream, side, opened, closed, sent, failed FROM storm",
    "SELECT stream, side, r.at, text FROM recent_failure r JOIN address ON id = address_id",
    "SELECT kind, channel, target FROM outbox",
    "SELECT send_id, digest FROM seen",
    "SELECT at, kind, text, send_id, stream, type, status, proof, detail FROM fact LEFT JOIN address a"
    " ON a.id = address_id",
)
MESSAGES = st.lists(
    st.tuples(
        st.lists(st.sampled_from(PEOPLE), min_size=1, max_size=3),
        st.sampled_from(["news", "invoices"]),
        st.sampled_from(["<1@x>", "<2@x>", None]),
    ),
    min_size=1,
    max_size=8,
)
REPORTS = st.lists(
    st.tuples(
        st.integers(0, 7),
        st.one_of(st.sampled_from(["gone", "full", "timeout", "blocked"]), st.sampled_from(["gone"])),
        st.sampled_from(["named", "conflict", "copied", "autoreply", "complaint", "again", "unread"]),
    ),
    min_size=1,
    max_size=8,
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), MESSAGES),
        st.tuples(st.just("bounce"), REPORTS),
        st.tuples(st.just("bounce"), REPORTS),
        st.tuples(st.just("wait"), st.sampled_from(["1h", "4d", "200d"])),
        st.tuples(st.just("suppress"), st.sampled_from(PEOPLE)),
    ),
    max_size=12,
)


@contextmanager
def statements(world: World) -> Iterator[list[str]]:
    """What the writer executes meanwhile."""
    found: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        found.append(statement)

    event.listen(world.store._writer, "before_cursor_execute", note)
    yield found
    event.remove(world.store._writer, "before_cursor_execute", note)


class Life:
    """Does the same in two worlds: in one of them each message has a transaction of its own."""

    def __init__(self, world: World, *, together: bool) -> None:
        self.world = world
        self.together = together
        self.sent: list[tuple[int, str]] = []
        self.outcomes: list[str] = []
        self._reports = 1
        self._drawn = 0

    def draw(self) -> int:
        """Ids that are the same in both worlds: one that is not used up by a try is not drawn."""
        self._drawn += 1
        return first_id(self.world.now) + self._drawn

    def each(self, work: Callable[[Connection, Sequence[Any]], Sequence[Any]], items: Sequence[Any]) -> list[Any]:
        """Do the items by one call, or by one call each."""
        if self.together:
            return list(self.world.write(lambda connection: work(connection, items)))
        return [self.world.write(lambda connection, one=one: work(connection, [one])[0]) for one in items]

    def _send(self, messages: Any) -> None:
        new = [
            OutgoingMessage(NewSend(stream, "app@example.com", tuple(to), message_id=name), {}, track=True, watch=True)
            for to, stream, name in messages
        ]
        done: list[RecordedSend] = self.each(self.world.outgoing.record_many, new)
        for one, message in zip(done, new, strict=True):
            kept = [to for to in message.new.recipients if to not in one.newly_suppressed]
            self.sent += [(one.send, kept[0])] if kept else []

    def _bounce(self, reports: Any) -> None:
        chosen = [(self.sent[-1 - n], like, how) for n, like, how in reports if n < len(self.sent)]
        returned = [self._returned(number, *one) for number, one in enumerate(chosen)]
        self.outcomes += self.each(self.world.recorder.record_many, returned)
        self._reports += len(returned)

    def _returned(self, number: int, sent: tuple[int, str], like: str, how: str) -> ReturnedMessage:
        send, to = sent
        serial = 0 if how == "again" else self._reports + number
        report: Report | None = Report(how, reason="abuse", recipient=to) if how in KINDS else None  # type: ignore[arg-type]
        if how not in (*KINDS, "unread"):
            type_, status, reason, blame = LIKE[like]
            named = {"conflict": f"new-{to}", "copied": "archive@three.example"}.get(how, to)
            said = {"status": status, "reason": reason, "blame": blame, "diagnostic": ""}
            report = Report("bounce", (failed(named, type_, **said),))
        fingerprint = b"%d" % serial
        return ReturnedMessage(self.world.now, Route("verp", None, send), "b-x@b", "", b"", fingerprint, report)

    def _wait(self, span: Any) -> None:
        self.world.wait(span)

    def _suppress(self, to: Any) -> None:
        self.world.suppress(to, "*", self.world.now + 1)

    def do(self, what: str, how: Any) -> None:
        """One step."""
        getattr(self, f"_{what}")(how)

    def rows(self) -> list[list[str]]:
        """All that the store says, but for the numbers that it gives."""
        with self.world.store.reading() as connection:
            return [sorted(map(repr, connection.execute(text(one)).all())) for one in READS]


@contextmanager
def world_of(folder: Any, *, together: bool) -> Iterator[Life]:
    """A world whose ids are drawn in order."""
    storm = {"least": 4, "all_of": 3, "repeats": 2, "repeats_over": "3d", "soft_repeats_over": "8d"}
    with World(folder, {"stream": STREAMS, "storm": storm}) as world:
        life = Life(world, together=together)
        object.__setattr__(world.outgoing, "draw", life.draw)
        yield life


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_a_group_comes_to_the_same_as_its_messages_one_by_one(tmp_path_factory: Any, steps: Any) -> None:
    """Row by row, whatever is among the group: trials, second tries, the same recipient again; rebuild agrees."""
    folder = tmp_path_factory.mktemp("w")
    with world_of(folder / "a", together=True) as group, world_of(folder / "b", together=False) as single:
        for step in steps:
            group.do(*step)
            single.do(*step)
            assert (group.sent, group.outcomes) == (single.sent, single.outcomes)
        assert group.rows() == single.rows()
        assert list(differences(group.world.store)) == []


def test_a_group_of_sends_takes_as_many_statements_as_one(world: World) -> None:
    """However many messages wait, each statement is executed once."""
    counts = []
    for size in (1, 10, 100):
        some = [NewSend("news", "a@b", (f"u{n}@s{n % 3}.example",), message_id=f"<{n}@x>") for n in range(size)]
        messages = [OutgoingMessage(one, {}, track=True, watch=True) for one in some]
        for _ in range(2):  # the first time the addresses are new
            world.wait("1h")
            with statements(world) as found:
                world.write(lambda connection, messages=messages: world.outgoing.record_many(connection, messages))
        counts.append(len(found))
    assert counts == [counts[0]] * 3 and counts[0] <= 14


def test_a_group_of_reports_takes_few_statements(world: World) -> None:
    """However many reports wait, each statement is executed once."""
    counts = []
    for size in (1, 10, 50):
        people = [f"p{n}.{size}@s{n}.example" for n in range(size)]
        sent = [world.send(to) for to in people]
        type_, status, reason, blame = LIKE["full"]
        said = {"status": status, "reason": reason, "blame": blame, "diagnostic": ""}
        returned = [
            ReturnedMessage(
                world.now,
                Route("verp", None, send),
                "b-x@b",
                "",
                b"",
                to.encode(),
                Report("bounce", (failed(to, type_, **said),)),
            )
            for send, to in zip(sent, people, strict=True)
        ]
        with statements(world) as found:
            world.write(lambda connection, returned=returned: world.recorder.record_many(connection, returned))
        counts.append(len(found))
    assert counts[2] <= counts[0] + 10 and counts[0] <= 24  # more where a storm opens
