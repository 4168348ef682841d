"""What the milter writes: of a message with very many recipients, and of those of whom no report comes."""

import pytest
from sqlalchemy import event

from lab import stores
from lab.wait import PATIENCE
from retour_milter import backend as module
from retour_milter.answers import STORE_IS_DOWN, Edits
from retour_milter.backend import MAX_RECIPIENTS_AT_ONCE, Backend
from retour_milter.session import Session
from retour_policy.config.model import Config
from retour_policy.core.suppression import Suppression
from retour_policy.errors import StoreUnavailable
from retour_policy.messages.outgoing import SendRecorder
from retour_policy.store import migrate, sends
from retour_policy.store.database import open_store
from retour_policy.store.writer import Writer
from retour_policy.tokens import keyring
from retour_policy.tokens.keyring import KeyRingFile

NOW = 1_800_000_000_000
MANY = [f"user{n}@example.net" for n in range(MAX_RECIPIENTS_AT_ONCE * 3 + 500)]
AWAY = {f"away{n}@example.net": Suppression("*", "operator", NOW, None) for n in range(MAX_RECIPIENTS_AT_ONCE + 1)}


@pytest.fixture
def store(tmp_path):
    store = open_store(stores.new_url(tmp_path), check=False)
    migrate.upgrade(store)
    yield store
    store.close()


@pytest.fixture
def backend(tmp_path, store):
    keyring.save(tmp_path / "keys.toml", keyring.create(NOW))
    stream = {"name": "news", "suppressed": "drop", "envelope_from": "bounces@bounces.example.com"}
    verp = {"name": "verp", "match": {"sender": ["other"]}, "envelope_from": "b-%@bounces.example.com"}
    config = Config.model_validate({"stream": [stream, verp]})
    writer = Writer(store)
    yield Backend(config, KeyRingFile(tmp_path / "keys.toml"), store, writer, lambda: NOW)
    writer.close()


def record(backend, recipients=MANY, withheld=AWAY, **values):
    settings = backend.settings
    rest = {"message_id": "<1@x>", "tag": None, "queue_id": "4XYZ", "spool": None} | values
    return backend.record(settings, settings.config.stream[0], "news@example.com", recipients, withheld, **rest)


def tables(store):
    with store.reading() as connection:
        names = ("send", "send_recipient", "recipient_apart")
        return [connection.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar() for name in names]


def test_it_is_written_in_short_transactions_that_come_to_the_same(store, backend):
    """A thousand recipients each, so that others hardly wait; in the end all are on record, as with few."""
    rows, most = [0], []
    event.listen(
        store._writer, "before_cursor_execute", lambda *args: rows.append(rows.pop() + (len(args[3]) if args[5] else 1))
    )
    event.listen(store._writer, "commit", lambda _: most.append(rows.pop()) or rows.append(0))
    number = record(backend, unheard=MANY[:2]).send
    assert len(most) == 7 and max(most) < 5 * MAX_RECIPIENTS_AT_ONCE
    with store.reading() as connection:
        send = sends.find(connection, number)
    assert (len(send.recipients), len(send.withheld)) == (len(MANY), len(AWAY))
    assert tables(store) == [1, len(MANY) - 2, len(AWAY) + 2]
    few = record(backend, MANY[:10], {}, message_id="<2@x>")
    assert few.newly_suppressed == {} and tables(store)[1] == len(MANY) + 8


@pytest.mark.sqlite
def test_others_wait_for_one_portion_of_a_message_to_100000_at_most(store, backend, monkeypatch):
    """As many portions as for 100,000 recipients, smaller ones: whoever comes while one is written is next."""
    monkeypatch.setattr(module, "MAX_RECIPIENTS_AT_ONCE", 10)
    record_part, committed, others = SendRecorder.record_part, [0], []

    def another_comes(recorder, *args, **named):
        before = committed[0]
        others.append(backend._writer.submit(lambda _: committed[0] - before))
        return record_part(recorder, *args, **named)

    monkeypatch.setattr(SendRecorder, "record_part", another_comes)
    event.listen(store._writer, "commit", lambda _: committed.append(committed.pop() + 1))
    record(backend, [f"user{n}@example.net" for n in range(1_000)], {})
    assert [other.result(PATIENCE) for other in others] == [1] * 100


def test_when_a_part_fails_nobody_has_got_it(store, backend):
    """The client hears 451 and sends it again; what is there already counts as a send to nobody."""
    begun = []

    def fail(_):
        begun.append(1)
        if len(begun) == 3:
            raise OSError("the disk is full")

    event.listen(store._writer, "begin", fail)
    with pytest.raises(StoreUnavailable, match="disk is full"):
        record(backend)
    assert tables(store)[1] == 0
    with store.reading() as connection:
        (number,) = connection.exec_driver_sql("SELECT id FROM send").scalars()
        assert sends.find(connection, number).recipients == {}
    again = record(backend)
    assert tables(store)[:2] == [2, len(MANY)]
    with store.reading() as connection:
        assert len(sends.find(connection, again.send).recipients) == len(MANY)


@pytest.mark.parametrize("can_add", [True, False])
def test_where_reports_cannot_be_asked_for_the_send_is_no_good_one(store, backend, can_add):
    """A mail server other than Postfix may add no recipient with parameters for us: then the client's word counts."""
    session = Session(backend)
    session.can_add = can_add
    session.connect("127.0.0.1", 4000)
    session.mail("<news@example.com>", None)
    session.rcpt("<a@example.net>", None, ["NOTIFY=NEVER", "ORCPT=rfc822;a@example.net"])
    session.rcpt("<b@example.net>", None, ["NOTIFY=SUCCESS,FAILURE"])
    edits = session.end("4XYZ").recipients
    asked = (("<a@example.net>", "NOTIFY=FAILURE ORCPT=rfc822;a@example.net"),)
    assert (edits.delete, edits.add) == ((("<a@example.net>",), asked) if can_add else ((), ()))
    assert tables(store) == ([1, 2, 0] if can_add else [1, 1, 1])


@pytest.mark.parametrize("way", ["tempfail", "pass"])
@pytest.mark.parametrize("known_by", ["sender", "reference"])
def test_what_may_be_under_way_waits_for_the_store_as_all_mail_does(store, backend, known_by, way):
    """`on_store_failure`: whether it is on record cannot be told, so it waits, or goes as it is."""
    config = backend.settings.config
    backend.adopt(config.model_copy(update={"milter": config.milter.model_copy(update={"on_store_failure": way})}))
    number = backend.signer.draw()

    def fail(*_):
        raise OSError("the disk is gone")

    event.listen(store._reader, "before_cursor_execute", fail)
    event.listen(store._writer, "before_cursor_execute", fail)
    session = Session(backend)
    session.connect("127.0.0.1", 4000)
    by_sender = known_by == "sender"
    sender = backend.signer.envelope_sender(config.stream[1], number) if by_sender else "news@example.com"
    answer = session.mail(f"<{sender}>", None)
    if not by_sender:
        session.rcpt("<a@example.net>")
        session.header("Retour-Ref", backend.signer.reference(number))
        answer = session.end("4XYZ")
    assert answer == (STORE_IS_DOWN if way == "tempfail" else Edits())
