"""Command hooks, run for real: what the program gets, and what its exit status leads to."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from lab.courier import running_courier
from lab.wait import wait_until
from lab.world import World
from retour_policy.outbox import queue
from retour_policy.store.outbox import NewItem


@pytest.fixture
def begin(tmp_path):
    """A world with one command hook; the program is a shell script."""
    worlds = []

    def begin(script, *arguments, timeout="10s"):
        program = tmp_path / "program"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        hook = {"name": "app", "on": ["paused"], "command": [str(program), *arguments], "timeout": timeout}
        worlds.append(World(tmp_path, {"stream": [{"name": "news"}], "hook": [hook]}).__enter__())
        world = worlds[0]
        world.bounce(world.send(tag="order-4711"))
        return world

    yield begin
    for world in worlds:
        world.__exit__()


def test_it_gets_the_event_on_standard_input_and_nothing_else(begin, tmp_path):
    """One line of JSON, the same as a webhook's; the arguments as they stand, without a shell; a clean environment."""
    os.environ["RETOUR_SECRET_OF_THE_COURIER"] = "x"
    script = (
        f'cat > {tmp_path}/event; env > {tmp_path}/env; printf "%s|" "$@" > {tmp_path}/words; pwd >> {tmp_path}/env'
    )
    world = begin(script, "a b", "$(id)", "*")
    with running_courier(tmp_path, world) as courier:
        courier.wait_empty()
    del os.environ["RETOUR_SECRET_OF_THE_COURIER"]
    (line,) = (tmp_path / "event").read_text().splitlines()
    event = json.loads(line)
    assert (event["type"], event["version"]) == ("paused", 2)
    assert (event["data"]["tag"], event["data"]["scope"], event["data"]["cause"]) == ("order-4711", "*bulk", "pause")
    names = {one.partition("=")[0] for one in (tmp_path / "env").read_text().splitlines()}
    assert names == {"PATH", "LANG", "RETOUR_EVENT", "PWD", "/"}
    assert (tmp_path / "words").read_text() == "a b|$(id)|*|"


@pytest.mark.parametrize(
    ("script", "failed", "error"),
    [
        ("echo busy; exit 75", 0, "exit status 75: busy"),
        ("echo no such user >&2; exit 1", 1, "exit status 1: no such user"),
        ("exit 100", 1, "exit status 100"),
        ("kill -9 $$", 1, "killed by signal 9"),
        ("sleep 60", 0, "not finished after 1 s"),
        ("head -c 1000000 /dev/zero | tr '\\0' x; exit 2", 1, "exit status 2: xxx"),
        ("exec < /dev/null; exit 3", 1, "exit status 3"),
    ],
)
def test_the_exit_status_decides(begin, tmp_path, script, failed, error):
    """75 and time over: again later; any other: a dead letter with what it said."""
    world = begin(script, timeout="1s" if "sleep" in script else "10s")
    with running_courier(tmp_path, world) as courier:
        (item,) = courier.wait_tried()
    assert (item.failed, item.error[: len(error)]) == (failed, error)


def test_nothing_of_it_goes_on_when_its_time_is_over(begin, tmp_path):
    """What it has started in the background ends with it."""
    world = begin(f"sleep 300 & echo $! > {tmp_path}/pid; wait", timeout="1s")
    with running_courier(tmp_path, world) as courier:
        courier.wait_tried()
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: not _lives(pid), what="the end of the background process")


def test_a_program_that_leaves_something_in_the_background_is_done(begin, tmp_path):
    """It exited with 0, though a child holds its standard output; the event is not sent again, no process is left."""
    world = begin(f"sleep 300 & echo $! > {tmp_path}/pid; echo x >> {tmp_path}/runs")
    with running_courier(tmp_path, world) as courier:
        courier.wait_empty()
    assert (tmp_path / "runs").read_text() == "x\n"
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: not _lives(pid), what="the end of the background process")


def test_a_large_event_that_nobody_reads_is_no_failure(begin, tmp_path):
    """More than fits into a pipe: some programs look at nothing but RETOUR_EVENT."""
    world = begin("exit 0")
    new = NewItem(world.now, "event", "hook:app", "paused", b"x" * 1_000_000)
    world.writer.run(lambda connection: queue.put(connection, new), 10_000)
    with running_courier(tmp_path, world) as courier:
        courier.wait_empty()


def test_a_program_that_is_not_there_is_tried_again(begin, tmp_path):
    """An upgrade may be in progress."""
    world = begin("true")
    (tmp_path / "program").unlink()
    with running_courier(tmp_path, world) as courier:
        (item,) = courier.wait_tried()
    assert (item.failed, item.error) == (0, f"{tmp_path}/program: No such file or directory")


def _lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
