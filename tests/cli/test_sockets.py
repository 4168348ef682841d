"""Sockets: opened where the configuration says, or a clear error that names the file and the key."""

from __future__ import annotations

import contextlib
import gc
import grp
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from lab.forked import forked
from lab.ports import answers, free_port
from lab.wait import PATIENCE
from retour_cli import privileges
from retour_cli.privileges import Owner, become
from retour_cli.services import sockets
from retour_cli.services.sockets import MAX_PATH_OCTETS, OpenSocket, Setting, open_socket
from retour_policy.config.model import SocketsSection
from retour_policy.errors import ConfigError

PLACE = Setting("/etc/retour/retour.toml", "lmtpd.listen")
OURS = SocketsSection(group=grp.getgrgid(os.getgid()).gr_name)


def opened(spec: str, settings: SocketsSection = OURS) -> socket.socket:
    return open_socket(PLACE, spec, settings)


def refused(spec: str, settings: SocketsSection = OURS) -> str:
    """What is said when `spec` cannot be opened, and that no descriptor is left over."""
    gc.collect()  # or what an earlier test has left could go in the meantime
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(ConfigError) as caught:
        opened(spec, settings)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
    assert caught.value.exit_status == 78
    return str(caught.value)


def test_a_unix_socket_answers_and_is_its_groups(folder: Path) -> None:
    """Mode and group as configured, whatever the umask."""
    before = os.umask(0o077)
    try:
        listener = opened(f"unix:{folder}/s", SocketsSection(group="postfix", mode="0660"))
    finally:
        os.umask(before)
    with listener:
        assert answers(folder / "s")
        was = (folder / "s").stat()
        assert (was.st_mode & 0o777, was.st_gid) == (0o660, grp.getgrnam("postfix").gr_gid)
        assert not listener.get_inheritable()


def test_the_longest_path_and_one_octet_more(folder: Path) -> None:
    """107 octets work; with 108 the error tells both numbers."""
    path = folder / ("x" * (MAX_PATH_OCTETS - len(str(folder)) - 1))
    with opened(f"unix:{path}"):
        assert answers(path)
    said = refused(f"unix:{path}x")
    assert said.startswith("/etc/retour/retour.toml:lmtpd.listen: the path ")
    assert "has 108 octets; a socket's may have 107" in said
    assert "octets" in refused(f"unix:{folder}/{'ü' * 60}")


def test_a_missing_folder(folder: Path) -> None:
    """The error says what to run."""
    said = refused(f"unix:{folder}/none/s")
    assert f"there is no folder {folder}/none; run: install -d -m 2750 -o " in said
    assert said.endswith(f" -g {OURS.group} {folder}/none")


def test_a_socket_in_use(folder: Path) -> None:
    """One that somebody answers on is not taken away."""
    with opened(f"unix:{folder}/s"):
        assert "is in use: another process listens there; is Retour running already?" in refused(f"unix:{folder}/s")
        assert answers(folder / "s")


def test_a_stale_socket_is_replaced(folder: Path) -> None:
    """What a killed process left behind is in nobody's way."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(folder / "s"))
    with opened(f"unix:{folder}/s"):
        assert answers(folder / "s")


def test_of_several_that_start_at_once_one_listens(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None takes away the socket of one that is just opening it: a stale one is left, and four want its place."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(folder / "s"))
    between = threading.Barrier(4, timeout=0.5)
    real = sockets._give_to_group

    def slowly(*args: object) -> None:
        with contextlib.suppress(threading.BrokenBarrierError):
            between.wait()  # all come here at once, or nobody else does
        real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(sockets, "_give_to_group", slowly)
    winners: list[socket.socket] = []
    refusals: list[str] = []

    def start() -> None:
        try:
            winners.append(opened(f"unix:{folder}/s"))
        except ConfigError as error:
            refusals.append(str(error))

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(winners) == 1 and len(refusals) == 3 and all("is in use" in said for said in refusals)
    assert answers(folder / "s")
    winners[0].close()


@pytest.mark.parametrize("kind", ["file", "folder", "link", "link to nothing"])
def test_what_is_no_socket_stays(folder: Path, kind: str) -> None:
    """Anything else at that path is not removed."""
    path = folder / "s"
    if kind == "file":
        path.write_text("mine")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(folder / ("other" if kind == "link" else "nothing"))
        (folder / "other").write_text("mine")
    assert "is there and is not a socket; name another path or remove it" in refused(f"unix:{path}")
    assert os.path.lexists(path)


def test_no_such_group(folder: Path) -> None:
    """The error names the key of the group, and the socket does not stay behind."""
    said = refused(f"unix:{folder}/s", SocketsSection(group="no-such-group"))
    assert said == "/etc/retour/retour.toml:sockets.group: there is no group 'no-such-group' on this host"
    assert list(folder.iterdir()) == []


def test_a_group_that_this_user_is_not_in(folder: Path) -> None:
    """An unprivileged service is told how to be let in."""
    if os.geteuid() != 0:
        return
    folder.chmod(0o777)
    code = f"""
