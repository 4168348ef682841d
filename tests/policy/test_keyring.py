"""The key ring: read only when it is safe and whole, changed whole or not at all, and rotated without a gap."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from retour_policy.config.model import Config
from retour_policy.errors import ConfigError
from retour_policy.messages.router import Router
from retour_policy.messages.signer import Signer
from retour_policy.tokens import keyring, token
from retour_policy.tokens.keyring import SLOTS, Key, KeyRing, KeyRingFile
from retour_policy.tokens.token import Forged, KeyToCome, Purpose, TokenError, UnknownKey

NOW = 1_800_000_000_000
STREAM = {"name": "news", "envelope_from": "b-%@bounces.example.com"}
CONFIG = Config.model_validate({"stream": [STREAM]})


def text_of(path: Path, old: str, new: str) -> None:
    """Damage a file."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o601, 0o644, 0o666, 0o777])
def test_a_ring_that_others_can_use_is_refused(ring_file: Path, mode: int) -> None:
    """Anybody who can read the ring can forge bounces; the error says how to fix it."""
    ring_file.chmod(mode)
    with pytest.raises(ConfigError, match=f"others can use it \\(mode 0{mode:o}\\); run: chmod 0600"):
        keyring.load(ring_file)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o660])
def test_a_ring_that_only_owner_and_group_can_use_is_read(ring_file: Path, mode: int, ring: KeyRing) -> None:
    """A group of the services' own may read it."""
    ring_file.chmod(mode)
    assert keyring.load(ring_file) == ring


