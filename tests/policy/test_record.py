"""Recording: each report once, for its recipient, counted by its proof, else forwarded to postmaster."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from lab.effort import growth
from lab.wait import PATIENCE
from retour_bounces import Original, RecipientReport, Report, read
from retour_policy.address import address_key
from retour_policy.clock import DAY
from retour_policy.config.model import PolicySection
from retour_policy.core.fold import Account
from retour_policy.core.suppression import Suppression
from retour_policy.ledger import accounts
from retour_policy.messages import matching
from retour_policy.messages.router import Route
from retour_policy.store.addresses import Address

A, B, C = "anna@example.net", "bert@example.net", "carl@example.net"
Part = Callable[..., RecipientReport]
Bounce = Callable[..., Report]


def test_three_hard_bounces_suppress_everywhere(book: Any, hard: Any) -> None:
    """Of three different sends; the suppression names reason, dates and the fact that triggered it."""
    for n in range(3):
        assert book.suppressed(A) is None
        assert book.back(book.send(A), hard(A)) == "recorded"
        assert book.counts(A) == (n + 1, 0, 0)
    found = book.suppressed(A, stream="another")
    assert (found.scope, found.cause, found.note) == ("*", "hard", "5.1.1 userunknown")
    assert (found.since, found.until) == (book.now, book.now + 180 * DAY)
    with book.store.reading() as connection:
        assert connection.scalar(text("SELECT fact_id FROM suppression")) == book.facts()[-1].id


def test_soft_bounces_and_auto_replies_have_thresholds_of_their_own(
    book: Any, make_part: Any, make_bounce: Any
) -> None:
    """Five and ten; an auto-reply counts as nothing else."""
    for n in range(10):
        assert (book.suppressed(B) is not None) == (n >= 5)
        book.back(book.send(A), Report("autoreply", reason="vacation", recipient=A))
        book.back(book.send(B), make_bounce(make_part(B, "soft")))
    assert (book.counts(A), book.counts(B)) == ((0, 0, 10), (0, 10, 0))
    assert (book.suppressed(A).cause, book.suppressed(B).cause) == ("autoreply", "soft")


@pytest.mark.parametrize("name", ["hard", "soft", "autoreply"])
def test_zero_only_records(book: Any, make_part: Any, make_bounce: Any, name: str) -> None:
    """The facts are there, the count too, and nobody is suppressed."""
    book.policy = PolicySection(preset="plain", **{name: 0})
    report = Report("autoreply") if name == "autoreply" else make_bounce(make_part(A, name))
    for _ in range(12):
        book.back(book.send(A), report)
    assert sum(book.counts(A)) == 12 == len(book.facts()) and book.suppressed(A) is None


@pytest.mark.parametrize("kind", ["delayed", "delivered", "relayed", "expanded"])
def test_what_is_no_failure_never_counts(book: Any, make_part: Any, kind: Any) -> None:
    """Delays, deliveries and expansions are facts with that kind, and nothing else."""
    send = book.send(A)
    for _ in range(20):
        report = Report(kind, (make_part(A, None, action=kind, status="4.4.1", reason=None, blame=None),))
        assert book.back(send, report) == "recorded"
    assert book.counts(A) == (0, 0, 0) and book.suppressed(A) is None
    assert {fact.what.kind for fact in book.facts()} == {kind}
    book.back(send, Report("bounce", (make_part(A),)))
    assert book.counts(A) == (1, 0, 0)  # a delay that was told before does not use the send up


@pytest.mark.parametrize("kind", ["complaint", "mdn", "challenge", "unsubscribe", "not-a-report"])
def test_other_kinds_never_count_as_failures(book: Any, kind: Any) -> None:
    """Complaints, receipts, challenges and letters are recorded; a letter goes to postmaster too."""
    outcome = book.back(book.send(A), Report(kind, recipient=A))
    assert book.counts(A) == (0, 0, 0) and book.facts()[0].what.kind == kind
    assert outcome == ("forwarded" if kind == "not-a-report" else "recorded")
    assert bool(book.forwarded()) == (kind == "not-a-report")


def test_a_mail_programs_unsubscription_suppresses_in_its_stream(book: Any) -> None:
    """Read from what Apple Mail sends, by the token that it came to, whoever its From field names."""
    head = "From: Anna <anna@mail.example>\nTo: us@example.org\nSubject: unsubscribe\nAuto-Submitted: auto-replied\n"
    report = read(f"{head}X-Apple-Unsubscribe: true\n\nSent to unsubscribe.\n".encode())
    assert book.back(book.send(A), report) == "recorded"
    found = book.suppressed(A)
    assert (found.cause, found.scope, found.until) == ("unsubscribe", "news", None)
    assert book.counts(A) == (0, 0, 0)


def test_mixed_fates_are_told_apart(book: Any, make_part: Any, make_bounce: Any) -> None:
    """A report of a failure, a delay and a delivery counts for the one that failed."""
    delayed = make_part(B, None, action="delayed")
    delivered = make_part(C, None, action="delivered")
    for _ in range(2):
        book.back(book.send(A, B, C), make_bounce(make_part(A), delayed, delivered))
    assert (book.counts(A), book.counts(B), book.counts(C)) == ((2, 0, 0), (0, 0, 0), (0, 0, 0))


def test_a_send_counts_once_however_many_reports_come(book: Any, hard: Any, make_part: Any, make_bounce: Any) -> None:
    """Several servers, a soft report before the hard one, two parts in one report: one failure, the worst."""
    send = book.send(A)
    book.back(send, make_bounce(make_part(A, "soft")))
    book.back(send, hard(A))
    book.back(send, hard(A, A))
    assert book.counts(A) == (1, 0, 0)
    assert len(book.facts()) == 4  # all are facts, and shown


def test_failures_and_auto_replies_of_a_send_count_apart(book: Any, hard: Any) -> None:
    """A holiday notice and then a bounce of one send are one of each."""
    send = book.send(A)
    for report in (Report("autoreply"), hard(A), Report("autoreply"), hard(A)):
        book.back(send, report)
    assert book.counts(A) == (1, 0, 1)


def test_the_same_report_twice_is_recorded_once(book: Any, hard: Any) -> None:
    """The second delivery changes nothing and is still a success."""
    send = book.send(A)
    assert book.back(send, hard(A), fingerprint=b"x" * 16) == "recorded"
    assert book.back(send, hard(A), fingerprint=b"x" * 16) == "duplicate"
    assert book.back(None, hard(B), fingerprint=b"x" * 16) == "forwarded"  # at another address it is another one
    assert book.back(None, hard(B), fingerprint=b"x" * 16) == "duplicate"
    assert book.counts(A) == (1, 0, 0) and len(book.facts()) == 2 and len(book.forwarded()) == 1


def test_made_up_xverp_parts_do_not_multiply_a_message(book: Any) -> None:
    """Anybody with a token could else fill the store with a thousand copies of one message in one transaction.

    For recipients on record the same words, as of an auto-reply, are each one's own.
    """
    send = book.send(A, B)
    for named in (A, B, "x1@example.net", "x2@example.net", "x3@example.net"):
        book.back(send, Report("autoreply"), named=named, fingerprint=b"x" * 16)
    assert [fact.address for fact in book.facts()] == [A, B, None]
    assert len(book.facts()) == 3 and len(book.forwarded()) == 1


RECORD = """
import sys, threading
from retour_bounces import RecipientReport, Report
from retour_policy.config.model import StormSection
from retour_policy.core.fold import StreamPolicy
from retour_policy.ledger.ledger import Ledger
from retour_policy.ledger.policy_versions import Policy
from retour_policy.messages.returned import ReturnRecorder
from retour_policy.messages.returned_message import ReturnedMessage
from retour_policy.messages.router import Route
from retour_policy.core.presets import PLAIN
from retour_policy.store.database import open_store
from retour_policy.core.storm import Sides
from retour_policy.ledger.storms import Storms
from retour_policy.store.writer import Writer
part = RecipientReport("anna@example.net", None, "failed", "hard", "5.1.1", "wire", None, None, None, "", "")
writer = Writer(open_store("sqlite:///" + sys.argv[1]))
storms = Storms(StormSection(), Sides({}))
ledger = Ledger(Policy(StreamPolicy(PLAIN)))
recorder = ReturnRecorder(bytes(range(32)), ledger, storms, "postmaster@example.org", lambda _: None)
print("ready", flush=True)
sys.stdin.readline()
outcomes = []
for send in map(int, sys.argv[2:]):
    route, report = Route("verp", "news", send), Report("bounce", (part,))
    arrival = ReturnedMessage(1, route, "b@b.example", "", b"", send.to_bytes(16, "big"), report)
    outcomes.append(writer.submit(lambda c, a=arrival: recorder.record(c, a)))