import os
from retour_cli.services.sockets import Setting, open_socket
from retour_policy.config.model import SocketsSection
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    open_socket(Setting("retour.toml", "x"), "unix:{folder}/s", SocketsSection(group="postfix"))
except Exception as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.startswith("retour.toml:sockets.group: ") and "install -d -m 2750 -o nobody -g postfix " in said
    assert list(folder.iterdir()) == []


def test_a_folder_without_the_right_to_write(folder: Path) -> None:
    """The system's words, with the path."""
    if os.geteuid() != 0:
        return
    code = f"""
import os
from retour_cli.services.sockets import Setting, open_socket
from retour_policy.config.model import SocketsSection
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    open_socket(Setting("retour.toml", "x"), "unix:{folder}/s", SocketsSection())
except Exception as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == f"retour.toml:x: cannot listen on {folder}/s: Permission denied\n"


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "::1", "localhost"])
def test_a_tcp_socket_answers(host: str) -> None:
    """IPv4, IPv6 with and without brackets, and names."""
    port = free_port()
    if ":" in host and not Path("/proc/net/if_inet6").read_text().strip():
        return  # a machine without IPv6
    with opened(f"inet:{port}@{host}") as listener, closing(socket.socket(listener.family)) as client:
        client.connect(listener.getsockname())


def test_tcp_errors() -> None:
    """In use, no address of this machine, no such host: told with port and host, and nothing leaks."""
    with opened(f"inet:{(port := free_port())}@127.0.0.1"):
        assert f"cannot listen on port {port} of 127.0.0.1: Address already in use" in refused(f"inet:{port}@127.0.0.1")
    assert "Cannot assign requested address" in refused(f"inet:{port}@192.0.2.1")
    assert "cannot listen on port" in refused(f"inet:{port}@no..such..host")


def test_a_socket_is_removed_by_who_opened_it(folder: Path) -> None:
    """Not when another process has put its own there since; and removing twice is no error."""
    one = OpenSocket(PLACE, f"unix:{folder}/s", OURS)
    (folder / "s").unlink()
    with opened(f"unix:{folder}/s"), one.listener:
        one.remove()
        assert answers(folder / "s")
    (folder / "s").unlink()
    with (again := OpenSocket(PLACE, f"unix:{folder}/s", OURS)).listener:
        again.remove()
        again.remove()
    assert list(folder.iterdir()) == []


def test_a_path_that_is_gone_is_made_again(folder: Path) -> None:
    """Only then: neither while it is there, nor where another listens by now. What prevents it is logged once."""
    (folder / "in").mkdir()
    one = OpenSocket(PLACE, f"unix:{folder}/in/s", OURS)
    assert one.renew() is None
    shutil.rmtree(folder / "in")
    with capture_logs() as logs:
        assert one.renew() is one.renew() is None
    assert [(entry["event"], entry["problem"].count("install -d")) for entry in logs] == [
        ("socket is gone, and cannot be opened again", 1)
    ]
    (folder / "in").mkdir()
    with opened(f"unix:{folder}/in/s"):
        assert one.renew() is None
    (folder / "in/s").unlink()
    one.listener.close()
    new = one.renew()
    assert new is one.listener and answers(folder / "in/s")
    new.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change another's file")
@pytest.mark.parametrize("by", ["link", "another's socket"])
def test_a_socket_that_was_replaced_while_it_was_opened_is_not_given_away(
    folder: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """Who may write to the folder puts a link to a file of root's there, between bind(2) and chmod(2)."""
    victim = folder / "victim"
    victim.touch(0o600)
    real = sockets._give_to_group

    def replaced(setting: Setting, path: Path, settings: SocketsSection) -> None:
        path.unlink()
        if by == "link":
            path.symlink_to(victim)
        else:
            with socket.socket(socket.AF_UNIX) as other:
                other.bind(str(path))
            os.chown(path, 4242, 4242)
        real(setting, path, settings)

    monkeypatch.setattr(sockets, "_give_to_group", replaced)
    assert "cannot listen on" in refused(f"unix:{folder}/s", SocketsSection(group="postfix", mode="0666"))
    was = victim.stat()
    assert (was.st_gid, was.st_mode & 0o777) == (0, 0o600)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_socket_of_who_was_root(folder: Path) -> None:
    """A process that gave up root can still set its own sockets' mode and group."""
    folder.chmod(0o777)

    def work() -> int:
        become(Owner.named("postfix", folder))
        opened(f"unix:{folder}/s", SocketsSection(group="postfix", mode="0640"))
        return (folder / "s").stat().st_mode & 0o777

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(privileges, "PROGRAM", ())
        assert forked(work).value == 0o640


