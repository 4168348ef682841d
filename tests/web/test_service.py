"""The service as a process: its sockets, its configuration, how it reloads and stops."""

from __future__ import annotations

import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lab.process import Child
from lab.site import RETOUR, retour
from lab.wait import PATIENCE, wait_until
from lab.web import ONE_CLICK, WebService, words

HAND_OVER = """
import os, socket, sys
held = socket.socket(socket.AF_UNIX)
held.bind(sys.argv[1])
held.listen()
os.dup2(held.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="web")
os.execv(sys.argv[2], sys.argv[2:])
"""
"""A program that opens a socket and hands it over to another, as systemd does."""
NO_WEB = "all of [web]"
PNG = b"\x89PNG\r\n\x1a\n" + b"picture"


def test_a_reload_changes_what_pages_show_and_a_bad_file_does_not(folder: Path) -> None:
    """Name and logo are read again; a logo that is none is refused, with its key, and the old ones stay."""
    with WebService(folder) as web:
        token, logo = web.token(), folder / "logo.png"
        logo.write_bytes(PNG)
        text = web.config.read_text()
        web.config.write_text(text.replace('\noperator = "Example Ltd"', f'\noperator = "Other & Co"\nlogo = "{logo}"'))
        web.child.send_signal(signal.SIGUSR1)
        web.child.wait_for_log("configuration reloaded")
        page = web.page(token)
        assert "Other & Co" in page.text.replace("&amp;", "&") and "data:image/png;base64," in page.text
        logo.write_text("no picture")
        web.child.send_signal(signal.SIGHUP)
        web.child.wait_for_log("configuration refused.*web.logo: .* is neither a PNG nor an SVG")
        assert web.page(token).text == page.text


def test_a_request_in_progress_finishes_when_the_service_stops(folder: Path) -> None:
    """New connections are refused and the socket's path is gone; whoever is sending is answered."""
    with WebService(folder) as web:
        token = web.token()
        client = socket.create_connection(("127.0.0.1", web.port), PATIENCE)
        head = f"POST /u/{token} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(ONE_CLICK)}\r\n\r\n"
        client.sendall(head.encode() + ONE_CLICK[:5])
        assert web.ask_locally("GET", "/healthz").status == 200  # so the other request has been begun, too
        web.child.send_signal(signal.SIGTERM)
        web.child.wait_for_log("web stopping")
        wait_until(lambda: not web.socket.exists(), what="the end of the socket's path")
        client.sendall(ONE_CLICK[5:])
        assert client.recv(4096).startswith(b"HTTP/1.1 200 ")
        client.close()
        assert web.child.wait() == 0
        assert web.kinds() == ["unsubscribe"]


def test_its_socket_is_for_a_group_of_its_own_and_comes_back(folder: Path) -> None:
    """Mode 0660 and [web] group; a path that was removed is made again within seconds."""
    with WebService(folder) as web:
        mode = web.socket.stat()
        assert (stat.S_IMODE(mode.st_mode), mode.st_gid) == (0o660, 0)
        web.socket.unlink()
        web.child.wait_for_log("socket was gone, opened again")
        assert web.ask_locally("GET", "/healthz").status == 200


def test_a_socket_of_systemds_is_used_and_left(folder: Path) -> None:
    """The path stays when the service stops: who connects meanwhile waits for the next one."""
    web, path = WebService(folder), folder / "held.sock"
    text = web.config.read_text()
    web.config.write_text(text.replace(f'"unix:{web.socket}"', '"fd:web"'))
    with Child(
        [sys.executable, "-c", HAND_OVER, path, *RETOUR, "web", "--config", web.config], folder=folder, name="held"
    ) as child:
        child.wait_ready()
        web.socket = path
        assert web.ask_locally("GET", "/healthz").status == 200
        assert child.stop() == 0
    assert path.exists()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (NO_WEB, "", "web: is missing"),
        ('group = "root"', 'group = "no-such-group"', "web.group: there is no group 'no-such-group'"),
        ('\noperator = "Example Ltd"', '\noperator = "E"\nlogo = "/nowhere/logo.svg"', "web.logo: /nowhere/logo.svg"),
        ('\noperator = "Example Ltd"', '\noperator = "E"\nlogo = "/bin/true"', "web.logo: /bin/true"),
    ],
)
def test_what_cannot_be_used_ends_the_start_with_78(folder: Path, old: str, new: str, said: str) -> None:
    """The error names file and key."""
    web = WebService(folder)
    text = web.config.read_text()
    if old is NO_WEB:
        old = text[text.index("\n[web]") :]
    assert old in text
    web.config.write_text(text.replace(old, new))
    argv = [*RETOUR, "web", "--config", web.config]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 78
    assert f"{web.config}:{said}" in done.stderr


def test_serve_runs_it_where_there_is_a_web_section(folder: Path) -> None:
    """And ends it with the others."""
    web = WebService(folder)
    with Child([*RETOUR, "serve", "--config", web.config], folder=folder, name="serve") as child:
        child.wait_ready()
        assert "You are unsubscribed" in words(web.press(web.token(), "unsubscribe"))
        assert child.stop() == 0
        assert ": web stopped" in child.log()


def test_health_is_told_while_another_process_holds_the_store(folder: Path) -> None:
    """`retour check` and the help know the service; each part of its health is told by itself."""
    assert "web service" in retour("web", "--help").stdout
    with WebService(folder) as web:
        answer = web.ask("GET", "/healthz")
        assert (answer.status, answer.text) == (200, '{"store": true, "writer": true}\n')
        (web.home / "retour.db").rename(web.home / "away")
        wait_until(lambda: web.ask("GET", "/healthz").status == 503, what="a 503")
        assert web.ask("GET", "/healthz").text == '{"store": false, "writer": false}\n'
        (web.home / "away").rename(web.home / "retour.db")
        wait_until(lambda: web.ask("GET", "/healthz").status == 200, what="a 200")
