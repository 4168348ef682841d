"""Unsubscribes: a token leaves its stream or everything, at once and once; it can be taken back; nothing else can."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from retour_policy.clock import DAY, MINUTE
from retour_policy.config import load
from retour_policy.config.model import Config
from retour_policy.core.hook_events import Event
from retour_policy.core.unsubscribe_burst import looks_like_a_gateway
from retour_policy.ledger.ledger import Ledger
from retour_policy.maintenance import rebuild
from retour_policy.maintenance.purge import purge
from retour_policy.messages.signer import Signer
from retour_policy.messages.unsubscribes import Subscription, UnknownSubscription, Unsubscribes, masked
from retour_policy.store import addresses, facts, sends, subscriptions, suppressions, unsubscribe_counters
from retour_policy.store.addresses import Address
from retour_policy.store.database import Store
from retour_policy.store.facts import Fact, FactFilter, NewFact
from retour_policy.store.sends import NewSend
from retour_policy.store.writer import Writer
from retour_policy.tokens import subscription
from retour_policy.tokens.keyring import KeyRingFile
from retour_policy.tokens.token import Expired, Forged, NotAToken, TokenError, first_id

NOW = 1_800_000_000_000
ANNA = "anna@example.net"
CONFIG = """
[[stream]]
name = "news"
list_id = "Example news <news.example.com>"
unsubscribe = { https = "https://u.example.com", post = true }
[[stream]]
name = "offers"
unsubscribe = { https = "https://u.example.com" }
[[stream]]
name = "bills"
transactional = true
"""


class Desk:
    """People who leave streams, and what the store says of them."""

    def __init__(self, config: Config, ring: KeyRingFile, store: Store, writer: Writer) -> None:
        self.now = NOW
        self.ring, self.store, self.writer = ring, store, writer
        self.ledger = Ledger.of(config, writer, self.clock)
        self.unsubscribes = Unsubscribes(config, ring, store, writer, self.ledger, self.clock)

    def clock(self) -> int:
        return self.now

    def token(self, address: str = ANNA, stream: str = "news") -> str:
        """The token of a message that goes out now."""
        with self.store.writing() as connection:
            number = addresses.ensure(connection, self.ring.address_secret, [address])[address]
            (row,) = subscriptions.ensure(connection, {(number, stream)}, self.now, subscription.draw_number).values()
        return Signer(self.ring, self.clock).subscription(row)

    def leaves(self, token: str, extent: str = "stream") -> Subscription:
        return self.unsubscribes.unsubscribe(token, "one-click", extent).result(10)  # type: ignore[arg-type]

    def returns(self, token: str) -> Subscription:
        return self.unsubscribes.undo(token).result(10)

    def suppressed_in(self, address: str = ANNA) -> list[str]:
        """The streams whose mail would not be sent."""
        key = self.ring.address_key(address)
        with self.store.reading() as connection:
            return [
                name
                for name in ("news", "offers", "bills")
                if suppressions.find_in_force(connection, key, name, self.now, transactional=name == "bills")
            ]

    def facts(self) -> list[Fact]:
        with self.store.reading() as connection:
            return facts.read(connection, FactFilter())

    def write(self, kind: str, **values: object) -> None:
        """Something else happens to Anna."""
        with self.store.writing() as connection:
            number = addresses.ensure(connection, self.ring.address_secret, [ANNA])[ANNA]
            new = NewFact(self.now, kind, number, **values)  # type: ignore[arg-type]
            self.ledger.write(connection, Address(number, self.ring.address_key(ANNA)), new)

    def books_balance(self) -> bool:
        return list(rebuild.differences(self.store)) == []


@pytest.fixture
def desk(store: Store, group_writer: Writer, ring_file: Path) -> Iterator[Desk]:
    return Desk(load.parse(Path("retour.toml"), CONFIG), KeyRingFile(ring_file), store, group_writer)


def test_a_token_shows_what_it_would_do_and_changes_nothing(desk: Desk) -> None:
    """The address masked, the list by its own name; looking writes no row."""
    token = desk.token()
    shown = desk.unsubscribes.find(token)
    assert shown == Subscription("a…@example.net", "news", "Example news", "subscribed")
    assert desk.facts() == [] and desk.suppressed_in() == []


def test_who_leaves_a_stream_gets_no_more_of_it(desk: Desk) -> None:
    """From the next message on, and only there; once, however often the button is pressed."""
    token = desk.token()
    assert [desk.leaves(token).state for _ in range(3)] == ["unsubscribed"] * 3
    assert desk.suppressed_in() == ["news"]
    (fact,) = desk.facts()
    assert (fact.what.kind, fact.what.stream, fact.what.at, fact.what.detail) == (
        *("unsubscribe", "news", NOW),
        {"way": "one-click"},
    )
    assert desk.books_balance()


def test_who_leaves_everything_still_gets_transactional_mail(desk: Desk) -> None:
    """Scope bulk; after the stream alone was left it is a fact of its own."""
    token = desk.token()
    desk.leaves(token)
    assert [desk.leaves(token, "everything").state for _ in range(2)] == ["everything"] * 2
    assert desk.suppressed_in() == ["news", "offers"] and len(desk.facts()) == 2
    assert desk.unsubscribes.find(desk.token(stream="offers")).state == "everything"
    assert desk.books_balance()


@pytest.mark.parametrize("extent", ["stream", "everything"])
def test_it_can_be_taken_back(desk: Desk, extent: str) -> None:
    """Undone twice is undone once; and who came back can leave again."""
    token = desk.token()
    desk.leaves(token)
    desk.leaves(token, extent)
    assert [desk.returns(token).state for _ in range(2)] == ["subscribed"] * 2
    assert desk.suppressed_in() == [] and [one.what.kind for one in desk.facts()].count("undone") == 1
    desk.leaves(token, extent)
    assert "news" in desk.suppressed_in() and desk.books_balance()


def test_coming_back_lifts_nothing_else(desk: Desk) -> None:
    """Not a complaint, nor what the postmaster set before: only what the person did themselves."""
    token = desk.token()
    until = NOW + 30 * DAY
    desk.write("suppress", detail={"scope": "news", "until": until})
    desk.write("complaint", reason="abuse", stream="news", proof="signed", send_id=1)
    desk.leaves(token)
    desk.leaves(token, "everything")
    assert desk.returns(token).state == "subscribed"
    with desk.store.reading() as connection:
        key = desk.ring.address_key(ANNA)
        left = {one.scope: (one.cause, one.until) for one in suppressions.read(connection, [key])[key]}
    assert left == {"news": ("operator", until), "*bulk": ("complaint", None)} and desk.books_balance()


def test_who_complained_and_leaves_is_written_down_once(desk: Desk) -> None:
    """The complaint holds already, so nothing more follows, however often the button is pressed."""
    token = desk.token()
    desk.write("complaint", reason="abuse", stream="news", proof="signed", send_id=1)
    for _ in range(3):
        desk.leaves(token, "everything")
    assert [one.what.kind for one in desk.facts()] == ["complaint", "unsubscribe"]


def test_it_can_be_taken_back_when_the_fact_is_purged(desk: Desk) -> None:
    """What was carried forward is lifted, and the counts of failures stay."""
    token = desk.token()
    desk.leaves(token, "everything")
    desk.now += 200 * DAY
    list(purge(desk.store, desk.now - 100 * DAY))
    assert [one.what.kind for one in desk.facts()] == ["carried"]
    assert desk.unsubscribes.find(token).state == "everything" and desk.books_balance()
    assert desk.returns(token).state == "subscribed"
    assert desk.suppressed_in() == [] and desk.books_balance()


def test_transactional_mail_is_never_stopped_by_one(desk: Desk) -> None:
    """Not even where a stream was made transactional after its links went out."""
    assert desk.leaves(desk.token(stream="bills")).state == "subscribed"
    desk.write("suppress", detail={"scope": "*", "cause": "unsubscribe"})
    assert desk.suppressed_in() == ["news", "offers"] and desk.books_balance()


def test_a_token_lives_400_days_and_its_row_as_long(desk: Desk) -> None:
    """A link in an old letter still works; a day later it is expired, and then the row may be purged."""
    token = desk.token()
    for days in (90, 300, 9):
        desk.now += days * DAY
        list(purge(desk.store, desk.now - 90 * DAY))
        assert desk.unsubscribes.find(token).state == "subscribed"
    desk.now += 2 * DAY
    with pytest.raises(Expired):
        desk.unsubscribes.find(token)
    desk.now += 200 * DAY
    list(purge(desk.store, desk.now - 90 * DAY))
    with desk.store.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM subscription").scalar() == 0


def test_a_row_is_made_once_and_kept_while_mail_goes_out(desk: Desk) -> None:
    """Each message of the stream to that address names the same row; other streams and people have their own."""
    numbers = set()
    for day in range(0, 900, 50):
        desk.now = NOW + day * DAY
        numbers.add(subscription.read(desk.ring.ring, desk.token(), desk.now))
        list(purge(desk.store, desk.now - 90 * DAY))
    assert len(numbers) == 1
    others = {desk.token(stream="offers"), desk.token("ben@example.net"), desk.token()}
    assert len({subscription.read(desk.ring.ring, one, desk.now) for one in others}) == 3


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda token: token[:-1], NotAToken),
        (lambda token: token + "a", NotAToken),
        (lambda token: "!" + token[1:], NotAToken),
        (lambda token: token[:20] + ("a" if token[20] != "a" else "b") + token[21:], Forged),
        (lambda token: token[:-1] + "b", NotAToken),
    ],
)
def test_what_was_not_signed_so_is_refused(desk: Desk, change: Callable[[str], str], error: type[TokenError]) -> None:
    """Half a token, another alphabet, one character changed, bits that must be zero: no look into the store."""
    token = desk.token()
    desk.store.close()
    with pytest.raises(error):
        desk.unsubscribes.find(change(token))
    with pytest.raises(error):
        desk.unsubscribes.unsubscribe(change(token), "page")


def test_tokens_of_other_purposes_are_refused(desk: Desk) -> None:
    """A bounce's token does not unsubscribe, and this one is no reference."""
    signer = Signer(desk.ring, desk.clock)
    with pytest.raises(TokenError):
        desk.unsubscribes.find(signer.reference(signer.draw()))
    with pytest.raises(NotAToken):
        desk.unsubscribes.find(signer.reference(signer.draw()) + "aaaaaaaaaa"[:10].replace("a", "0"))


