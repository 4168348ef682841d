"""Init: writes a configuration, a key ring and a database to begin with; never overwrites anything."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import shutil
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import click

from retour_policy import keyring, migrate
from retour_policy.address import domain_ascii
from retour_policy.clock import system_clock
from retour_policy.errors import InputError
from retour_policy.load import load
from retour_policy.store import open_store

SYSTEM = Path("/etc/retour")
USER = "retour"
SPOOL = Path("/var/lib/retour/spool")


@dataclass(frozen=True)
class Places:
    """Where everything goes."""

    config: Path
    keyring: Path
    database: Path
    sockets: Path
    spool: Path

    @classmethod
    def below(cls, folder: Path) -> Places:
        """The system's places for /etc/retour; everything in one folder for another."""
        if folder == SYSTEM:
            sockets = Path("/var/spool/postfix/retour")
            return cls(folder / "retour.toml", folder / "keys.toml", Path("/var/lib/retour/retour.db"), sockets, SPOOL)
        return cls(folder / "retour.toml", folder / "keys.toml", folder / "retour.db", folder / "sockets", folder / "spool")

    def files(self) -> tuple[Path, ...]:
        """What must not be there yet."""
        return (self.config, self.keyring, self.database)


@click.command()
@click.option("--dir", "folder", type=click.Path(path_type=Path), default=SYSTEM, show_default=True, help="Where to.")
@click.option("--domain", required=True, help="The domain that returned mail comes to, as bounces.example.com.")
@click.option("--postmaster", help="Who gets what nothing matches (default: postmaster@ the domain above it).")
def init(folder: Path, domain: str, postmaster: str | None) -> None:
    """Write a commented retour.toml, a key ring (mode 0600) and a database.

    Nothing that is there is ever overwritten. With the default folder the
    database goes to /var/lib/retour and the sockets to /var/spool/postfix;
    with another one everything goes below it.
    """
    places = Places.below(folder.absolute())
    _refuse_overwriting(places)
    name, parent = _domains(domain)
    text = example(places, name, parent, postmaster or f"postmaster@{parent}")
    for wanted in (places.config.parent, places.database.parent, places.sockets, places.spool):
        wanted.mkdir(parents=True, exist_ok=True)
    with places.config.open("x", encoding="utf-8") as file:
        file.write(text)
    keyring.save(places.keyring, keyring.create(system_clock()))
    store = open_store(load(places.config).store.url, check=False)
    migrate.upgrade(store)
    store.close()
    _give_away(places)
    for path in (*places.files(), places.sockets):
        click.echo(f"wrote {path}")
    click.echo("Next: edit the streams, then `retour check`, then `retour serve`.")


def example(places: Places, domain: str, parent: str, postmaster: str) -> str:
    """The commented configuration for these places and domains."""
    text = files("retour_policy").joinpath("example.toml").read_text("utf-8")
    values = {
        "@DATABASE@": str(places.database),
        "@KEYRING@": str(places.keyring),
        "@SOCKETS@": str(places.sockets),
        "@SPOOL@": str(places.spool),
        "@POSTMASTER@": postmaster,
        "@DOMAIN@": domain,
        "@PARENT@": parent,
    }
    for name, value in values.items():
        text = text.replace(name, value)
    return text


def _refuse_overwriting(places: Places) -> None:
    there = [str(path) for path in places.files() if path.exists()]
    if there:
        raise InputError(f"{', '.join(there)}: there already; init overwrites nothing")


def _domains(text: str) -> tuple[str, str]:
    domain = domain_ascii(text)
    labels = domain.split(".")
    if len(labels) < 2 or not all(label and label.replace("-", "").isalnum() for label in labels):
        raise InputError(f"{text!r} is not a domain; right would be something like bounces.example.com")
    return domain, ".".join(labels[1:]) if len(labels) > 2 else domain


def _give_away(places: Places) -> None:
    """As root, and where the service's user exists, everything is his; the sockets' folder is Postfix's to enter."""
    with contextlib.suppress(KeyError, PermissionError):
        group = grp.getgrnam("postfix").gr_gid
        os.chown(places.sockets, -1, group)
        places.sockets.chmod(0o2750)
    with contextlib.suppress(KeyError, PermissionError):
        pwd.getpwnam(USER)
        made = (*places.files(), *places.database.parent.glob(f"{places.database.name}*"), places.sockets, places.spool)
        for path in (*made, places.database.parent):
            shutil.chown(path, USER)
