"""Init: writes a configuration, a key ring and a database to begin with; never overwrites anything."""

from __future__ import annotations

import contextlib
import grp
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import click
from click.core import ParameterSource

from retour_cli.answers import Answers, doubts, refuse_mailboxes
from retour_cli.draft import Draft
from retour_cli.output import json_option, print_json, say
from retour_cli.postfix.postconf import Programs, read_if_any
from retour_cli.privileges import Owner, become, find_owner
from retour_policy.clock import system_clock
from retour_policy.config.load import parse
from retour_policy.errors import InputError
from retour_policy.files import folder_locked, folder_opened, make_folders, write_new
from retour_policy.store import key_ring_mark, migrate
from retour_policy.store.contents import is_untouched
from retour_policy.store.database import open_store
from retour_policy.store.sqlite import files_beside
from retour_policy.tokens import keyring

SYSTEM = Path("/etc/retour")
USER = "retour"
SPOOL = Path("/var/lib/retour/spool")
SOCKETS_MODE = 0o2750


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
    def are_the_systems(self) -> bool:
        """Whether they are those of a Debian system, rather than all in one folder."""
        return self.config.parent == SYSTEM

    @property
    def folder_mode(self) -> int:
        """Of the folders of configuration and database: where the sockets' folder is below, all must get through."""
        return 0o750 if self.are_the_systems else 0o755

    @property
    def marks(self) -> dict[str, str]:
        """They, by the marks that stand for them in the example of a configuration."""
        return {
            "@DATABASE@": str(self.database),
            "@KEYRING@": str(self.keyring),
            "@SOCKETS@": str(self.sockets),
            "@SPOOL@": str(self.spool),
        }

    def files(self) -> tuple[Path, ...]:
        """The files that init makes."""
        return (self.config, self.keyring, self.database)

    def draft(self) -> Draft:
        """They appear in this order."""
        return Draft((self.database, self.keyring, self.config), {self.database: files_beside(self.database)})


mailboxes_option = click.option(
    "--mailboxes/--no-mailboxes",
    default=None,
    help="The domain has mailboxes too: only mail that carries a token is taken. / It certainly has none.",
)


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
@click.option("--sender", help="The sender of the first stream. [default: newsletter@ the domain above it]")
@mailboxes_option
@json_option
def init(
    folder: Path, domain: str, postmaster: str | None, sender: str | None, mailboxes: bool | None, as_json: bool
) -> None:
    """Write a commented retour.toml, a key ring (mode 0600) and a database.

    Existing files are never overwritten. With the default folder the
    database goes to /var/lib/retour and the sockets to /var/spool/postfix;
    with another one everything goes below it. Run by root, all of it belongs
    to whoever owns that folder, and in the default place to the user retour.

    All mail to the domain is taken for returned mail. One that seems to have
    mailboxes is refused, unless you say whether it has.
    """
    if click.get_current_context().find_root().get_parameter_source("config") is ParameterSource.COMMANDLINE:
        raise InputError("init writes a new configuration: --dir FOLDER says where to, not --config")
    places = Places.below(folder.absolute())
    answers = Answers.of(domain, has_mailboxes=bool(mailboxes), postmaster=postmaster, sender=sender)
    text = answers.configuration(places.marks)
    parse(places.config, text)  # so that an error shows before anything is written
    if mailboxes is None:
        refuse_mailboxes(answers.domain, list(doubts(answers.domain, read_if_any(Programs()), sender)))
    make(places, text)
    if as_json:
        print_json({name: str(path) for name, path in asdict(places).items()})
        return
    for path in (*places.files(), places.sockets, places.spool):
        say(f"wrote {path}")
    say("Next: edit the streams, then `retour check`, then the units or `retour serve`.")


def make(places: Places, text: str) -> None:
    """Make all of it, with `text` as the configuration. As root, become its owner. Raises `InputError` and others."""
    if not places.draft().is_begun():
        _refuse_overwriting(places)
    try:
        _make_folders(places)
        with folder_locked(places.config.parent):
            _write(places, text)
    except OSError as error:
        raise InputError(_refusal(error, places)) from error