def test_a_genuine_token_without_a_row_is_unknown(desk: Desk) -> None:
    """Of a database that was put back from a backup, say."""
    token = Signer(desk.ring, desk.clock).subscription(4711)
    with pytest.raises(UnknownSubscription):
        desk.unsubscribes.find(token)
    with pytest.raises(UnknownSubscription):
        desk.leaves(token)
    assert desk.facts() == []


def test_a_mask_shows_no_more_than_its_owner_needs() -> None:
    """One letter and the domain; nothing of an erased address."""
    assert [masked(one) for one in ("anna@example.com", "a@b.example", '"a b"@c.example', None)] == [
        *("a…@example.com", "a…@b.example", "a…@c.example", "…"),
    ]


def test_many_at_one_side_within_minutes_are_told_once(desk: Desk) -> None:
    """It looks like a gateway that submits forms; all are unsubscribed all the same. Who takes longer is no news."""
    told: list[Event] = []
    config = load.parse(Path("retour.toml"), CONFIG)
    desk.unsubscribes = Unsubscribes(config, desk.ring, desk.store, desk.writer, desk.ledger, desk.clock, told.append)
    slow, quick = [f"u{n}@slow.example" for n in range(12)], [f"u{n}@quick.example" for n in range(12)]
    with desk.store.writing() as connection:
        for number, to in enumerate((*slow, *quick)):
            sent = first_id(NOW - (11 * MINUTE if to in slow else MINUTE)) + number
            sends.record(connection, desk.ring.address_secret, NewSend("news", "", (to,)), iter([sent]).__next__)
    for to in (*slow, *quick):
        assert desk.leaves(desk.token(to)).state == "unsubscribed"
    (event,) = told
    assert (event.type, event.data.side, event.data.unsubscribed) == ("burst.unsubscribed", "quick.example", 10)
    with desk.store.reading() as connection:
        (burst,) = unsubscribe_counters.read_told(connection, 0)
    assert (burst.side, burst.unsubscribed) == ("quick.example", 12)
    assert all(desk.suppressed_in(to) == ["news"] for to in (*slow, *quick)) and desk.books_balance()


@pytest.mark.parametrize(("unsubscribed", "sent", "burst"), [(9, 0, False), (10, 50, True), (10, 51, False)])
def test_a_large_side_may_lose_a_few_at_once(unsubscribed: int, sent: int, burst: bool) -> None:
    """Ten at least, and a fifth of those who were sent it."""
    assert looks_like_a_gateway(unsubscribed, sent) is burst
