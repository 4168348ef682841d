"""Resends: which soft bounces are sent again, when, with which token, and what they count for."""

from __future__ import annotations

import asyncio
import dataclasses
import json

import pytest
from sqlalchemy import func, select, update

from lab.courier import router, running_courier
from lab.destination import Destination
from lab.world import World
from retour_courier.relay import Relay
from retour_courier.resend import ResendCarrier
from retour_courier.sweep import remove_copies
from retour_policy.clock import DAY, HOUR, system_clock
from retour_policy.erasure.erase import erase
from retour_policy.maintenance.rebuild import differences
from retour_policy.outbox.resends import Resends
from retour_policy.outbox.spool import SWEEP_PARTS, Spool, new_name
from retour_policy.store import schema
from retour_policy.store.addresses import Address
from retour_policy.store.facts import FactFilter, read
from retour_policy.tokens.token import draw_id

COPY = b"From: news@example.com\r\nRetour-Ref: old\r\n value\r\nSubject: News\r\nRetour-Ref: another\r\n\r\nHello\r\n"
BOB = "bob@example.net"


@pytest.fixture
def server():
    with Destination() as server:
        yield server


@pytest.fixture
def world(tmp_path, server):
    stream = {
        "name": "news",
        "envelope_from": "b-%@bounces.example.com",
        "retry": {"interval": "4h", "count": 2},
    }
    config = {
        "stream": [stream, {"name": "plain"}],
        "relay": {"default": {"port": server.port}},
        "spool": {"dir": str(tmp_path / "spool")},
        "hook": [
            {"name": "app", "on": ["resent"], "command": ["/usr/bin/tee", str(tmp_path / "told")]},
            {"name": "bounces", "on": ["bounce"], "command": ["/usr/bin/tee", "-a", str(tmp_path / "bounced")]},
        ],
    }
    with World(tmp_path, config) as world:
        resends = Resends.of(world.config, lambda: draw_id(world.now))
        world.recorder = dataclasses.replace(world.recorder, resends=resends)
        yield world


@pytest.fixture
def spool(tmp_path):
    return Spool(tmp_path / "spool")


def send(world, spool, **more):
    """A message of which a copy is kept."""
    name = new_name(world.now + 6 * 86_400_000)
    spool.put(name, COPY)
    return world.send(spool=name, **more)


def facts(world, *kinds):
    with world.store.reading() as connection:
        return [fact for fact in read(connection, FactFilter()) if fact.what.kind in kinds]


def resent(server, number, world, folder):
    """Wait for that many resends; the send id in the token of the last, from 1."""
    message = server.wait(number)[-1]
    return router(folder, world).route(message.sender).send


def test_a_soft_bounce_is_sent_again_after_the_interval(world, server, spool, tmp_path):
    """To the same recipient, the same message, with a token and a reference of its own; not before its time."""
    first = send(world, spool, tag="order-4711")
    world.bounce(first, like="full")
    with running_courier(tmp_path, world) as courier:
        (item,) = courier.waiting(kind="resend")
        assert item.due == world.now + 4 * 3_600_000
        world.wait("4h")
        second = resent(server, 1, world, tmp_path)
        courier.wait_empty()
    (message,) = server.arrived
    assert message.recipients == (BOB,)
    assert second not in (None, first)
    (reference,) = message.headers("Retour-Ref")
    assert router(tmp_path, world).reference(reference) == second
    assert message.content.startswith(b"From: news@example.com\r\nSubject: News\r\n")
    assert message.content.endswith(b"\r\n\r\nHello\r\n")
    (fact,) = facts(world, "resent")
    assert (fact.what.send_id, fact.what.detail) == (first, {"tag": "order-4711", "resend": 1, "of": 2})


