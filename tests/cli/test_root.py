"""Run by root, Retour works as the user whose files these are: whatever they put there, root touches nothing for it."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from lab.forked import forked
from lab.second_user import (
    GID,
    UID,
    as_root,
    as_second_user,
    can_read_the_code,
    give,
    give_sockets_to_postfix,
    retour_as_root,
)
from lab.site import retour
from lab.wait import PATIENCE
from retour_cli import privileges
from retour_cli.commands import init as init_module
from retour_cli.privileges import Owner, become, find_owner
from retour_policy import files
from retour_policy.outbox.spool import Spool, new_name

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be led to do what others cannot")
needs_readable_code = pytest.mark.skipif(
    os.geteuid() == 0 and not can_read_the_code(), reason="this clone lies where no other user can read the migrations"
)
A = "anna@example.net"
COMMANDS: list[list[str]] = [
    ["db", "upgrade"], ["db", "status"], ["check"], ["suppressions", "add", A], ["events"], ["address", "show", A],
    ["erase", A, "--yes"], ["purge"], ["rebuild"], ["keys", "create"], ["keys", "rotate"],
    ["outbox", "drop", "--all", "--failed"], ["token", "make", "--stream", "news", "--to", A],
]  # fmt: skip


@pytest.fixture(autouse=True)
def all_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """So it does not matter here whether the second user could read the program."""
    monkeypatch.setattr(privileges, "PROGRAM", ())


class Trap:
    """An installation of the second user's, and files of root's beside it that they would like to have changed."""

    def __init__(self, office: Any, folder: Path) -> None:
        self.office, self.home = office, office.home
        self.roots = folder / "roots"
        self.roots.mkdir()
        self.victim = self.roots / "victim"
        shutil.copy(self.home / "keys.toml", self.victim)  # a key ring, or `keys rotate` would refuse it anyway
        self.nowhere = self.roots / "nowhere"
        give(self.home)
        self.before = self.state()

    def state(self) -> dict[str, tuple[int, int, int, bytes]]:
        """All of root's: names, owners, modes, contents."""
        return {
            str(path): (was.st_uid, was.st_gid, stat.S_IMODE(was.st_mode), path.read_bytes() if path.is_file() else b"")
            for path in (self.roots, *self.roots.rglob("*"))
            for was in [path.lstat()]
        }

    def link(self, name: str, target: Path) -> None:
        """What the second user does: a symbolic link in their own folder, in the place of what was there."""

        def work() -> None:
            path = self.home / name
            if os.path.lexists(path):
                path.rename(path.with_name(path.name + ".away"))
            path.symlink_to(target)

        as_second_user(work)

    def sprung(self) -> None:
        """Root runs every command. Nothing of root's may have changed, and nothing in the folder may be root's."""
        before = self.roots_at_home()
        for words in COMMANDS:
            as_root(*words, config=self.office.config)
            assert self.state() == self.before, words
        assert self.roots_at_home() == before

    def roots_at_home(self) -> set[Path]:
        return {path for path in self.home.rglob("*") if path.lstat().st_uid == 0}


@pytest.fixture
def trap(office: Any, folder: Path) -> Trap:
    return Trap(office, folder)


NAMES = ["retour.db", "retour.db.lock", "retour.db-wal", "retour.db-shm", "retour.db-journal"]


@pytest.mark.parametrize("target", ["victim", "nowhere"])
@pytest.mark.parametrize("name", [*NAMES, "keys.toml", "keys.toml.new", "spool", "spool/ab", "sockets"])
def test_a_link_leads_root_nowhere(trap: Trap, name: str, target: str) -> None:
    """In the place of any file or folder that Retour uses: root changes, gives away and creates nothing behind it."""
    trap.link(name, getattr(trap, target))
    trap.sprung()


def test_a_folder_that_became_a_link_leads_root_nowhere(trap: Trap) -> None:
    """The database's folder is root's, but lies in one of the second user's, who can move it away."""
    inner = trap.home / "inner"
    shutil.copytree(trap.home, inner, ignore=shutil.ignore_patterns("inner"))
    text = trap.office.config.read_text()
    trap.office.config.write_text(text.replace(f"{trap.home}/retour.db", f"{inner}/retour.db"))
    trap.link("inner", trap.roots)
    trap.sprung()


@needs_readable_code
@pytest.mark.parametrize("name", ["retour.toml", ""])
def test_who_owns_the_configuration_cannot_choose_for_root(trap: Trap, name: str) -> None:
    """They name a database in a folder of root's: none is made there. The file's owner, or its folder's alone."""
    trap.office.edit(f"{trap.home}/retour.db", f"{trap.roots}/cron.db")
    trap.office.edit(f"{trap.home}/keys.toml", f"{trap.roots}/victim")
    for path in (trap.home, *trap.home.rglob("*")):
        os.chown(path, 0, 0)
    os.chown(trap.home / name, UID, GID)
    assert as_root("db", "upgrade", config=trap.office.config).returncode == 75
    assert as_root("keys", "rotate", config=trap.office.config).returncode == 78
    assert trap.state() == trap.before


