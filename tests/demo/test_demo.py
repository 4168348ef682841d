"""The demo, run as `make demo` runs it: it holds, it fails when it should, and it leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from lab.process import workspace
from lab.wait import PATIENCE
from story.stage import left_behind

TOOLS = Path(__file__).parents[2] / "tools"
DEMO = (sys.executable, str(TOOLS / "demo.py"))
ANOTHER_REPLY = """
import sys
sys.path.insert(0, {tools!r})
from lab.destination import SCRIPT, Refuse
SCRIPT["gone"] = Refuse("550 5.2.1 This mailbox is disabled")
import demo
from story import homeward, outward
def beginning(here):
    outward.prologue(here)
    outward.three_streams(here)
    homeward.refused_at_once(here)
demo._story = beginning
sys.exit(demo.main())
"""
NOT_ROOT = """
import sys
sys.path.insert(0, {tools!r})
import demo, os
os.setresuid(65534, 65534, 65534)
sys.exit(demo.main())
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """Where the demo makes its folder; everything that it starts has this in its environment."""
    with workspace() as folder:
        yield folder


def start(argv: tuple[str, ...], env: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | dict(env),
        start_new_session=True,
    )


def run(argv: tuple[str, ...], env: Mapping[str, str]) -> tuple[int, str]:
    with start(argv, env) as child:
        said = child.communicate(timeout=10 * PATIENCE)[0]
    return child.returncode, said


def test_every_line_of_the_story_holds_and_nothing_is_left(place: Path) -> None:
    """Exit status 0, at least 8 mails by swaks, the three commands of the postmaster, no folder, no process."""
    status, said = run(DEMO, {"TMPDIR": str(place)})
    assert status == 0, said
    assert "[FAILED]" not in said
    assert said.count("\n$ swaks ") >= 8
    for command in ("events", "address show", "suppressions list"):
        assert f"\n$ retour {command}" in said
    assert list(place.iterdir()) == []
    assert left_behind(place) == []


def test_a_line_that_does_not_hold_is_told_and_fails_the_demo(place: Path) -> None:
    """A server that answers otherwise: exit status 1, what was expected, what came; --keep keeps the logs."""
    status, said = run((sys.executable, "-c", ANOTHER_REPLY.format(tools=str(TOOLS)), "--keep"), {"TMPDIR": str(place)})
    assert status == 1, said
    after = said.partition("[FAILED] gone@example.net: 550 5.2.1 This mailbox is disabled\n")[2]
    assert "expected: ['550 5.1.1', 'hard', 'userunknown', 'recipient']\n" in after
    assert "came:     ['550 5.2.1', " in after
    assert "lines did NOT hold" in after
    (kept,) = place.iterdir()
    assert f"The folder is kept: {kept}" in said
    assert (kept / "serve.log").exists()
    assert left_behind(place) == []


def in_the_story(place: Path, child: subprocess.Popen[str]) -> None:
    assert child.stdout
    assert any(line.startswith("1. Mail of three streams") for line in child.stdout)


def while_postfix_starts(place: Path, child: subprocess.Popen[str]) -> None:
    while not any(one.endswith(" master") for one in left_behind(place)):  # the start script waits for it
        assert child.poll() is None


@pytest.mark.parametrize("moment", [while_postfix_starts, in_the_story])
def test_ctrl_c_leaves_nothing(place: Path, moment: Callable[[Path, subprocess.Popen[str]], None]) -> None:
    """Ctrl-C, sent to all in the foreground as a terminal does, ends with 130; no folder, no process."""
    with start(DEMO, {"TMPDIR": str(place)}) as child:
        moment(place, child)
        os.killpg(child.pid, signal.SIGINT)
        said = child.communicate(timeout=PATIENCE)[0]
    assert child.returncode == 130, said
    assert "All that was started has been stopped." in said
    assert list(place.iterdir()) == []
    assert left_behind(place) == []


def test_without_root_it_says_why_and_stops(tmp_path: Path) -> None:
    """No sudo: exit status 1 and the reason, nothing started."""
    status, said = run((sys.executable, "-c", NOT_ROOT.format(tools=str(TOOLS))), {"PATH": str(tmp_path)})
    assert status == 1
    assert said.startswith("Root is needed because Postfix, even a private one, starts as root")
    assert "There is no sudo here" in said


def test_without_root_it_uses_sudo(place: Path) -> None:
    """With sudo, the same command is run by it, after the reason was given."""
    sudo = place / "sudo"
    sudo.write_text('#!/bin/sh\necho "as root: $*"\n')
    sudo.chmod(0o755)
    program = NOT_ROOT.format(tools=str(TOOLS)).replace(
        "import demo,", "sys.argv = ['demo.py', '--keep']; import demo,"
    )
    status, said = run((sys.executable, "-c", program), {"PATH": f"{place}:/bin:/usr/bin"})
    assert status == 0
    assert said.startswith("Root is needed")
    assert said.endswith(f"as root: env PYTHONDONTWRITEBYTECODE=1 {sys.executable} demo.py --keep\n")