def test_a_bounce_of_a_resend_is_the_same_mails(world, server, spool, tmp_path):
    """It does not count again, hooks are told of each attempt, and each but the last leads to the next resend."""
    number = first = send(world, spool)
    with running_courier(tmp_path, world) as courier:
        for attempt in (1, 2):
            world.bounce(number, like="full")
            world.wait("4h")
            number = resent(server, attempt, world, tmp_path)
            courier.wait_empty()
        world.bounce(number, like="full")
        world.bounce(number, like="greylisted")
        assert courier.waiting(kind="resend") == []
        courier.wait_empty()
    bounces = facts(world, "bounce")
    assert [fact.what.send_id for fact in bounces] == [first] * 4
    assert [fact.what.detail.get("resend") for fact in bounces] == [None, 1, 2, 2]
    told = [json.loads(line)["data"] for line in (tmp_path / "bounced").read_text().splitlines()]
    assert [(data.get("resend"), data.get("max_attempts")) for data in told] == [(None, None), (1, 2), (2, 2)]
    with world.store.reading() as connection:
        state = connection.scalar(select(schema.address_state.c.state))
    assert state["counts"]["*"]["totals"] == {"soft": 1}
    assert list(differences(world.store)) == []


def test_two_reports_of_one_failure_lead_to_one_resend(world, server, spool, tmp_path):
    """Whatever they say."""
    first = send(world, spool)
    world.bounce(first, like="full")
    world.bounce(first, like="greylisted")
    with running_courier(tmp_path, world) as courier:
        assert len(courier.waiting(kind="resend")) == 1


@pytest.mark.parametrize("why", ["suppressed", "unsubscribed"])
def test_who_may_have_no_mail_any_more_gets_none(world, server, spool, tmp_path, why):
    """What happened in the meantime counts; a fact says so."""
    first = send(world, spool)
    world.bounce(first, like="full")
    if why == "suppressed":
        world.suppress(BOB)
    else:
        world.answer(first, "unsubscribe")
    with running_courier(tmp_path, world) as courier:
        world.wait("4h")
        courier.wait_empty()
    assert server.arrived == []
    (fact,) = facts(world, "withheld")
    assert (fact.what.send_id, fact.what.detail["resend"]) == (first, 1)


def test_a_resend_is_no_good_send(world, server, spool, tmp_path):
    """It has no recipients in the store, so that it heals nothing."""
    first = send(world, spool)
    world.bounce(first, like="full")
    with running_courier(tmp_path, world) as courier:
        world.wait("4h")
        courier.wait_empty()
    with world.store.reading() as connection:
        assert list(connection.scalars(select(schema.send_recipient.c.send_id))) == [first]
        assert connection.scalar(select(func.count()).select_from(schema.send)) == 2


@pytest.mark.parametrize("like", ["gone", "blocked", "timeout"])
def test_hard_bounces_are_not_sent_again(world, spool, tmp_path, like):
    """Only soft ones may pass another day."""
    world.bounce(send(world, spool), like=like)
    with running_courier(tmp_path, world) as courier:
        assert courier.waiting(kind="resend") == []


def test_without_a_copy_or_a_setting_nothing_is_sent_again(world, spool, tmp_path):
    """A message that was too large has no copy; a stream without `retry` asks for none."""
    world.bounce(world.send(), like="full")
    name = new_name(world.now)
    spool.put(name, COPY)
    world.bounce(world.send(stream="plain", spool=name), like="full")
    with running_courier(tmp_path, world) as courier:
        assert courier.waiting(kind="resend") == []


def test_a_copy_that_is_gone_is_a_dead_letter(world, spool, tmp_path, store_kind):
    """The postmaster sees that a resend did not happen. On a store that is shared, another host may have the copy."""
    world.bounce(send(world, spool), like="full")
    for name, _, _ in list(spool.names()):
        spool.remove(name)
    with running_courier(tmp_path, world) as courier:
        world.wait("4h")
        (item,) = courier.wait_tried(failed=store_kind == "sqlite")
    assert item.error.startswith("no copy to send again")


@pytest.mark.sqlite
@pytest.mark.parametrize("damage", [lambda whole: whole[:-9], lambda whole: whole[:12] + b"\xff\xff" + whole[14:]])
def test_a_copy_that_is_damaged_is_a_dead_letter(world, spool, tmp_path, damage):
    """It will not be whole another day."""
    world.bounce(send(world, spool), like="full")
    (file,) = spool.folder.glob("*/*")
    file.write_bytes(damage(file.read_bytes()))
    with running_courier(tmp_path, world) as courier:
        world.wait("4h")
        (item,) = courier.wait_tried(failed=True)
    assert item.error.startswith(f"no copy to send again: {file.name}: ")