@needs_readable_code
def test_init_writes_as_the_folders_owner(trap: Trap, folder: Path) -> None:
    """Run by root in a folder of the second user's, with links in it for all that init makes."""
    for name in ("sockets", "spool", ".retour-init", "retour.db.lock"):
        trap.link(name, trap.roots)
    for name in ("retour.toml", "keys.toml", "retour.db"):
        (trap.home / name).unlink()
    as_root("init", "--dir", trap.home, "--domain", "b.example.com")
    assert trap.state() == trap.before
    empty = folder / "empty"
    empty.mkdir()
    give(empty)
    assert as_root("init", "--dir", empty, "--domain", "b.example.com").returncode == 0
    assert {(path.lstat().st_uid, path.lstat().st_gid) for path in (empty, *empty.rglob("*"))} == {(UID, GID)}


def test_a_new_key_ring_is_the_owners(trap: Trap) -> None:
    """Made by root where the old one is lost: the services' user can read it, and nobody else."""
    path = trap.home / "keys.toml"
    path.unlink()
    assert as_root("keys", "create", config=trap.office.config).returncode == 0
    was = path.lstat()
    assert (was.st_uid, was.st_gid, stat.S_IMODE(was.st_mode)) == (UID, GID, 0o600)


def systems_init(folder: Path) -> tuple[int, int]:
    """An init of the system's place, which lies in `folder`, for the user nobody: exit status, and whom root became."""
    system, data = folder / "etc/retour", folder / "lib/retour"
    places = init_module.Places(
        system / "retour.toml", system / "keys.toml", data / "retour.db", folder / "postfix/retour", data / "spool"
    )
    init_module.SYSTEM, init_module.USER = system, "nobody"
    init_module.Places.below = classmethod(lambda *_: places)  # type: ignore[assignment,method-assign]
    return retour("init", "--domain", "b.example.com").returncode, os.geteuid()


def is_nobodys(folder: Path) -> None:
    """What init makes is there, with its owners and modes."""
    system, data, sockets = folder / "etc/retour", folder / "lib/retour", folder / "postfix/retour"
    made = [system, *system.iterdir(), data, *data.iterdir(), sockets]
    assert sorted(path.name for path in made) == sorted(
        [*["retour"] * 3, "retour.toml", "keys.toml", "retour.db", "spool"]
    )
    assert {path.stat().st_uid for path in made} == {Owner.named("nobody", folder).uid}
    assert [stat.S_IMODE(path.stat().st_mode) for path in (system, data, data / "spool", sockets)] == [
        0o750, 0o750, 0o700, 0o2750,
    ]  # fmt: skip
    assert {path.stat().st_uid for path in (system.parent, data.parent, sockets.parent)} == {0}


@needs_readable_code
def test_init_of_the_systems_place_gives_all_to_the_services_user(folder: Path) -> None:
    """With the user `retour`, and no folder there yet: they own all, and Postfix may enter the sockets' folder."""
    assert forked(lambda: systems_init(folder)).value == (0, Owner.named("nobody", folder).uid)
    is_nobodys(folder)


@needs_readable_code
def test_an_init_that_was_killed_while_it_was_root_is_repeated(folder: Path) -> None:
    """Before any folder was made, or given away: the next one makes the rest, and all has its owner and mode."""

    def killed_at(step: int) -> None:
        steps = itertools.count(1)

        def hook(event: str, _: tuple[object, ...]) -> None:
            if event in ("os.mkdir", "os.chmod", "os.chown") and os.geteuid() == 0 and next(steps) == step:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        assert systems_init(folder / str(step))[0] == 0

    for step in itertools.count(1):
        (folder / str(step)).mkdir(mode=0o755)
        status = forked(lambda step=step: killed_at(step)).status  # type: ignore[misc]
        assert status == 0 or forked(lambda step=step: systems_init(folder / str(step))[0]).value == 0  # type: ignore[misc]
        is_nobodys(folder / str(step))
        if status == 0:
            break
    assert step > 10


@pytest.mark.parametrize("service", ["lmtpd", "milter"])
def test_a_service_started_by_root_is_not_root(trap: Trap, service: str) -> None:
    """It becomes the owner of the database before it opens a socket; a link in the place of one stays untouched."""
    for name in ("lmtp.sock", "lookup.sock", "milter.sock"):
        trap.link(f"sockets/{name}", trap.victim)
    done = as_root(service, config=trap.office.config)
    assert done.returncode == 78 and "is there and is not a socket" in done.stderr
    assert trap.state() == trap.before


