"""A key ring that is root's alone: systemd hands it to the services, and root's commands read it before the rest."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.process import workspace
from lab.second_user import GID, UID, as_root, as_second_user
from retour_policy.errors import ConfigError
from retour_policy.files import NO_CREDENTIAL
from retour_policy.tokens.keyring import KeyRingFile, load


@pytest.fixture
def place(office: Any) -> Any:
    """Configuration, key ring and their folder are root's; the database and its folder are the services' user's."""
    data = office.home / "data"
    data.mkdir()
    office.edit(f"{office.home}/retour.db", f"{data}/retour.db")
    for file in office.home.glob("retour.db*"):
        file.rename(data / file.name)
    for path in (data, *data.iterdir()):
        os.chown(path, UID, GID)
    return office


@pytest.fixture
def credentials() -> Iterator[Path]:
    with workspace() as folder:
        yield folder


def test_roots_commands_use_it_and_the_database_stays_the_services(place: Any) -> None:
    """The command becomes the database's owner and knows the keys all the same."""
    made = as_root("token", "make", "--stream", "news", "--to", "anna@example.net", config=place.config)
    assert made.returncode == 0, made.stderr
    assert {path.stat().st_uid for path in (place.home / "data").iterdir()} == {UID}


def test_root_rotates_it_where_it_is(place: Any) -> None:
    """It stays root's, and what to run is said: the services have a copy from their start."""
    before = load(place.home / "keys.toml")
    rotated = as_root("keys", "rotate", config=place.config)
    assert rotated.returncode == 0 and "systemctl restart retour" in rotated.stdout
    assert len(load(place.home / "keys.toml").keys) == len(before.keys) + 1
    assert (place.home / "keys.toml").stat().st_uid == 0


def test_who_owns_the_configuration_does_not_choose_roots_ring(place: Any) -> None:
    """Else they could have root rotate, or use, any ring of the host."""
    os.chown(place.config, UID, GID)
    rotated = as_root("keys", "rotate", config=place.config)
    assert rotated.returncode == 78 and "keys.toml" in rotated.stderr


def test_a_service_reads_the_copy_that_systemd_hands_over(
    place: Any, credentials: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it may not read the file. The placeholder of the units is none, and an error names the file."""
    copy, ring = credentials / "keys.toml", place.home / "keys.toml"
    copy.write_bytes(ring.read_bytes())
    copy.chmod(0o440)  # as the access list that systemd sets makes it look
    os.chown(copy, UID, GID)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    assert as_second_user(lambda: KeyRingFile(ring).address_secret) == load(ring).address_secret
    copy.write_text(NO_CREDENTIAL)
    assert as_second_user(lambda: problem(ring)) == f"{ring}: cannot be read: Permission denied"


def problem(ring: Path) -> str:
    """What is wrong with it."""
    with pytest.raises(ConfigError) as error:
        load(ring)
    return str(error.value)


def test_a_ring_that_can_be_read_is_read_from_its_place(
    place: Any, credentials: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a running service comes to know of a rotation without a restart."""
    (credentials / "keys.toml").write_text("something else entirely")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    ring = KeyRingFile(place.home / "keys.toml")
    assert as_root("keys", "rotate", config=place.config).returncode == 0
    assert ring.refresh()


def test_without_either_it_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing ring is missing, whatever the folder of credentials says."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="A lost key ring"):
        load(tmp_path / "keys.toml")
