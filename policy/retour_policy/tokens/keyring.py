"""Key ring: the secrets that sign tokens and hide addresses, in one file that only Retour may read."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import tomllib
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from retour_policy import files
from retour_policy.address import address_key
from retour_policy.clock import day_text
from retour_policy.errors import ConfigError, Problem
from retour_policy.tokens.token import Purpose

SLOTS = 32
SECRET_OCTETS = 32
LOG_NAME_CHARACTERS = 16  # enough for one in millions of addresses to be alone
MAX_RING_OCTETS = 100_000  # of the file: 32 keys have a tenth of that
STATES = ("next", "signing", "old")
HEADER = """\
# Retour's keys. Anybody who can read this file can forge bounces; keep its mode at 0600.
# All hosts that share a database share this file. `retour keys rotate` changes it.
"""


@dataclass(frozen=True, slots=True)
class Key:
    """One secret. "next" verifies, and signs from the next rotation on; "old" only verifies."""

    number: int
    state: str
    created: str
    secret: bytes


@dataclass(frozen=True)
class KeyRing:
    """All keys, and the secret under which addresses are stored, which is never changed."""

    address_secret: bytes
    keys: tuple[Key, ...]

    def signing(self) -> int:
        """The number of the key that signs."""
        return next(key.number for key in self.keys if key.state == "signing")

    @cached_property
    def to_come(self) -> int:
        """The number of the key that the next rotation makes. Where all are taken, an old key has it still."""
        return _free_number(_shifted(self))

    def derived(self, number: int, purpose: Purpose) -> bytes | None:
        """The key of that number for a purpose (HKDF-SHA256, RFC 5869), or None if the ring lacks it."""
        return next((derive(key.secret, purpose) for key in self.keys if key.number == number), None)


class KeyRingFile:
    """The key ring of a running process, read again when a token names a key that it does not have."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._seen = _identity(files.find_readable(path))
        self.ring = load(path)

    @property
    def address_secret(self) -> bytes:
        """The secret under which addresses are stored; no rotation changes it."""
        return self.ring.address_secret

    def address_key(self, address: str) -> bytes:
        """The 16 octets that stand for `address` in the store."""
        return address_key(self.address_secret, address)

    def log_name(self, address: str) -> str:
        """What stands for `address` in a log without addresses; `retour trace ADDRESS` tells it."""
        return "~" + self.address_key(address).hex()[:LOG_NAME_CHARACTERS]

    def refresh(self) -> bool:
        """Read the file again if it has changed; whether it had.

        A file that cannot be read changes nothing, nor does one with another address secret: it is another ring.
        """
        with self._lock:
            try:
                seen = _identity(files.find_readable(self.path))
                if seen == self._seen:
                    return False
                found, self._seen = load(self.path), seen
            except (ConfigError, OSError):
                return False
            if found.address_secret != self.address_secret:
                return False
            self.ring = found
            return True


@lru_cache(maxsize=SLOTS * len(Purpose))
def derive(secret: bytes, purpose: Purpose) -> bytes:
    """The 32-octet key for one purpose: HKDF-SHA256 without salt, "retour " and the purpose as info (RFC 5869)."""
    extracted = hmac.digest(bytes(32), secret, hashlib.sha256)
    return hmac.digest(extracted, b"retour " + purpose.encode() + b"\x01", hashlib.sha256)


def create(now: int) -> KeyRing:
    """A new ring: one key that signs and one that will after the first rotation."""
    keys = (_new_key(0, "signing", now), _new_key(1, "next", now))
    return KeyRing(secrets.token_bytes(SECRET_OCTETS), keys)


def rotate(ring: KeyRing, now: int) -> KeyRing:
    """The ring after one rotation: "next" signs, the signing key only verifies, and a new "next" is drawn.

    If all 32 slots are taken, the oldest of the old keys is replaced.
    """
    kept = _shifted(ring)
    return replace(ring, keys=(*kept, _new_key(_free_number(kept), "next", now)))


def _shifted(ring: KeyRing) -> list[Key]:
    """The keys after a rotation, without the one that it makes, for which there is a slot."""
    shifted = {"next": "signing", "signing": "old", "old": "old"}
    kept = [replace(key, state=shifted[key.state]) for key in ring.keys]
    if len(kept) == SLOTS:
        kept.remove(min((key for key in kept if key.state == "old"), key=lambda key: key.created))
    return kept


def _free_number(kept: list[Key]) -> int:
    """The first number behind that of the signing key that is not taken; behind the highest comes 0."""
    last = next(key.number for key in kept if key.state == "signing")
    taken = {key.number for key in kept}
    return next(n % SLOTS for n in range(last + 1, last + 1 + SLOTS) if n % SLOTS not in taken)