@pytest.mark.parametrize("service", ["courier", "serve"])
def test_what_a_service_starts_is_not_roots(trap: Trap, service: str) -> None:
    """Hook commands and the services that `serve` starts: the first program begins when all ids are the owner's."""

    def work() -> tuple[tuple[int, ...], tuple[int, ...], list[int], int]:
        user = []

        def hook(event: str, _: tuple[object, ...]) -> None:
            if event in ("subprocess.Popen", "socket.sendto"):
                capabilities = re.search(r"CapPrm:\s*(\w+)", Path("/proc/self/status").read_text())
                user.append((os.getresuid(), os.getresgid(), os.getgroups(), int(capabilities[1], 16)))  # type: ignore[index]
                raise SystemExit

        sys.addaudithook(hook)
        os.environ["NOTIFY_SOCKET"] = "@nobody"  # the courier says that it is ready, to begin with
        with suppress(SystemExit):
            retour_as_root(service, config=trap.office.config)
        return user[0]

    assert forked(work).value == ((UID,) * 3, (GID,) * 3, [], 0)


def test_there_is_no_way_back() -> None:
    """In every thread, also in one that was there before; nor can another process of that user look into this one."""

    def work() -> list[str]:
        go, said = threading.Event(), list[str]()

        def other() -> None:
            go.wait(PATIENCE)
            try:
                os.setuid(0)
                said.append("root again")
            except PermissionError:
                said.append(str(os.getresuid()))

        thread = threading.Thread(target=other)
        thread.start()
        become(Owner(UID, GID, Path("/")))
        go.set()
        thread.join()
        for call in (lambda: os.seteuid(0), lambda: os.setegid(0), lambda: os.setgroups([0])):
            try:
                call()
                said.append("possible")
            except PermissionError:
                pass
        return [*said, str(Path("/proc/self/environ").stat().st_uid)]

    assert forked(work).value == [str((UID, UID, UID)), "0"]  # proc(5): root's, if no other may look


def test_a_user_has_their_groups() -> None:
    """As at a login: those of group(5), and none of root's."""

    def work() -> tuple[list[int], tuple[int, int, int]]:
        become(Owner.named("postfix", Path("/")))
        return sorted(os.getgroups()), os.getresgid()

    name = privileges.pwd.getpwnam("postfix")
    groups, own = forked(work).value or ([], (0, 0, 0))
    assert sorted(groups) == sorted(os.getgrouplist("postfix", name.pw_gid)) and own == (name.pw_gid,) * 3


def test_what_only_root_can_read_is_read_before(trap: Trap) -> None:
    """Lists and configurations that the operator names lie in root's folder: import, simulate and explain read them."""
    listed, box = trap.roots / "list.csv", trap.roots / "old.mbox"
    listed.write_text(f"address\n{A}\n")
    box.write_text("From a@b Thu Jan  1 00:00:00 2026\nSubject: x\nDate: Thu, 1 Jan 2026 00:00:00 +0000\n\nx\n")
    shutil.copy(trap.office.config, other := trap.roots / "other.toml")
    for path in (listed, box, other):
        path.chmod(0o600)
    run: Callable[..., subprocess.CompletedProcess[str]] = lambda *words: as_root(*words, config=trap.office.config)  # noqa: E731
    assert run("suppressions", "import", listed, "--json").stdout == '{"lines": 1, "new": 1}\n'
    assert run("import", box, "--json").returncode == 0
    assert run("simulate", "--with", other).returncode == 0
    assert run("explain", "--policy", box, box).returncode == 0
    assert run("suppressions", "export").stdout.splitlines()[1].startswith(f"{A},")
    assert {path.lstat().st_uid for path in trap.home.rglob("*")} == {UID}


def test_a_list_from_a_pipe_is_imported(office: Any) -> None:
    """It can be read only once, and is read twice: checked, then applied."""
    command = [sys.executable, "-m", "retour_cli", "suppressions", "import", "/dev/stdin", "--json"]
    done = subprocess.run(
        [*command, "--config", office.config], input=f"address\n{A}\n", capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, '{"lines": 1, "new": 1}\n'), done.stderr


