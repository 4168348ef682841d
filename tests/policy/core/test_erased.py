"""An erased person stays erased, whatever happens to them later."""

from sqlalchemy import select

from retour_policy.maintenance.rebuild import differences
from retour_policy.store import schema
from retour_policy.store.sends import NewSend

BOB = "bob@example.net"


def details(world, kind):
    fact = schema.fact.c
    with world.store.reading() as connection:
        return list(connection.scalars(select(fact.detail).where(fact.kind == kind).order_by(fact.id)))


def withhold(world):
    new = NewSend("news", "app@example.com", (), tag="order of Bob", queue_id="4711")
    why = {BOB: world.why_not(BOB)}
    world.write(lambda connection: world.outgoing.record(connection, new, why, track=True, watch=True))


def test_mail_that_is_withheld_tells_nothing_of_them(world):
    """Before, the note of the postmaster and the application's reference; after, that it was withheld."""
    world.suppress(BOB)  # with a note
    withhold(world)
    assert "by hand" in details(world, "withheld")[0]["cause"]
    world.erase(BOB)
    withhold(world)
    assert details(world, "withheld") == [{}, {}]
    assert world.why_not(BOB).cause == "operator" and world.why_not(BOB).note == ""
    assert list(differences(world.store)) == []