def load(path: Path) -> KeyRing:
    """The ring in a file. Raises `ConfigError` that names the file and the key that is wrong.

    Where this user may not read it, that is the copy which the service manager has handed over.
    """
    place = files.find_readable(path)
    if place == path:
        _refuse_open_mode(path)
    try:
        data = tomllib.loads(files.read_regular(place, MAX_RING_OCTETS).decode("utf-8"))
    except OSError as error:
        raise ConfigError(Problem(str(path), "", f"cannot be read: {error.strerror}")) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(Problem(str(path), "", f"cannot be read as a key ring: {error}")) from error
    try:
        keys = tuple(_key(entry) for entry in data["key"])
        ring = KeyRing(_secret(data["address_secret"]), keys)
    except KeyError as error:
        raise ConfigError(Problem(str(path), str(error.args[0]), "is missing; Retour wrote one")) from error
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ConfigError(Problem(str(path), "key", f"not a key ring that Retour wrote ({error})")) from error
    _check(path, ring)
    return ring


def create_file(path: Path, now: int) -> KeyRing:
    """Write a new ring, where nothing is. Raises `FileExistsError` if something is there, and other `OSError`s."""
    with files.folder_locked(path.parent):
        if path.is_symlink() or path.exists():
            raise FileExistsError(path)
        ring = create(now)
        save(path, ring)
    return ring


def rotate_file(path: Path, now: int) -> tuple[KeyRing, KeyRing]:
    """Rotate the ring in a file, one process at a time; the ring before and after. Raises `ConfigError`, `OSError`."""
    with files.folder_locked(path.resolve().parent):
        before = load(path)
        after = rotate(before, now)
        save(path, after)
    return before, after


def save(path: Path, ring: KeyRing) -> None:
    """Write the ring whole or not at all: a new file with mode 0600; an existing one keeps its owner and mode."""
    path = path.resolve()  # if it is a symbolic link, its target changes
    lines = [HEADER, f'address_secret = "{ring.address_secret.hex()}"\n']
    for key in ring.keys:
        lines.append(f'\n[[key]]\nnumber = {key.number}\nstate = "{key.state}"\n')
        lines.append(f'created = "{key.created}"\nsecret = "{key.secret.hex()}"\n')
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    files.write_new(fresh, "".join(lines).encode("ascii"), like=path if path.exists() else None)
    fresh.replace(path)
    files.sync_folder(path.parent)


def _identity(path: Path) -> tuple[int, int, int]:
    try:
        was = path.stat()
    except OSError:
        return (0, 0, 0)
    return (was.st_ino, was.st_mtime_ns, was.st_size)


def _refuse_open_mode(path: Path) -> None:
    try:
        mode = files.open_to_others(path)
    except FileNotFoundError as error:
        text = f'{error.strerror}; put back the one that belongs to the database (docs/keeping.md, "A lost key ring")'
        raise ConfigError(Problem(str(path), "", text)) from error
    except OSError as error:
        raise ConfigError(Problem(str(path), "", error.strerror or "cannot be read")) from error
    if mode is not None:
        raise ConfigError(Problem(str(path), "", f"others can use it (mode {mode:04o}); run: chmod 0600 {path}"))


def _new_key(number: int, state: str, now: int) -> Key:
    return Key(number, state, day_text(now), secrets.token_bytes(SECRET_OCTETS))


def _key(entry: dict[str, Any]) -> Key:
    return Key(int(entry["number"]), str(entry["state"]), str(entry["created"]), _secret(entry["secret"]))


def _secret(text: str) -> bytes:
    secret = bytes.fromhex(text)
    if len(secret) != SECRET_OCTETS:
        raise ValueError("a secret must have 64 hexadecimal digits")
    return secret


def _check(path: Path, ring: KeyRing) -> None:
    numbers = [key.number for key in ring.keys]
    wrong = ""
    if len(set(numbers)) != len(numbers) or not all(0 <= number < SLOTS for number in numbers):
        wrong = f"key numbers must differ and lie between 0 and {SLOTS - 1}"
    elif any(key.state not in STATES for key in ring.keys):
        wrong = f"the state of a key is one of {', '.join(STATES)}"
    elif [key.state for key in ring.keys if key.state != "old"] not in (["signing", "next"], ["next", "signing"]):
        wrong = "exactly one key must be in state signing, and exactly one in state next"
    if wrong:
        raise ConfigError(Problem(str(path), "key", wrong))