print(*[outcome.result(60) for outcome in outcomes], flush=True)
writer.close()
"""


def test_the_same_reports_through_several_processes_count_once(book: Any, database: Path) -> None:
    """Three processes are handed the same twenty reports at once: each is recorded by one of them."""
    made = [str(book.send(A)) for _ in range(20)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RECORD, database, *made], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout and process.stdout.readline() == "ready\n"
    outcomes: list[str] = []
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.close()
    for process in processes:
        assert process.stdout
        outcomes += process.stdout.read().split()
        assert process.wait(PATIENCE) == 0
        process.stdout.close()
    assert sorted(outcomes) == ["duplicate"] * 40 + ["recorded"] * 20
    assert book.counts(A) == (20, 0, 0) and len(book.facts()) == 20


def test_suppression_in_one_stream(book: Any, hard: Any) -> None:
    """scope = "stream": only the stream whose mail came back, counted there alone."""
    book.policy = PolicySection(preset="plain", scope="stream", hard=2)
    for stream in ("news", "shop", "news"):
        book.back(book.send(A, stream=stream), hard(A))
    assert (book.counts(A, "news"), book.counts(A, "shop"), book.counts(A)) == ((2, 0, 0), (1, 0, 0), (0, 0, 0))
    assert book.suppressed(A, "news").scope == "news" and book.suppressed(A, "shop") is None


def test_a_suppression_ends_and_the_next_failure_suppresses_again(book: Any, hard: Any) -> None:
    """For 180 days to the millisecond; then mail goes out, and one more failure is enough."""
    for _ in range(3):
        book.back(book.send(A), hard(A))
    until = book.suppressed(A).until
    assert book.suppressed(A, at=until - 1) and book.suppressed(A, at=until) is None
    book.now = until
    book.back(book.send(A), hard(A))
    found = book.suppressed(A)
    assert (found.since, found.until) == (until, until + 180 * DAY) and book.counts(A) == (4, 0, 0)


def test_a_suppression_in_force_keeps_its_dates_and_cause(book: Any, hard: Any) -> None:
    """Later failures while it lasts do not push its end away."""
    for _ in range(3):
        book.back(book.send(A), hard(A))
    before = book.suppressed(A)
    book.days(10)
    for _ in range(12):
        book.back(book.send(A), Report("autoreply"))
        book.back(book.send(A), hard(A))
    assert book.suppressed(A) == before


def test_what_the_operator_set_for_good_stays(book: Any, hard: Any) -> None:
    """A failure does not turn a suppression without end into one with an end."""
    book.send(A)
    with book.store.writing() as connection:
        new = Suppression("*", "operator", book.now, None, "asked us")
        address = Address(book.number(A), address_key(bytes(range(32)), A))
        accounts.write(connection, address, Account(), Account(suppressions={"*": new}))
    for _ in range(5):
        book.back(book.send(A), hard(A))
    assert (book.suppressed(A).cause, book.suppressed(A).until) == ("operator", None)


def test_a_report_that_could_not_be_read_is_kept_by_its_token(book: Any) -> None:
    """Kind unread, for the only recipient, its head in the store, all of it on its way to postmaster."""
    raw = bytes(range(256)) * 1000
    assert book.back(book.send(A), None, raw=raw) == "forwarded"
    assert book.back(book.send(A, B), None) == "forwarded"
    first, second = book.facts()
    assert (first.what.kind, first.address, second.address) == ("unread", A, None)
    with book.store.reading() as connection:
        assert bytes(connection.scalar(text("SELECT head FROM unread ORDER BY fact_id LIMIT 1"))) == raw[:16384]
    assert book.forwarded()[0] == raw and book.counts(A) == (0, 0, 0)


def test_hostile_text_is_cleaned_before_the_store(book: Any, make_part: Any, make_bounce: Any) -> None:
    """NUL, escape sequences, lone surrogates and megabytes in a report do not reach the facts."""
    nasty = "\x1b[2J\x00\udcff\ud800" + "x" * 1_000_000
    part = make_part(nasty, diagnostic=nasty, evidence=nasty, rule="r", contradiction=nasty)
    assert book.back(book.send(A), make_bounce(part)) == "recorded"
    for value in book.facts()[0].what.detail.values():
        if isinstance(value, str):
            assert len(value) <= 1000 and not set(value) & set("\x1b\x00\udcff\ud800")


@pytest.mark.parametrize("recipients", [(A,), (A, B)])
def test_a_report_of_thousands_is_bounded(book: Any, make_part: Any, make_bounce: Any, recipients: Any) -> None:
    """One hostile report fills neither the store nor the writer's time; the failures in it are kept."""
    delays = [make_part(f"user{n}@example.net", None, action="delayed") for n in range(20_000)]

    def recording(count: int) -> Callable[[], object]:
        report = make_bounce(*delays[:count], make_part(A))
        lost = Report("bounce", report.reports, Original(message_id="<none@example.com>"))
        return lambda: (book.back(book.send(*recipients), report), book.back(None, lost))

    book.back(book.send(*recipients), make_bounce(make_part(A)))
    recording(20_000)()
    assert len(book.facts()) <= 1 + 2 * (2 * matching.MAX_ALIKE_PARTS)
    assert book.counts(A) == (2, 0, 0)
    assert growth(recording(10_000), recording(20_000), 3) < 3


