"""Migrate: brings a database to this version's schema."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.script import ScriptDirectory

from retour_policy.errors import StoreRefused, StoreUnavailable
from retour_policy.store.database import Store
from retour_policy.store.postgresql import lock_for_upgrade


def upgrade(store: Store) -> None:
    """Make the tables, or change older ones; the only long write transaction there is.

    Raises `StoreRefused` for a database that is newer or not Retour's, `StoreUnavailable`.
    """
    found = store.revision() if store.exists() else None
    if found is not None and found not in _known():
        store.check()
        raise StoreRefused(f"{store.name}: its schema {found} is unknown to Retour")
    store.create()
    try:
        with store.writing() as connection:
            lock_for_upgrade(connection)
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except StoreUnavailable as error:
        raise store.understood(error) from error


def newest() -> str | None:
    """The revision that the migrations lead to."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def _known() -> set[str]:
    return {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}


def _config() -> AlembicConfig:
    config = AlembicConfig()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config
