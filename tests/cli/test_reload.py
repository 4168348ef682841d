"""Reloading: a good configuration is adopted, and anything else leaves the old one running."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from structlog.testing import capture_logs

from lab.wait import PATIENCE
from retour_cli.services.condition import Condition
from retour_cli.services.reload import reload
from retour_policy.config.model import Config


@pytest.fixture
def condition(office: Any) -> Condition:
    """What the service told when it began."""
    return Condition("lmtpd", office.context)


def test_a_good_configuration_is_adopted(office: Any, condition: Condition) -> None:
    """What the file says now is what the service uses."""
    adopted: list[Config] = []
    office.edit("hard = 3", "hard = 7")
    reload(office.context, condition, adopted.append)
    assert [config.policy.hard for config in adopted] == [7]


@pytest.mark.parametrize("kind", ["file", "key ring", "key ring mode"])
def test_a_bad_one_changes_nothing_and_is_logged(office: Any, condition: Condition, kind: str) -> None:
    """Each problem stands in the log with file and key, and nothing is adopted."""
    if kind == "file":
        office.edit("hard = 3", "hard = -1\nsoftly = 1")
    elif kind == "key ring":
        (office.home / "keys.toml").write_text("no ring")
    else:
        (office.home / "keys.toml").chmod(0o644)
    adopted: list[Config] = []
    with capture_logs() as logs:
        reload(office.context, condition, adopted.append)
    assert adopted == []
    problems = [str(entry["problem"]) for entry in logs if entry["log_level"] == "error"]
    assert len(problems) == (2 if kind == "file" else 1)
    assert all(problem.startswith(f"{office.config}:") for problem in problems)


def test_the_last_of_several_reloads_has_the_last_word(office: Any, condition: Condition) -> None:
    """Signals can come faster than a reload ends; a slow one never puts an older file over a newer one."""
    adopted: list[int] = []
    entered, go_on = threading.Event(), threading.Event()

    def slowly(config: Config) -> None:
        entered.set()
        go_on.wait(PATIENCE)
        adopted.append(config.policy.hard or 0)

    office.edit("hard = 3", "hard = 7")

    def at_once(config: Config) -> None:
        adopted.append(config.policy.hard or 0)

    first = threading.Thread(target=reload, args=(office.context, condition, slowly))
    first.start()
    assert entered.wait(PATIENCE)
    office.edit("hard = 7", "hard = 8")
    second = threading.Thread(
        target=reload, args=(office.context, condition, lambda config: adopted.append(config.policy.hard))
    )
    second.start()
    second.join(0.5)
    go_on.set()
    first.join()
    second.join()
    assert adopted == [7, 8]


def test_a_fault_while_adopting_does_not_end_the_service(office: Any, condition: Condition) -> None:
    """Whatever goes wrong is logged; the thread that waits for the signal goes on waiting."""

    def adopt(config: Config) -> None:
        raise RuntimeError("an internal error")

    with capture_logs() as logs:
        reload(office.context, condition, adopt)
    assert [entry["event"] for entry in logs] == ["reload failed, the old configuration stays in force"]


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("/lmtp.sock", "/other.sock", "lmtpd.listen"), ("/lookup.sock", "/other.sock", "lmtpd.lookup"),
        ("sockets/milter.sock", "sockets/other.sock", "milter.socket"), ("/retour.db", "/other.db", "store.url"),
        ('mode = "0660"', 'mode = "0600"', "sockets"),
    ],
)  # fmt: skip
def test_what_needs_a_restart_is_told(office: Any, condition: Condition, old: str, new: str, key: str) -> None:
    """A key that a reload cannot change does not seem to have been changed."""
    context = office.context
    assert context.config
    office.edit(old, new)
    with capture_logs() as logs:
        reload(context, condition, lambda _: None)
    assert [entry["key"] for entry in logs if entry["log_level"] == "warning"] == [key]