@contextmanager
def handed_over(monkeypatch: pytest.MonkeyPatch, names: str, count: int, pid: int | None = None) -> Iterator[None]:
    """The environment that systemd gives, and what descriptor 3 and on are."""
    monkeypatch.setenv("LISTEN_PID", str(pid or os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", str(count))
    monkeypatch.setenv("LISTEN_FDNAMES", names)
    yield


def test_a_socket_that_did_not_come_from_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Started without socket activation, for another process, or under another name: the manual page is named."""
    assert "no socket named 'lmtp' came from systemd; see FileDescriptorName=" in refused("fd:lmtp")
    with handed_over(monkeypatch, "other", 1):
        assert "no socket named 'lmtp'" in refused("fd:lmtp")
    with handed_over(monkeypatch, "lmtp", 1, pid=1):
        assert "no socket named 'lmtp'" in refused("fd:lmtp")


def test_two_sockets_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of them would never be answered: the error says so instead of a client that waits."""
    with handed_over(monkeypatch, "lmtp:other:lmtp", 3):
        assert "2 sockets named 'lmtp' came from systemd; give each a name" in refused("fd:lmtp")


ACTIVATED = """
import sys
from retour_cli.services.sockets import Setting, open_socket
from retour_policy.config.model import SocketsSection
for name in sys.argv[1:]:
    listener = open_socket(Setting("retour.toml", "lmtpd.listen"), "fd:" + name, SocketsSection())
    client, _ = listener.accept()
    client.sendall(name.encode())
    client.close()
"""


@pytest.mark.skipif(shutil.which("systemd-socket-activate") is None, reason="needs systemd-socket-activate")
def test_sockets_handed_over_by_systemd(folder: Path) -> None:
    """systemd-socket-activate opens two sockets; each is found by its name and answers."""
    command = ["systemd-socket-activate", "--fdname=lmtp:lookup", "-l", f"{folder}/a", "-l", f"{folder}/b"]
    process = subprocess.Popen([*command, sys.executable, "-c", ACTIVATED, "lookup", "lmtp"], stderr=subprocess.PIPE)
    assert process.stderr
    for line in process.stderr:  # it says where it listens before it waits
        if b"/b" in line:
            break
    for path, name in ((folder / "b", b"lookup"), (folder / "a", b"lmtp")):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(str(path))
            assert client.recv(20) == name
    assert process.wait(PATIENCE) == 0
    process.stderr.close()


def test_the_error_of_a_service_names_the_configuration(office: object) -> None:
    """`retour lmtpd` with a path too long: exit status 78 in the process, with file and key."""
    config = office.config  # type: ignore[attr-defined]
    config.write_text(config.read_text().replace("sockets/lmtp.sock", "sockets/" + "x" * 100))
    command = [sys.executable, "-m", "retour_cli", "lmtpd", "--config", config]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 78
    assert done.stderr.startswith(f"retour: {config}:lmtpd.listen: the path ") and "may have 107" in done.stderr
