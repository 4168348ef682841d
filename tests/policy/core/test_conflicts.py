"""Conflicts: reports that come back for one of ours and name somebody else."""

import pytest

from lab.world import SECRET
from retour_policy.address import address_key
from retour_policy.clock import DAY
from retour_policy.erasure.erase import erase
from retour_policy.maintenance.purge import purge
from retour_policy.maintenance.rebuild import differences
from retour_policy.store import schema
from retour_policy.store.addresses import Address, find_number

BOB, TARGET = "bob@example.net", "target@elsewhere.example"


def refuse(world, days, *, span="4d", like="gone", names=TARGET):
    """So many messages go out, that span apart, and come back at once."""
    for _ in range(days):
        world.conflict(world.send(), names, like=like)
        world.wait(span)


def consistent(world):
    return list(differences(world.store)) == []


def test_one_never_pauses_alone(world):
    """Nor do two, nor many within ten days."""
    refuse(world, 2)
    assert world.suppressed() == {}
    refuse(world, 3, span="1h")
    assert world.suppressed() == {} and world.counts(BOB) == {"*": {}} and consistent(world)


def test_who_forwards_all_mail_to_a_dead_address_is_found(world):
    """On three days over at least ten, and nothing arrived: it counts like any other. Next time they are suppressed."""
    refuse(world, 3, span="5d")
    assert world.counts(BOB) == {"*": {"hard": 1}}
    assert world.why_not(at=world.now - 5 * DAY).cause == "pause"
    refuse(world, 1)
    assert world.suppressed() == {BOB: "* hard"} and consistent(world)


def test_three_days_within_nine_are_not_enough(world):
    """The span counts, not the number."""
    refuse(world, 9, span="1d")
    assert world.counts(BOB) == {"*": {}}
    world.wait("1d")
    refuse(world, 1)
    assert world.counts(BOB) == {"*": {"hard": 1}} and consistent(world)


def test_a_good_send_between_shows_that_mail_arrives(world):
    """A copy that failed now and then, and the others did not: nothing is ever counted."""
    for _ in range(20):
        refuse(world, 1, span="5d")
        world.send()
        world.wait("8d")
    assert world.counts(BOB) == {"*": {}} and world.suppressed() == {} and consistent(world)


def test_healing_forgets_no_conflict(world):
    """What arrived before it clears an older failure only; from the first conflict on nothing arrived."""
    world.bounce(world.send())
    world.wait("4d")
    for _ in range(3):
        world.send()
        world.wait("1d")
    world.wait("132h")
    refuse(world, 3, span="6d")
    assert world.counts(BOB) == {"*": {"hard": 1}} and consistent(world)


def test_a_send_is_good_when_its_week_is_over(world):
    """It was made between two conflicts, and both came before it was known to be good."""
    refuse(world, 1, span="1d")
    world.send()
    world.wait("4d")
    refuse(world, 1, span="6d")
    refuse(world, 1)
    assert world.counts(BOB) == {"*": {}} and consistent(world)


@pytest.mark.parametrize("like", ["gone", "full"])
def test_a_send_fails_once_whomever_its_reports_name(plain, like):
    """The third conflict counted; a report about the same send that names the recipient adds nothing."""
    refuse(plain, 2, span="10d")
    send = plain.send()
    plain.conflict(send, TARGET)
    plain.bounce(send, like=like)
    assert plain.counts(BOB) == {"*": {"hard": 1}} and consistent(plain)


def test_plain_counting_waits_too(plain):
    """Where nothing clears the count, an archive that is full for a week still suppresses nobody."""
    refuse(plain, 9, span="1d", like="full")
    assert plain.suppressed() == {}
    plain.wait("30d")
    plain.send()
    plain.wait("8d")
    refuse(plain, 2, span="9d", like="full")
    assert plain.suppressed() == {} and consistent(plain)


def test_one_archive_for_all_counts_for_nobody(world):
    """One mailing by always_bcc to a full archive would else pause everybody of a small domain."""
    people = [f"p{number}@small.example" for number in range(8)]
    for _ in range(10):
        for to in people:
            world.conflict(world.send(to), TARGET, like="full", to=to)
            world.conflict(world.send(to), TARGET, to=to)
        world.wait("4d")
    assert world.suppressed() == {} and consistent(world)


def test_a_copy_that_fails_leaves_the_send_good(world):
    """It says nothing about the recipient: their earlier failures are cleared by what arrived."""
    world.adopt({"stream": [{"name": "news"}], "policy": {"copies": [TARGET]}})
    world.bounce(world.send())
    world.wait("4d")
    refuse(world, 3)
    world.wait("8d")
    world.bounce(world.send())
    assert world.counts(BOB) == {"*": {"hard": 1}} and consistent(world)


def test_storms_count_no_conflicts(world):
    """Who is named is at another side: twenty forwards to a provider that is down are no storm of ours."""
    sent = [(world.send(f"p{number}@one.example"), number) for number in range(30)]
    for send, number in sent:
        world.conflict(send, f"q{number}@other.example", to=f"p{number}@one.example")
    assert world.storm_list() == []
    for send, number in sent:
        world.bounce(send, f"p{number}@one.example")
    assert len(world.storm_list()) == 1
    world.tick()
    with world.store.reading() as connection:
        held = connection.scalars(schema.fact.select().with_only_columns(schema.fact.c.proof).where(
            schema.fact.c.id.in_(_held(connection)))).all()  # fmt: skip
    assert set(held) == {"signed"} and consistent(world)


def _held(connection):
    details = connection.scalars(
        schema.fact.select().with_only_columns(schema.fact.c.detail).where(schema.fact.c.kind == "held")
    )
    return [number for detail in details for number in detail["facts"]]


def named(connection):
    """Whom else failures name, by key."""
    return set(connection.scalars(schema.fact.select().with_only_columns(schema.fact.c.named_key)))


@pytest.mark.parametrize("lost", ["purge", "erase"])
def test_what_waits_survives(world, lost):
    """A purge, and the erasure of the person: they count when the next one comes, and nothing names anybody."""
    refuse(world, 2, span="10d")
    if lost == "purge":
        world.wait("95d")
        for _ in purge(world.store, world.now - 90 * DAY):
            pass
    else:
        key = address_key(SECRET, BOB)
        with world.store.writing() as connection:
            erase(connection, Address(find_number(connection, key), key))
            assert named(connection) == {None}
    assert consistent(world)
    refuse(world, 1)
    assert world.counts(BOB) == {"*": {"hard": 1}} and consistent(world)
    with world.store.reading() as connection:
        assert (named(connection) == {None}) == (lost == "erase")


def test_a_purge_remembers_that_mail_arrived(world):
    """A good send between two conflicts was deleted with its record."""
    refuse(world, 2, span="10d")
    world.send()
    world.wait("110d")
    for _ in purge(world.store, world.now - 90 * DAY):
        pass
    assert world.counts(BOB) == {} and consistent(world)
    refuse(world, 1)
    assert world.counts(BOB) == {"*": {}} and consistent(world)


def test_old_conflicts_are_forgotten(world):
    """`forget_after` holds for them too."""
    refuse(world, 2, span="10d")
    world.wait("401d")
    refuse(world, 1)
    assert world.counts(BOB) == {"*": {}} and consistent(world)