def test_the_hook_hears_which_resend_it_was(world, server, spool, tmp_path):
    """`resend 1 of 2`, with the tag; nothing before it was sent."""
    world.bounce(send(world, spool, tag="order-4711"), like="full")
    with running_courier(tmp_path, world) as courier:
        assert not (tmp_path / "told").exists()
        world.wait("4h")
        courier.wait_empty()
    event = json.loads((tmp_path / "told").read_text())
    assert event["type"] == "resent"
    data = event["data"]
    assert (data["address"], data["resend"], data["max_attempts"]) == (BOB, 1, 2)
    assert data["tag"] == "order-4711"


def test_what_only_looks_like_a_part_of_the_spool_stops_no_sweep(world, spool, tmp_path):
    """A plain file or a link with the name of a part is passed over; the copies beside it are removed."""
    now = system_clock()
    (tmp_path / "elsewhere").mkdir()
    old = f"{now // 1000 - 60:010x}-{'41'}{'0' * 14}.gz"
    spool.put(old, COPY)
    (spool.folder / "01").write_text("")
    (spool.folder / "81").symlink_to(tmp_path / "elsewhere")
    assert remove_copies(spool, world.store, now, 1) == 1
    assert list(spool.names()) == []


def test_copies_are_removed_when_their_time_is_over(world, spool):
    """By their name; and after an hour those that no send names: it was erased, or never recorded."""
    now = system_clock()
    kept, orphan, old = (new_name(now + days * DAY) for days in (1, 1, -1))
    for name in (kept, orphan, old):
        spool.put(name, COPY)
    world.send(spool=kept)
    assert remove_copies(spool, world.store, now) == 1
    assert {name for name, _, _ in spool.names()} == {kept, orphan}
    assert remove_copies(spool, world.store, now + 2 * HOUR) == 1
    assert {name for name, _, _ in spool.names()} == {kept}
    assert sum(remove_copies(spool, world.store, now + DAY, part) for part in range(SWEEP_PARTS)) == 1


def test_an_erased_persons_copies_and_items_go(world, spool, tmp_path):
    """Nothing of the person waits to be sent or told any more."""
    world.bounce(send(world, spool), like="full")
    number, key = next(iter(_recipients(world)))
    world.writer.run(lambda connection: erase(connection, Address(number, key)), 10_000)
    assert remove_copies(spool, world.store, system_clock() + 2 * HOUR) == 1
    with running_courier(tmp_path, world) as courier:
        world.wait("4h")
        (item,) = courier.wait_tried(failed=True)
    assert item.error in ("the address was erased", "no copy to send again: : not the name of a copy")


@pytest.mark.parametrize("kind", ["resent", "withheld"])
def test_who_is_erased_meanwhile_is_not_named_again(world, server, spool, tmp_path, kind, monkeypatch):
    """Looked up before, erased while the relay has the message: what is recorded afterwards names nobody."""
    first = send(world, spool, tag="order-4711")
    world.write(lambda connection: connection.execute(update(schema.send).values(message_id="<8@shop.example>")))
    world.bounce(first, like="full")
    if kind == "withheld":
        world.suppress(BOB)
    find_job, to_relay = ResendCarrier._find_job, Relay.send

    def found(carrier, item):
        job = find_job(carrier, item)
        if job.suppression:
            world.erase(BOB)
        return job

    async def sent(relay, *message):
        await to_relay(relay, *message)
        await asyncio.to_thread(world.erase, BOB)

    monkeypatch.setattr(ResendCarrier, "_find_job", found)
    monkeypatch.setattr(Relay, "send", sent)
    with running_courier(tmp_path, world) as courier:
        world.wait("4h")
        courier.wait_empty()
    (fact,) = facts(world, kind)
    assert fact.what.detail == {"resend": 1, "of": 2}
    if kind == "resent":
        told = (tmp_path / "told").read_text()
        data = json.loads(told)["data"]
        assert (data["resend"], data["max_attempts"]) == (1, 2)
        assert not any(name in told for name in (BOB, "order-4711", "8@shop.example"))


def _recipients(world):
    with world.store.reading() as connection:
        return [(row.id, bytes(row.key)) for row in connection.execute(select(schema.address))]
