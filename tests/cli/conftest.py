"""A place that `retour init` made, and the command run in this process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from click.testing import CliRunner, Result

import lab.second_user
from lab.process import workspace
from lab.reports import failed
from retour_bounces import Report
from retour_cli import output
from retour_cli.context import Context
from retour_cli.main import main
from retour_policy.messages.returned import ReturnRecorder
from retour_policy.messages.returned_message import ReturnedMessage
from retour_policy.messages.router import Route
from retour_policy.store import sends
from retour_policy.store.sends import NewSend
from retour_policy.tokens import token

STREAMS = """
[[stream]]
name = "news"
match = { sender = ["news@example.com"] }
envelope_from = "b-%@bounces.example.com"

[[stream]]
name = "shop"
match = { sender = ["shop@example.com"] }
envelope_from = "shop-returns@example.com"
"""
# Plain counting, so that a story is as long as its threshold; tests/policy/core has the careful policy.
PLAIN = """\
[policy]
preset = "plain"
hard = 3
soft = 5
autoreply = 10
hard_for = "180d"

"""


class Office:
    """A configuration, and the command `retour` with it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.config = home / "retour.toml"

    @property
    def context(self) -> Context:
        return Context(self.config)

    def __call__(self, *words: str | Path, status: int | None = 0, columns: int = 10_000) -> Result:
        """Run it, on a terminal with that many `columns`; its exit status must be `status`."""
        with patch.object(output, "terminal_width", lambda: columns):
            result = CliRunner().invoke(main, [str(w) for w in words], env={"RETOUR_CONFIG": str(self.config)})
        crashed = result.exception is not None and not isinstance(result.exception, SystemExit)
        if crashed:
            raise result.exception  # type: ignore[misc]
        assert status is None or result.exit_code == status, result.output
        return result

    def json(self, *words: str, status: int = 0) -> list[dict[str, Any]]:
        """What it prints with --json, all of it."""
        return [json.loads(line) for line in self(*words, "--json", status=status).stdout.splitlines()]

    def edit(self, old: str, new: str) -> None:
        """Change the configuration."""
        text = self.config.read_text()
        assert old in text, old
        self.config.write_text(text.replace(old, new, 1))

    def write(self, work: Callable[[Any], Any]) -> Any:
        """Something happens in the store."""
        context = self.context
        with context.store.writing() as connection:
            done = work(connection)
        context.store.close()
        return done

    def bounced(self, *recipients: str, times: int = 1, stream: str = "news", **said: Any) -> None:
        """A message went out to `recipients`, and a report that the first of them failed came back."""
        context, report = (
            self.context,
            Report("bounce", (failed(recipients[0], **{"diagnostic": "no such user"} | said),)),
        )
        secret, now = context.ring.address_secret, context.clock()
        recorder = ReturnRecorder.of(context.config, context.ring, context.ledger, context.clock)

        def work(connection: Any) -> None:
            for _ in range(times):
                new = NewSend(stream, "news@example.com", recipients)
                number = sends.record(connection, secret, new, lambda: token.draw_id(now))
                route = Route("verp", stream, number)
                recorder.record(
                    connection, ReturnedMessage(now, route, "b@b", "", b"", number.to_bytes(16, "big"), report)
                )

        self.write(work)

    @staticmethod
    def fits(text: str) -> None:
        """Readable at 80 columns, without anything that a terminal acts on."""
        for line in text.splitlines():
            assert len(line) <= 80, line
            assert line.isprintable(), repr(line)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `retour init` makes it."""
    home = tmp_path_factory.mktemp("made") / "retour"
    result = CliRunner().invoke(main, ["init", "--dir", str(home), "--domain", "bounces.example.com"])
    assert result.exit_code == 0, result.output
    return home


@pytest.fixture
def office(made: Path, folder: Path) -> Office:
    """A copy of that, with two streams."""
    home = folder / "retour"
    shutil.copytree(made, home, copy_function=shutil.copy2)
    lab.second_user.give_sockets_to_postfix(home)
    config = home / "retour.toml"
    head = config.read_text().replace(str(made), str(home)).partition("\n[[stream]]\n")[0]
    before, _, rest = head.partition("[policy]\n")
    config.write_text(before + PLAIN + "[storm]\n" + rest.partition("[storm]\n")[2] + STREAMS)
    return Office(home)


@pytest.fixture
def careful(office: Office) -> Office:
    """The same office under the careful policy."""
    office.edit('preset = "plain"\nhard = 3\nsoft = 5\nautoreply = 10\nhard_for = "180d"', 'preset = "careful"')
    return office


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path that others may pass."""
    with workspace() as path:
        yield path
