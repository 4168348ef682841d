"""Children are waited for, stopped and proved gone; their logs are shown when something fails."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from lab.ports import free_port
from lab.process import Child, ChildFailed, members

READY = """
import os, signal, socket, sys, time
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
print("about to be ready", flush=True)
notify.sendto(b"STATUS=warming up\\nREADY=1", os.environ["NOTIFY_SOCKET"])
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
while True: signal.pause()
"""
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + READY.replace(
    "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))", ""
)
PARENT = "import subprocess; subprocess.Popen(['sleep', '60'])"
LISTENER = "import socket,sys,signal; s=socket.create_server(('127.0.0.1', int(sys.argv[1]))); signal.pause()"


def python(code: str, folder: Path, *words: str) -> Child:
    return Child([sys.executable, "-c", code, *words], folder=folder, name="child")


def test_a_child_says_when_it_is_ready_and_how_it_ended(folder: Path) -> None:
    """READY=1 on the notify socket ends the wait, SIGTERM ends the child, its exit status comes back."""
    with python(READY, folder) as child:
        child.wait_ready()
        assert "STATUS=warming up" in child.states
        child.wait_for_log("^about to be")
        assert child.stop() == 7
    assert not members(child.pid)


def test_a_child_that_ends_early_fails_the_wait_at_once(folder: Path) -> None:
    """The error carries the exit status and what the child printed, long before the deadline."""
    with (
        python("import sys; print('no such key'); sys.exit(78)", folder) as child,
        pytest.raises(ChildFailed, match=r"ended with 78:\nno such key"),
    ):
        child.wait_ready()


def test_a_child_that_ignores_sigterm_is_killed_and_reported(folder: Path) -> None:
    """A child that does not stop in time is an error, and is not left running."""
    with python(DEAF, folder) as child:
        child.wait_ready()
        with pytest.raises(ChildFailed, match="still running"):
            child.stop(timeout=0.1)
        child.send_signal(signal.SIGKILL)
    assert not members(child.pid)


def test_a_grandchild_left_behind_is_reported_and_killed(folder: Path) -> None:
    """A child that ends and leaves a process of its own fails the test that started it."""
    with pytest.raises(ChildFailed, match=r"left running.*sleep"), python(PARENT, folder) as child:
        child.wait()
    assert not members(child.pid)


def test_a_listening_child_is_waited_for(folder: Path) -> None:
    """wait_answers returns as soon as a connection is accepted."""
    port = free_port()
    with python(LISTENER, folder, str(port)) as child:
        child.wait_answers(("127.0.0.1", port))


def test_the_log_is_shown_when_the_test_fails(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An error inside the context prints what the child said."""
    with pytest.raises(ZeroDivisionError), python(READY, folder) as child:
        child.wait_ready()
        raise ZeroDivisionError
    assert "about to be ready" in capsys.readouterr().err
