"""Init: writes a configuration, a key ring and a database to begin with; never overwrites anything."""

from __future__ import annotations

import contextlib
import grp
import json
import os
import pwd
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path

import click

from retour_cli.output import json_option, print_json, say
from retour_policy.address import domain_ascii, is_domain
from retour_policy.clock import system_clock
from retour_policy.config.load import parse
from retour_policy.config.model import Config
from retour_policy.errors import InputError
from retour_policy.store import key_ring_mark, migrate
from retour_policy.store.database import open_store
from retour_policy.tokens import keyring

SYSTEM = Path("/etc/retour")
USER = "retour"
SPOOL = Path("/var/lib/retour/spool")


@dataclass(frozen=True)
class Places:
    """The paths of everything that init writes."""

    config: Path
    keyring: Path
    database: Path
    sockets: Path
    spool: Path

    @classmethod
    def below(cls, folder: Path) -> Places:
        """The system's paths for /etc/retour; for another folder, everything in it."""
        if folder == SYSTEM:
            sockets = Path("/var/spool/postfix/retour")
            return cls(folder / "retour.toml", folder / "keys.toml", Path("/var/lib/retour/retour.db"), sockets, SPOOL)
        return cls(
            folder / "retour.toml", folder / "keys.toml", folder / "retour.db", folder / "sockets", folder / "spool"
        )

    @property
    def lock(self) -> Path:
        """The lock file of the processes that write to the database."""
        return self.database.with_name(self.database.name + ".lock")

    def files(self) -> tuple[Path, ...]:
        """Files that must not exist yet."""
        return (self.config, self.keyring, self.database)


@click.command()
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path),
    default=SYSTEM,
    show_default=True,
    help="The folder to write to.",
)
@click.option("--domain", required=True, help="The domain that returned mail comes to, such as bounces.example.com.")
@click.option("--postmaster", help="Who gets what could not be matched. [default: postmaster@ the domain above it]")
@json_option
def init(folder: Path, domain: str, postmaster: str | None, as_json: bool) -> None:
    """Write a commented retour.toml, a key ring (mode 0600) and a database.

    Existing files are never overwritten. With the default folder the
    database goes to /var/lib/retour and the sockets to /var/spool/postfix;
    with another one everything goes below it.
    """
    places = Places.below(folder.absolute())
    _refuse_overwriting(places)
    name, parent = _domains(domain)
    role = "postmaster" if parent == name else f"postmaster@{parent}"
    text = example(places, name, parent, postmaster or role)
    config = parse(places.config, text)  # so that an error shows before anything is written
    try:
        with _undone_on_failure(places):
            _write(places, text, config)
    except OSError as error:
        raise InputError(f"{error.filename or places.config}: {error.strerror}") from error
    if as_json:
        print_json({name: str(path) for name, path in asdict(places).items()})
        return
    for path in (*places.files(), places.sockets, places.spool):
        say(f"wrote {path}")
    say("Next: edit the streams, then `retour check`, then the units or `retour serve`.")


def _write(places: Places, text: str, config: Config) -> None:
    for wanted in (places.config.parent, places.database.parent, places.sockets, places.spool):
        wanted.mkdir(parents=True, exist_ok=True)
    with places.config.open("x", encoding="utf-8") as file:
        file.write(text)
    ring = keyring.create(system_clock())
    keyring.save(places.keyring, ring)
    store = open_store(config.store.url, file=str(places.config), check=False)
    migrate.upgrade(store)
    key_ring_mark.bind(store, ring.address_secret, str(places.keyring))
    store.close()
    _give_away(places)


@contextlib.contextmanager
def _undone_on_failure(places: Places) -> Iterator[None]:
    """Remove what was written if the rest cannot be, so that init can be tried again."""
    try:
        yield
    except FileExistsError:  # somebody else is writing there
        raise
    except BaseException:
        for path in (*places.files(), *places.database.parent.glob(f"{places.database.name}-*"), places.lock):
            path.unlink(missing_ok=True)
        raise


def example(places: Places, domain: str, parent: str, postmaster: str) -> str:
    """The commented configuration for these places and domains."""
    text = files("retour_policy.config").joinpath("example.toml").read_text("utf-8")
    values = {
        "@DATABASE@": str(places.database),
        "@KEYRING@": str(places.keyring),
        "@SOCKETS@": str(places.sockets),
        "@SPOOL@": str(places.spool),
        "@POSTMASTER@": postmaster,
        "@DOMAIN@": domain,
        "@PARENT@": parent,
    }
    escaped = {name: json.dumps(value, ensure_ascii=False)[1:-1] for name, value in values.items()}  # as TOML does
    return re.sub("|".join(values), lambda found: escaped[found[0]], text)


def _refuse_overwriting(places: Places) -> None:
    there = [str(path) for path in places.files() if os.path.lexists(path)]
    if there:
        raise InputError(f"{', '.join(there)}: already exists; init overwrites nothing")


def _domains(text: str) -> tuple[str, str]:
    domain = domain_ascii(text)
    if not is_domain(domain):
        raise InputError(f"{text!r} is not a domain; for example bounces.example.com")
    _, _, parent = domain.partition(".")
    return domain, parent if is_domain(parent) else domain


def _give_away(places: Places) -> None:
    """As root, and if the service's user exists, give them everything; Postfix may enter the sockets' folder."""
    with contextlib.suppress(KeyError, PermissionError):
        group = grp.getgrnam("postfix").gr_gid
        os.chown(places.sockets, -1, group)
        places.sockets.chmod(0o2750)
    with contextlib.suppress(KeyError, PermissionError):
        pwd.getpwnam(USER)
        made = (*places.files(), *places.database.parent.glob(f"{places.database.name}*"), places.sockets, places.spool)
        for path in (*made, places.database.parent):
            shutil.chown(path, USER)
