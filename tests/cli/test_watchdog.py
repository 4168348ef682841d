"""The watchdog: the service manager hears of a service only while that does its work."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from lab.process import Child
from lab.site import RETOUR
from lab.wait import wait_until
from retour_cli.services import store_log
from retour_cli.services.condition import Condition
from retour_cli.services.sd_notify import watchdog_s
from retour_cli.services.watchdog import Watchdog
from retour_policy.store.writer import Writer

SOON_US = "150000"  # a look after 50 ms, and each waits as long for an answer


class Service:
    """A writer, and a watchdog that looks when it is told to."""

    def __init__(self, office: Any) -> None:
        self.context = office.context
        self.condition = Condition("lmtpd", self.context)
        self.writer = Writer(self.context.store)
        store_log.watch(self.context.store, self.condition)

    def watchdog(self, **named: Any) -> Watchdog:
        return Watchdog(self.writer, self.condition, **named)


@pytest.fixture
def service(office: Any) -> Iterator[Service]:
    made = Service(office)
    yield made
    made.writer.close()
    made.context.store.close()


@contextlib.contextmanager
def locked(database: Path) -> Iterator[None]:
    """Another process holds the store."""
    with database.with_name(database.name + ".lock").open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_a_service_at_work_is_well(service: Service) -> None:
    """The writer commits, so the look is good, and nothing is told."""
    assert service.watchdog().look()
    assert not service.condition.has_trouble("store")


def test_a_stuck_writer_is_noticed_and_its_recovery_too(
    service: Service, office: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is committed while the lock is held: the look fails in time, and is good again afterwards."""
    assert service.watchdog().look()  # so that the lock's file is there
    monkeypatch.setenv("WATCHDOG_USEC", SOON_US)
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    with locked(office.home / "retour.db"):
        assert not service.watchdog().look()
        assert service.condition.has_trouble("the store does not answer")
    monkeypatch.delenv("WATCHDOG_USEC")
    assert service.watchdog().look()
    assert not service.condition.has_trouble("the store does not answer")


def test_no_restart_is_asked_for_where_the_store_gives_errors(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No service starts without a store, and this one still answers what needs none. The trouble is told."""

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("retour_policy.store.database.write_lock", fail)
    assert service.watchdog().look()
    assert service.condition.has_trouble("store")
    monkeypatch.undo()
    assert service.watchdog().look()
    assert not service.condition.has_trouble("store")


def test_no_restart_is_asked_for_while_a_removed_database_is_open(service: Service, office: Any) -> None:
    """Only this process still has it: its end would lose what was committed last."""
    assert service.watchdog().look()
    for file in office.home.glob("retour.db*"):
        file.unlink()
    assert service.watchdog().look()
    assert service.condition.has_trouble("database") and service.condition.has_trouble("store")


def test_an_event_loop_that_does_not_turn_is_noticed(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that gives no sign of life in time makes the look fail."""
    monkeypatch.setenv("WATCHDOG_USEC", SOON_US)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    silent: Future[None] = Future()
    assert not service.watchdog(probes=[("the event loop does not turn", lambda: silent)]).look()
    done: Future[None] = Future()
    done.set_result(None)
    assert service.watchdog(probes=[("the event loop does not turn", lambda: done)]).look()


def test_a_child_does_not_ping_for_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    """WATCHDOG_PID says whom the manager means: under `retour serve`, none of the services."""
    monkeypatch.setenv("WATCHDOG_USEC", SOON_US)
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert watchdog_s() is None
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert watchdog_s() == 0.15


@pytest.mark.parametrize("name", ["milter", "lmtpd", "courier"])
def test_a_service_pings_and_tells_how_it_is(office: Any, folder: Path, name: str) -> None:
    """WATCHDOG=1 comes again and again; STATUS names the time of its configuration, and what is wrong."""
    argv = [*RETOUR, name, "--config", office.config]
    env = os.environ | {"WATCHDOG_USEC": SOON_US}
    with Child(argv, folder=folder, name=name, env=env) as child:
        child.wait_ready()
        wait_until(lambda: child.heard().count("WATCHDOG=1") > 2, what="pings", seen=child.heard)
        assert any(state.startswith("STATUS=configuration read 2") for state in child.states)
        with locked(office.home / "retour.db"):
            wait_until(lambda: "the store does not answer" in status(child), what="trouble", seen=child.heard)
        wait_until(lambda: "the store does not answer" not in status(child), what="recovery", seen=child.heard)
        office.edit("hard = 3", "hard = -1")
        child.send_signal(signal.SIGUSR1)
        wait_until(lambda: "a newer one was refused" in status(child), what="the refusal", seen=child.heard)
        assert any(state.startswith("MONOTONIC_USEC=") for state in child.states)


def status(child: Child) -> str:
    """The newest STATUS."""
    return [state for state in child.heard() if state.startswith("STATUS=")][-1]


def test_the_probe_of_an_event_loop_is_answered_by_it() -> None:
    """A loop that turns answers; so the daemons' probe can tell."""
    from retour_cli.services.watchdog import in_loop

    async def ask() -> None:
        _, probe = in_loop(asyncio.get_running_loop())
        await asyncio.wrap_future(probe())

    asyncio.run(ask())