def test_check_reads_as_the_services_do(trap: Trap) -> None:
    """What root can read and they cannot stops it: rules, and the configuration itself."""
    give_sockets_to_postfix(trap.home)
    rules = trap.roots / "rules.toml"
    rules.write_text('[[rule]]\nname = "ours"\nreason = "suspend"\nwords = ["shut"]\nexamples = ["550 shut"]\n')
    rules.chmod(0o600)
    trap.office.edit('rules = ""', f'rules = "{rules}"')
    done = as_root("check", config=trap.office.config)
    assert done.returncode == 78
    assert f"lmtpd.rules: {rules}: the services' user {UID} cannot read it" in done.stderr
    rules.chmod(0o644)
    assert as_root("check", config=trap.office.config).returncode == 0
    os.chown(trap.office.config, 0, 0)
    trap.office.config.chmod(0o600)
    done = as_root("check", config=trap.office.config)
    assert f"{trap.office.config}: the services' user {UID} cannot read it" in done.stderr
    assert done.returncode == 78


def test_an_owner_who_cannot_read_the_program_is_told(trap: Trap, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installed in root's home: a sentence, not the traceback of a module that is not found."""
    trap.roots.chmod(0o700)
    monkeypatch.setattr(privileges, "PROGRAM", (trap.victim,))
    done = forked(lambda: retour("events", config=trap.office.config)).value
    assert done is not None and done.returncode == 78
    assert f"{trap.victim}: user {UID}, who owns {trap.home}/retour.db, cannot read it; install" in done.stderr


def test_rules_that_the_owner_names_are_read_as_the_owner(trap: Trap) -> None:
    """`explain --policy` opens a file of root's that is on its command line, and none that the configuration names."""
    rules, message = trap.roots / "rules.toml", trap.roots / "returned.eml"
    rules.write_text('[[rule]]\nname = "$6$secret"\n')
    message.write_text("Subject: x\n\nx\n")
    for path in (rules, message):
        path.chmod(0o600)
    trap.office.edit('rules = ""', f'rules = "{rules}"')
    done = as_root("explain", "--policy", message, config=trap.office.config)
    assert done.returncode == 78 and "$6$" not in done.stderr
    assert f"lmtpd.rules: {rules}: Permission denied" in done.stderr
    rules.write_text('[[rule]]\nname = "ours"\nreason = "suspend"\nwords = ["shut"]\nexamples = ["550 shut"]\n')
    done = as_root("explain", "--policy", "--rules", rules, message, config=trap.office.config)
    assert done.returncode == 0, done.stderr


def test_roots_own_stay_roots(office: Any) -> None:
    """Where nobody but root can change the way to any file, root stays root."""
    assert find_owner([office.home / "retour.db", office.config]) is None
    assert forked(lambda: (office("events", status=1), os.geteuid())[1]).value == 0


@pytest.mark.parametrize("what", ["part", "copy"])
def test_the_spool_follows_no_link(tmp_path: Path, what: str) -> None:
    """Not even for who owns it: neither to write nor to read nor to remove."""
    spool, outside = Spool(tmp_path / "spool"), tmp_path / "outside"
    outside.mkdir()
    name = new_name(10**12)
    Spool(outside).put(name, b"theirs")
    if what == "part":
        (tmp_path / "spool").mkdir()
        (tmp_path / "spool" / name[11:13]).symlink_to(outside / name[11:13])
        with pytest.raises(OSError):
            spool.put(name[:11] + name[11:13] + "0" * 14 + ".gz", b"ours")
        with pytest.raises(OSError):
            spool.remove(name)
    else:
        (tmp_path / "spool" / name[11:13]).mkdir(parents=True)
        (tmp_path / "spool" / name[11:13] / name).symlink_to(outside / name[11:13] / name)
    with pytest.raises(OSError):
        spool.get(name)
    assert [path.name for path in outside.glob("*/*")] == [name]


@pytest.mark.parametrize("kind", ["link", "link to nothing", "folder", "pipe", "hard link"])
def test_of_what_is_there_no_owner_is_changed(tmp_path: Path, kind: str) -> None:
    """The lock and the database as root finds them: used as they are, or refused; only what is new is given away."""
    (tmp_path / "victim").touch()
    lock = tmp_path / "theirs" / "retour.db.lock"
    lock.parent.mkdir()
    os.chown(lock.parent, UID, GID)
    if kind.startswith("link"):
        lock.symlink_to(tmp_path / ("victim" if kind == "link" else "nowhere"))
    elif kind == "folder":
        lock.mkdir()
    elif kind == "pipe":
        os.mkfifo(lock)
    else:
        os.link(tmp_path / "victim", lock)
    if kind == "hard link":
        os.close(files.open_lock(lock, beside=lock.parent))
    else:
        with pytest.raises(OSError):
            files.open_lock(lock, beside=lock.parent)
        with pytest.raises(OSError):
            files.create_empty(lock, 0o640)
    assert (tmp_path / "victim").stat().st_uid == lock.lstat().st_uid == 0
    assert not (tmp_path / "nowhere").exists()
