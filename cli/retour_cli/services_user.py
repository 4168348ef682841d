"""Services' user: whom the services run as, by their units, and without units by whose the files are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from retour_cli.privileges import Owner, find_owner
from retour_policy.config import load
from retour_policy.errors import ConfigError, Problem

UNIT = "retour-lmtpd.service"
UNITS = tuple(Path(path) for path in ("/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system"))
"""Where units and their drop-ins lie, the most important first (systemd.unit(5))."""


def find(config: Path, files: Sequence[Path], units: Sequence[Path] = UNITS) -> Owner | None:
    """The user of the units, for the configuration that they read; else the owner of `files`, if it is not root.

    Raises `ConfigError` if the units name a user who does not exist.
    """
    name = unit_user(units) if str(config) == load.DEFAULT_PATH else None
    return named(name, config) if name else find_owner(files)


def named(name: str, place: Path) -> Owner:
    """The user of that name or number. Raises `ConfigError` if there is none."""
    if name.isdecimal():
        return Owner(int(name), int(name), place)
    try:
        return Owner.named(name, place)
    except KeyError:
        text = f"there is no user {name}, whom the services run as; run: systemd-sysusers"
        raise ConfigError(Problem(str(place), "", text)) from None


def unit_user(folders: Sequence[Path] = UNITS) -> str | None:
    """The user that the unit names, with its drop-ins; None if there is no unit, or none in it."""
    unit = next((folder / UNIT for folder in folders if (folder / UNIT).is_file()), None)
    if unit is None:
        return None
    drop_ins = {path.name: path for folder in reversed(folders) for path in (folder / f"{UNIT}.d").glob("*.conf")}
    found = None
    for path in (unit, *(drop_ins[name] for name in sorted(drop_ins))):
        for line in path.read_text("utf-8", "replace").splitlines():
            key, equals, value = line.partition("=")
            found = value.strip() or None if equals and key.strip() == "User" else found
    return found