def test_a_message_to_hundreds_that_all_fail_counts_for_each(book: Any, hard: Any) -> None:
    """Postfix puts all failures of a message into one report: none of those on record is left out."""
    many = [f"user{n}@example.net" for n in range(600)]
    for _ in range(2):
        book.back(book.send(*many), hard(*many))
    with book.store.reading() as connection:
        states = connection.scalars(text("SELECT CAST(state AS text) FROM address_state")).all()
    assert all('"totals": {"hard": 2}' in state for state in states) and len(states) == 600


STORIES = st.lists(
    st.tuples(st.sampled_from(["hard", "soft", "autoreply", "delayed"]), st.sampled_from([(A,), (A, B), (A, B, C)])),
    min_size=1, max_size=8,
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(story=STORIES, seed=st.integers())
def test_order_and_grouping_do_not_change_the_counts(
    book: Any, make_part: Any, make_bounce: Any, story: list[tuple[str, tuple[str, ...]]], seed: int
) -> None:
    """The same facts, shuffled, doubled and cut into any commits, come to the same states in the store."""
    chance = random.Random(seed)
    states = []
    for shuffled in (False, True):
        with book.store.writing() as connection:
            for table in ("unread", "outbox", "seen", "suppression", "address_state", "fact", "send_recipient", "send"):
                connection.execute(text(f"DELETE FROM {table}"))
        arrivals = [
            book.arrival(Route("verp", "news", book.send(*to), None), tell(make_part, make_bounce, what), b"%016d" % n)
            for n, (what, to) in enumerate(story)
        ]
        if shuffled:
            arrivals = chance.sample(arrivals + arrivals, 2 * len(arrivals))
        while arrivals:
            size = chance.randint(1, len(arrivals)) if shuffled else 1
            with book.store.writing() as connection:
                for arrival in arrivals[:size]:
                    book.recorder.record(connection, arrival)
            del arrivals[:size]
        states.append([book.counts(A), book.counts(B), bool(book.suppressed(A))])
    assert states[0] == states[1]


def tell(make_part: Any, make_bounce: Any, what: str) -> Report:
    if what == "autoreply":
        return Report("autoreply", recipient=A)
    if what == "delayed":
        return Report("delayed", (make_part(A, None, action="delayed"),))
    return make_bounce(make_part(A, what))  # type: ignore[no-any-return]


def test_facts_of_any_number_are_read_in_order_and_in_chunks(book: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each chunk has a transaction of its own, so that a pager left open does not hold the log file back."""
    from retour_policy.store import facts

    monkeypatch.setattr(facts, "MAX_FACTS_READ", 7)
    for n in range(30):
        book.back(None, Report("not-a-report"), at=book.now + n % 4)
    expected = [fact.id for fact in book.facts()]
    found = facts.iterate(book.store, facts.FactFilter())
    first = next(found)
    assert book.store._reader.pool.checkedout() == 0  # type: ignore[attr-defined]
    assert [first.id, *(fact.id for fact in found)] == expected
    assert [fact.what.at for fact in book.facts()] == sorted(fact.what.at for fact in book.facts())
    assert [fact.id for fact in book.facts(limit=5)] == expected[-5:]