def _write(places: Places, text: str) -> None:
    """Make the three files; whenever this is killed, the next init begins anew. Raises `OSError`."""
    draft = places.draft()
    _refuse_removing(places)
    draft.begin()
    try:
        _refuse_overwriting(places)  # now that only one can be at work
        store = open_store(f"sqlite:///{draft.path(places.database)}", file=str(places.config), check=False)
        migrate.upgrade(store)
        ring = keyring.create(system_clock())
        key_ring_mark.bind(store, ring.address_secret, str(places.keyring))
        store.close()
        keyring.save(draft.path(places.keyring), ring)
        write_new(draft.path(places.config), text.encode(), mode=0o640)
        draft.publish()
    except BaseException:
        draft.discard()
        raise


def _make_folders(places: Places) -> None:
    """Make what is missing. As root, then become the user whose folders they are. Raises `OSError`, `ConfigError`."""
    owner = _owner(places) if os.geteuid() == 0 else None
    folders = {places.config.parent: places.folder_mode, places.database.parent: places.folder_mode}
    folders |= {places.sockets: SOCKETS_MODE, places.spool: 0o700}
    if owner:
        _give(owner, folders)
        become(owner)
    with contextlib.ExitStack() as stack:
        _make(folders, stack)


def _owner(places: Places) -> Owner | None:
    """Whose the configuration's folder is; of a system's that has no such folder yet, the services' user, if any."""
    found = find_owner([places.config.parent])
    with contextlib.suppress(KeyError):
        return found or (Owner.named(USER, places.config.parent) if places.are_the_systems else None)
    return None


def _give(owner: Owner, folders: Mapping[Path, int]) -> None:
    """As root, make those folders that nobody else can reach the way to, and give them to their owner.

    One that is there already is given too if nothing else is in it: an init may have been killed before it did that.
    """
    ways = {path: mode for path, mode in folders.items() if find_owner([path]) is None}
    with contextlib.ExitStack() as stack:
        opened = _make(ways, stack)
        for path in ways.keys() - opened.keys():
            if all(inside in folders for inside in path.iterdir()):
                opened[path] = stack.enter_context(folder_opened(path))
        for path in sorted(opened, key=lambda path: -len(path.parts)):  # what is inside another first
            if folders[path] == SOCKETS_MODE:
                _give_to_postfix(opened[path])
            else:
                os.fchown(opened[path], -1, owner.group)
                os.fchmod(opened[path], folders[path])
            os.fchown(opened[path], owner.uid, -1)  # from now on they can change what is in it


def _make(folders: Mapping[Path, int], stack: contextlib.ExitStack) -> dict[Path, int]:
    """Make the folders that are missing; their descriptors."""
    made = [path for path, mode in folders.items() if make_folders(path, mode)]
    opened = {path: stack.enter_context(folder_opened(path)) for path in made}
    for path, descriptor in opened.items():
        if folders[path] == SOCKETS_MODE:
            _give_to_postfix(descriptor)
    return opened


def _give_to_postfix(sockets: int) -> None:
    """Let Postfix enter the folder; its set-group-id bit gives the sockets to Postfix too."""
    try:
        os.fchown(sockets, -1, grp.getgrnam("postfix").gr_gid)
    except (KeyError, PermissionError):
        os.fchmod(sockets, 0o755)  # only root, or who is in that group, can; the services tell when they start
    else:
        os.fchmod(sockets, SOCKETS_MODE)


def _refusal(error: OSError, places: Places) -> str:
    text = f"{error.filename or places.config}: {error.strerror}"
    if isinstance(error, PermissionError):
        text += f"; what init writes belongs to user {os.geteuid()}, who must be able to write there"
    return text


def _refuse_overwriting(places: Places) -> None:
    if there := places.draft().occupied():
        raise InputError(f"{', '.join(map(str, there))}: already exists; init overwrites nothing")


def _refuse_removing(places: Places) -> None:
    """What looks left over may have been in use, if only the configuration was removed since."""
    if places.draft().is_left_over(places.database) and not _is_untouched(places.database):
        there = [str(path) for path in places.files() if os.path.lexists(path)]
        raise InputError(f"{', '.join(there)}: already exists; init overwrites nothing")


def _is_untouched(database: Path) -> bool:
    """Whether nothing was recorded in it yet. Raises `StoreRefused`, `StoreUnavailable`."""
    store = open_store(f"sqlite:///{database}", check=False)
    try:
        with store.reading() as connection:
            return is_untouched(connection)
    finally:
        store.close()
