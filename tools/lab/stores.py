"""Stores: where the lab keeps what it records: a file of SQLite, or a database of a private PostgreSQL."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from lab.cluster import Cluster
from retour_policy.config.load import load
from retour_policy.store import key_ring_mark, migrate
from retour_policy.store.database import open_store
from retour_policy.tokens.keyring import KeyRingFile

_current: Cluster | None = None
_made: list[str] = []


@contextlib.contextmanager
def on(cluster: Cluster) -> Iterator[None]:
    """Inside, all stores that the lab makes are databases of this cluster; they are dropped at the end."""
    global _current
    _current, before = cluster, len(_made)
    try:
        yield
    finally:
        _current = None
        for name in _made[before:]:
            cluster.drop(name)
        del _made[before:]


def new_url(folder: Path) -> str:
    """The URL of a new store that belongs to a folder: a file in it that is not there yet, or a database."""
    if _current is None:
        return f"sqlite:///{folder}/retour.db"
    name = _current.new_database()
    _made.append(name)
    return _current.url(name)


def move(config: Path) -> None:
    """Give an installation that has recorded nothing yet a store of the kind that is in use, in its configuration."""
    if _current is None:
        return
    old, new = load(config).store.url, new_url(config.parent)
    text = config.read_text()
    assert f'"{old}"' in text, old
    config.write_text(text.replace(f'"{old}"', f'"{new}"'))
    settings, store = load(config), open_store(new, check=False)
    migrate.upgrade(store)
    ring = KeyRingFile(settings.tokens.keyring)
    key_ring_mark.bind(store, ring.address_secret, str(ring.path))
    store.close()