DAMAGE = {
    "no TOML": ("[[key]]", "[[key]", "cannot be read as a key ring"),
    "no address secret": ("address_secret", "other_secret", "address_secret: is missing"),
    "no key that signs": ('"signing"', '"old"', "exactly one key must be in state signing"),
    "short secret": ('secret = "02', 'secret = "', "64 hexadecimal digits"),
    "no hexadecimal": ('secret = "02', 'secret = "zz', "not a key ring"),
    "number too high": ("number = 2", "number = 32", "between 0 and 31"),
    "number below": ("number = 2", "number = -1", "between 0 and 31"),
    "number twice": ("number = 2", "number = 3", "must differ"),
    "unknown state": ('"old"', '"retired"', "one of next, signing, old"),
    "two that sign": ('"old"', '"signing"', "exactly one key must be in state signing"),
    "two that are next": ('"old"', '"next"', "exactly one in state next"),
    "none that is next": ('"next"', '"old"', "exactly one in state next"),
    "no created": ("created = ", "made = ", "created: is missing"),
    "secret no text": ('secret = "0202', 'secret = 12\nx = "', "not a key ring"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_ring_is_refused(ring_file: Path, case: str) -> None:
    """Each kind of damage gets an error that names the file and what is wrong."""
    old, new, words = DAMAGE[case]
    text_of(ring_file, old, new)
    with pytest.raises(ConfigError, match=words) as caught:
        keyring.load(ring_file)
    assert str(caught.value).startswith(f"{ring_file}:")


def test_what_is_no_file_of_text_is_refused(tmp_path: Path) -> None:
    """A folder, octets that are no text and a missing file get errors of the configuration."""
    (tmp_path / "folder").mkdir(mode=0o700)
    (tmp_path / "octets").write_bytes(b"\xff\xfe")
    (tmp_path / "octets").chmod(0o600)
    for name in ("folder", "octets", "missing"):
        with pytest.raises(ConfigError, match=name):
            keyring.load(tmp_path / name)


def test_a_new_ring_is_saved_for_its_owner_alone(tmp_path: Path) -> None:
    """Mode 0600 from the first octet on, whatever the umask; what is saved is what is loaded."""
    ring = keyring.create(NOW)
    before = os.umask(0)
    try:
        keyring.save(tmp_path / "keys.toml", ring)
    finally:
        os.umask(before)
    assert (tmp_path / "keys.toml").stat().st_mode & 0o777 == 0o600
    assert keyring.load(tmp_path / "keys.toml") == ring
    assert [key.state for key in ring.keys] == ["signing", "next"]
    assert len({ring.address_secret, *(key.secret for key in ring.keys)}) == 3


def test_saving_keeps_owner_and_mode(ring_file: Path, ring: KeyRing) -> None:
    """The service's ring stays the service's when root rotates it."""
    ring_file.chmod(0o640)
    owner = (4242, 4243) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    os.chown(ring_file, *owner)
    keyring.save(ring_file, keyring.rotate(ring, NOW))
    was = ring_file.stat()
    assert (was.st_uid, was.st_gid, was.st_mode & 0o777) == (*owner, 0o640)


def test_saving_is_whole_or_not_at_all(ring_file: Path, ring: KeyRing, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where writing fails half way, the old ring stands as it was, and the next save works."""
    before = ring_file.read_bytes()

    def broken(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken)
        with pytest.raises(OSError, match="No space"):
            keyring.save(ring_file, keyring.rotate(ring, NOW))
    assert ring_file.read_bytes() == before
    keyring.save(ring_file, keyring.rotate(ring, NOW))
    assert keyring.load(ring_file).signing() == 4


def test_saving_changes_the_file_behind_a_link(ring_file: Path, ring: KeyRing, tmp_path: Path) -> None:
    """A ring that is linked from where secrets are kept stays there."""
    (tmp_path / "link").symlink_to(ring_file)
    keyring.save(tmp_path / "link", keyring.rotate(ring, NOW))
    assert (tmp_path / "link").is_symlink() and keyring.load(ring_file).signing() == 4


def test_rotation_moves_each_key_on(ring: KeyRing) -> None:
    """Next signs, signing is old, old stays, a new next is drawn; addresses keep their secret."""
    after = keyring.rotate(ring, NOW)
    assert {key.number: key.state for key in after.keys} == {2: "old", 3: "old", 4: "signing", 5: "next"}
    assert after.address_secret == ring.address_secret
    assert [key.secret for key in after.keys][:3] == [key.secret for key in ring.keys]


def test_rotation_goes_on_for_ever(ring: KeyRing) -> None:
    """With all 32 numbers taken the oldest old key gives way; the two in use never do."""
    for n in range(100):
        after = keyring.rotate(ring, NOW + n * 86_400_000)
        numbers = [key.number for key in after.keys]
        assert len(set(numbers)) == len(numbers) <= SLOTS
        assert after.signing() == next(key.number for key in ring.keys if key.state == "next")
        lost = {key.secret for key in ring.keys} - {key.secret for key in after.keys}
        oldest = min((key.created for key in ring.keys if key.state == "old"), default="")
        assert all(key.state == "old" and key.created == oldest for key in ring.keys if key.secret in lost)
        ring = after
    assert len(ring.keys) == SLOTS


def test_the_ring_knows_which_key_is_to_come(ring: KeyRing) -> None:
    """Its number is that of the key which the next rotation makes, also where all numbers are taken."""
    for n in range(100):
        after = keyring.rotate(ring, NOW + n * 86_400_000)
        assert ring.to_come == next(key.number for key in after.keys if key.state == "next")
        ring = after


@pytest.mark.parametrize("rotations", [0, 1, 40])
def test_of_made_up_tokens_only_those_of_the_key_to_come_are_put_off(ring_file: Path, rotations: int) -> None:
    """Another host may have that key; all others are refused, so that forged mail is not tried again for days."""
    for n in range(rotations):
        keyring.rotate_file(ring_file, NOW + n * 86_400_000)
    file = KeyRingFile(ring_file)
    router = Router(CONFIG, file, lambda: NOW)
    errors = {}
    for number in range(SLOTS):
        keys = (Key(number, "signing", "2026-12-31", b"x" * 32),)
        made_up = token.make(KeyRing(bytes(32), keys), Purpose.BOUNCE, "bounces.example.com", token.draw_id(NOW))
        with pytest.raises(TokenError) as caught:
            router.route(f"b-{made_up}@bounces.example.com")
        errors[number] = caught.type
    to_come = keyring.rotate(file.ring, NOW).keys[-1].number
    assert [number for number, error in errors.items() if error is KeyToCome] == [to_come]


def test_the_next_key_verifies_before_it_signs(ring: KeyRing) -> None:
    """A host that has not rotated yet reads what one that has rotated signs."""
    signed = token.make(keyring.rotate(ring, NOW), Purpose.BOUNCE, "d.example", 1)
    assert token.read(ring, Purpose.BOUNCE, "d.example", signed, now=token.EPOCH, days=30) == 1


def test_an_unknown_key_makes_the_ring_be_read_again(ring_file: Path) -> None:
    """After two rotations elsewhere a process does not know the key, and finds it in the file."""
    here, elsewhere = KeyRingFile(ring_file), KeyRingFile(ring_file)
    for _ in range(2):
        keyring.rotate_file(ring_file, NOW)
    elsewhere.refresh()
    number = token.draw_id(NOW)
    address = Signer(elsewhere, lambda: NOW).envelope_sender(CONFIG.stream[0], number)
    assert here.ring.derived(5, Purpose.BOUNCE) is None
    assert Router(CONFIG, here, lambda: NOW).route(address).send == number
    assert here.ring == elsewhere.ring


def test_a_key_that_nobody_has_stays_unknown(ring_file: Path, ring: KeyRing) -> None:
    """Where the file has not changed or cannot be read, the error says that the key is not there."""
    foreign = replace(ring, keys=(Key(30, "signing", "2026-12-31", b"x" * 32),))
    text = token.make(foreign, Purpose.BOUNCE, "bounces.example.com", token.draw_id(NOW))
    file = KeyRingFile(ring_file)
    router = Router(CONFIG, file, lambda: NOW)
    for damage in (lambda: None, lambda: ring_file.write_text("no ring"), ring_file.unlink):
        damage()
        with pytest.raises(UnknownKey):
            router.route(f"b-{text}@bounces.example.com")
    assert file.ring == ring


def test_a_ring_read_again_by_another_thread_serves_all(ring_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two threads that meet the new key at once only one reads the file; both know the key then."""
    file = KeyRingFile(ring_file)
    for _ in range(2):
        keyring.rotate_file(ring_file, NOW)
    new = keyring.load(ring_file)
    address = f"b-{token.make(new, Purpose.BOUNCE, 'bounces.example.com', token.draw_id(NOW))}@bounces.example.com"

    def beaten_to_it() -> bool:
        file.ring = new
        return False

    monkeypatch.setattr(file, "refresh", beaten_to_it)
    assert Router(CONFIG, file, lambda: NOW).verp(address) is not None


def test_a_key_of_the_same_number_and_another_secret_is_forged(ring_file: Path, ring: KeyRing) -> None:
    """A new ring, instead of a copied one, does not verify."""
    other = replace(ring, keys=tuple(replace(key, secret=b"y" * 32) for key in ring.keys))
    text = token.make(other, Purpose.BOUNCE, "bounces.example.com", token.draw_id(NOW))
    with pytest.raises(Forged):
        Router(CONFIG, KeyRingFile(ring_file), lambda: NOW).route(f"b-{text}@bounces.example.com")


def test_rotations_at_once_follow_each_other(ring_file: Path) -> None:
    """Eight threads rotate: eight rotations, none lost and no ring half written."""
    threads = [threading.Thread(target=keyring.rotate_file, args=(ring_file, NOW)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = keyring.load(ring_file)
    assert after.signing() == 3 + 8 and len(after.keys) == 3 + 8


HOLDER = """
import sys
from pathlib import Path
from retour_policy.config.model import Config
from retour_policy.tokens.keyring import KeyRingFile
from retour_policy.messages.router import Router
from retour_policy.messages.signer import Signer
config = Config.model_validate({"stream": [{"name": "news", "envelope_from": "b-%@bounces.example.com"}]})
ring = KeyRingFile(Path(sys.argv[1]))
signer, router = Signer(ring, lambda: 1_800_000_000_000), Router(config, ring, lambda: 1_800_000_000_000)
for line in sys.stdin:
    word, _, text = line.strip().partition(" ")
    if word == "sign":
        print(signer.envelope_sender(config.stream[0], int(text)), flush=True)
    else:
        print(router.route(text).send, flush=True)
"""


def test_rotation_reaches_a_process_that_holds_the_old_ring(ring_file: Path, tmp_path: Path) -> None:
    """`retour keys rotate` while a process runs: what either signs verifies in both, before and after."""
    config = tmp_path / "retour.toml"
    config.write_text(f'tokens.keyring = "{ring_file}"\n')
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, ring_file], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def ask(line: str) -> str:
        assert holder.stdin and holder.stdout
        holder.stdin.write(line + "\n")
        holder.stdin.flush()
        return holder.stdout.readline().strip()

    with holder:
        number = token.draw_id(NOW)
        of_old_ring = ask(f"sign {number}")
        for rotation in range(1, 4):
            command = [sys.executable, "-m", "retour_cli", "keys", "rotate", "--config", config]
            subprocess.run(command, check=True, capture_output=True)
            fresh = KeyRingFile(ring_file)
            assert fresh.ring.signing() == 3 + rotation
            of_new_ring = Signer(fresh, lambda: NOW).envelope_sender(CONFIG.stream[0], number + rotation)
            assert ask(f"read {of_new_ring}") == str(number + rotation)
            here = Router(CONFIG, fresh, lambda: NOW)
            assert here.route(of_old_ring).send == number
            assert here.route(ask(f"sign {number + 10}")).send == number + 10
        assert holder.stdin
        holder.stdin.close()
    assert holder.returncode == 0
