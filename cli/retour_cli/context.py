"""Context: the configuration, the key ring and the store, opened when a command first asks for them.

Run by root, a command becomes their owner before it opens the key ring, the store or what the configuration names: what
only root can read, such as a list to import, is to be opened before that.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource
from sqlalchemy import Connection

from retour_bounces import Rules
from retour_cli import services_user
from retour_cli.output import say
from retour_cli.privileges import become, become_owner, find_owner
from retour_policy import files
from retour_policy.address import is_address
from retour_policy.clock import Clock, system_clock
from retour_policy.config import load
from retour_policy.config.logo import load_logo
from retour_policy.config.model import Config, Stream
from retour_policy.errors import InputError
from retour_policy.ledger.ledger import Ledger
from retour_policy.ledger.policy_versions import Policy, put_in_force
from retour_policy.outbox.announcer import Announcer
from retour_policy.store import key_ring_mark
from retour_policy.store.database import Store, open_store
from retour_policy.store.location import file_of
from retour_policy.store.lock import Holder, LongWait
from retour_policy.store.writer import Writer
from retour_policy.tokens.keyring import KeyRingFile

HANDED_OVER = Path("/etc/retour/keys.toml")  # by LoadCredential= in the units
STORE_TIMEOUT_MS = 20_000  # that a command waits for the store
T = TypeVar("T")


class Context:
    """What the commands need of one installation, each opened when it is first asked for."""

    def __init__(self, path: Path, clock: Clock = system_clock) -> None:
        self.path = path
        self.clock = clock
        self.digests: dict[str, str] = {}
        """Of the files that were read, by their paths."""
        self._ring_of_root: KeyRingFile | None = None
        self.on_long_wait: LongWait = _say_who_holds_the_store
        self.on_store_change: Callable[[str], Callable[[str], None]] | None = None
        """For a service, which waits for a server that is away: what tells of that, of a store by its name."""

    @cached_property
    def config(self) -> Config:
        """The configuration. Raises `ConfigError`."""
        self._note(self.path)
        return load.load(self.path)

    @cached_property
    def ring(self) -> KeyRingFile:
        """The key ring. Raises `ConfigError`."""
        self.become_owner()
        return self._ring_of_root or load.load_keyring(self.path, self.config)

    @property
    def ring_is_roots(self) -> bool:
        """Whether this process is root's, and the key ring too: nobody else can change it, or say which one it is."""
        path = self.config.tokens.keyring
        return os.geteuid() == 0 and path.exists() and find_owner([path, self.path.absolute()]) is None

    @cached_property
    def rules(self) -> Rules:
        """The rules for reading returned mail. Raises `ConfigError`."""
        self.become_owner()
        if self.config.lmtpd.rules:
            self._note(self.config.lmtpd.rules)
        return load.load_rules(self.path, self.config)

    @cached_property
    def logo(self) -> bytes | None:
        """The picture for the pages of the web service. Raises `ConfigError`."""
        self.become_owner()
        if self.config.web and self.config.web.logo:
            self._note(self.config.web.logo)
        return load_logo(self.path, self.config)

    @cached_property
    def store(self) -> Store:
        """The store, checked, and of this key ring. Raises `ConfigError`, `StoreRefused`, `StoreUnavailable`."""
        store = self.store_of_any_ring
        key_ring_mark.bind(store, self.ring.address_secret, str(self.ring.path))
        return store

    @cached_property
    def store_of_any_ring(self) -> Store:
        """The store, checked, whatever key ring belongs to it. Raises as `store` does."""
        return self.open_store(check=True)

    def open_store(self, *, check: bool) -> Store:
        """A store of its own, for a command that does not want it checked. Raises as `store` does."""
        self.become_owner()
        store = open_store(self.config.store.url, file=str(self.path), check=False)
        store.on_long_wait = self.on_long_wait
        if self.on_store_change:
            store.on_change = self.on_store_change(store.name)
            store.is_patient = file_of(self.config.store.url) is None
        if check:
            store.check()
        return store

    def become_owner(self) -> None:
        """As root, become whoever owns the database, the key ring, the configuration or a folder that they are in.

        A key ring that is root's is read before that. Raises `ConfigError`.
        """
        self._read_roots_ring()
        become_owner(self._owners_files)

    def become_services_user(self, name: str | None = None) -> None:
        """As root, become the user whom the services run as: the one named, that of their units, or the owner.

        A key ring that is root's is read before that. Raises `ConfigError`.
        """
        if os.geteuid() != 0:
            return
        self._read_roots_ring()
        path = self.path.absolute()
        user = services_user.named(name, path) if name else services_user.find(path, self._owners_files)
        if user:
            become(user)

    @property
    def ring_is_handed_over(self) -> bool:
        """Whether the services need not read the key ring themselves: it is root's, where the units take it from."""
        return self._ring_of_root is not None and self._ring_of_root.path == HANDED_OVER

    def _read_roots_ring(self) -> None:
        if self._ring_of_root is None and self.ring_is_roots and find_owner(self._owners_files):
            self._ring_of_root = load.load_keyring(self.path, self.config)

    @property
    def _owners_files(self) -> list[Path]:
        database = file_of(self.config.store.url)
        return [*([database] if database else []), self.config.tokens.keyring, self.path.absolute()]

    @cached_property
    def policy(self) -> Policy:
        """The policy that the configuration states."""
        return Policy.of(self.config)

    @cached_property
    def ledger(self) -> Ledger:
        """A ledger that judges by the configuration. Raises `StoreUnavailable`."""
        policy, now = self.policy, self.clock()
        number = self.write(lambda connection: put_in_force(connection, policy, now))
        return Ledger(policy, number, announcer=Announcer.of(self.config))

    def key(self, address: str) -> bytes:
        """The store's key for an address. Raises `InputError` if it is not one."""
        if not is_address(address):
            raise InputError(f"{address!r} is not an e-mail address")
        return self.ring.address_key(address)

    def stream(self, name: str) -> Stream:
        """A stream by its name. Raises `InputError`."""
        stream = self.config.stream_named(name)
        if stream is None:
            names = ", ".join(stream.name for stream in self.config.stream) or "none"
            raise InputError(f"{self.path}: no stream {name!r}; the streams are: {names}")
        return stream

    def write(self, work: Callable[[Connection], T]) -> T:
        """Do `work` in one durable transaction. Raises `StoreUnavailable` if others hold the store too long."""
        return self._writer.run(work, STORE_TIMEOUT_MS)

    def _note(self, path: Path) -> None:
        """Before it is read: what changes meanwhile is noticed later."""
        self.digests[str(path.absolute())] = files.digest(path)

    @cached_property
    def _writer(self) -> Writer:
        return Writer(self.store)


def _say_who_holds_the_store(holder: Holder | None) -> None:
    say(f"retour: waiting for the database; {holder or 'another process'} is writing to it", err=True)


def default_path() -> Path:
    """$RETOUR_CONFIG, or the default path."""
    return Path(load.DEFAULT_PATH)


def _config_path(config: Path) -> Path:
    """The path after the command, else the one before it, else that of the environment or the default."""
    command = click.get_current_context()
    if command.get_parameter_source("config") is ParameterSource.COMMANDLINE:
        return config
    return Path(command.find_root().params.get("config") or config)


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the option --config, and a `Context` as its first argument."""

    def with_context(config: Path, *args: Any, **named: Any) -> Any:
        return command(Context(_config_path(config)), *args, **named)

    with_context.__doc__ = command.__doc__
    with_context.__name__ = command.__name__
    with_context.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    return click.option(
        "--config",
        type=click.Path(path_type=Path, readable=False),  # `load` reports that, with its own exit status
        envvar="RETOUR_CONFIG",
        default=default_path,
        show_default=load.DEFAULT_PATH,
        help="The configuration file (or $RETOUR_CONFIG).",
    )(with_context)
