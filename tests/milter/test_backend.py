"""What the milter writes of a message with very many recipients."""

import pytest
from sqlalchemy import event

from retour_milter.backend import MAX_RECIPIENTS_AT_ONCE, Backend
from retour_policy.config.model import Config
from retour_policy.core.suppression import Suppression
from retour_policy.errors import StoreUnavailable
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
    store = open_store(f"sqlite:///{tmp_path}/retour.db", check=False)
    migrate.upgrade(store)
    yield store
    store.close()


@pytest.fixture
def backend(tmp_path, store):
    keyring.save(tmp_path / "keys.toml", keyring.create(NOW))
    config = Config.model_validate({"stream": [{"name": "news", "suppressed": "drop"}]})
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
