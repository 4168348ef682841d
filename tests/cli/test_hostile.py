"""Hostile text: what a report, a header or a person wrote does not reach the terminal as it came."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

from lab.wait import PATIENCE
from retour_cli.output import fit, printable
from retour_policy.clock import DAY, system_clock
from retour_policy.core.fold import Account
from retour_policy.core.suppression import Suppression
from retour_policy.ledger import accounts
from retour_policy.messages.signer import Signer
from retour_policy.store import facts, sends
from retour_policy.store.addresses import Address
from retour_policy.store.facts import NewFact
from retour_policy.store.sends import NewSend

A = "anna@example.net"
HOSTILE = "\x1b[31m\x1b]0;owned\x07\x9b2J\u202e\r\nFAKE\tline\x00" + "x" * 400


def test_hostile_text_never_reaches_the_terminal(office: Any) -> None:
    """Whatever a report, a header or a recipient held: no control character in any command's output, no false line."""
    address = '"' + HOSTILE[:40].replace('"', "") + '"@example.net'

    def work(connection: Any) -> None:
        secret = office.context.ring.address_secret
        new = NewSend("news", HOSTILE, (address, A), message_id=HOSTILE, tag=HOSTILE)
        number = sends.record(connection, secret, new, lambda: 1 << 40)
        send = sends.find(connection, number)
        assert send
        to, key = next(iter(send.recipients.items()))
        # Straight into the tables, as if an older version had not cleaned it.
        facts.write(connection, NewFact(system_clock(), "bounce", to, number, HOSTILE, reason=HOSTILE, status=HOSTILE,
                                        type=HOSTILE, detail={"diagnostic": HOSTILE, "cause": HOSTILE}))  # fmt: skip
        connection.exec_driver_sql("UPDATE address SET text = ?", (HOSTILE,))
        connection.exec_driver_sql("UPDATE send SET tag = ?, stream = ?", (HOSTILE, HOSTILE))
        found = Suppression("*", HOSTILE, system_clock(), system_clock() + DAY, HOSTILE)
        accounts.write(connection, Address(to, key), Account(), Account(suppressions={"*": found}))

    office.write(work)
    signer = Signer(office.context.ring, system_clock)
    made = signer.envelope_sender(office.context.config.stream[0], 1 << 40)
    office.edit("bounce_days = 30", "bounce_days = 3650")
    assert office.json("suppressions", "list")[0]["address"] == HOSTILE
    for words in (["events"], ["suppressions", "list"], ["address", "show", A], ["token", "read", made]):
        for extra in ([], ["--json"]):
            result = office(*words, *extra, status=None, columns=80)
            assert result.exit_code == 0, result.output
            for line in (result.stdout + result.stderr).splitlines():
                assert line.isprintable(), (words, repr(line))
                assert not line.startswith(("FAKE", "line")), (words, line)
                assert extra or len(line) <= 80 or words[0] not in ("events", "suppressions"), (words, line)


def test_what_a_person_types_is_not_printed_raw_either(office: Any) -> None:
    """Notes and addresses from the command line are cleaned or made visible."""
    typed = (
        ["suppressions", "add", A, "--note", HOSTILE], ["suppressions", "list"], ["token", "read", HOSTILE[:-1]],
        ["address", "show", HOSTILE], ["events", "--stream", HOSTILE],
        ["suppressions", "add", A, "--note", "\udcff"],
    )  # fmt: skip
    for words in typed:
        result = office(*(word.replace("\x00", "") for word in words), status=None)
        assert all(line.isprintable() for line in (result.stdout + result.stderr).splitlines())


def test_printable_leaves_what_can_be_read() -> None:
    """Letters of all scripts stay; what acts on a terminal is shown as its escape."""
    assert printable("Grüße 例 🙂") == "Grüße 例 🙂"
    assert printable("a\x1b[0m\n\u202e\udcff\x9b") == "a\\x1b[0m\\n\\u202e\\udcff\\x9b"


@pytest.mark.parametrize("widths", [[10, 20, 30], [11, 64, 320, 40], [5, 5], [300, 300, 300], [8, 8, 8, 500]])
def test_columns_are_fitted_to_the_terminal(widths: list[int]) -> None:
    """The widest give way first; narrow ones stay; nothing is cut that has room."""
    fitted = fit(widths, 80)
    assert sum(fitted) + 2 * (len(fitted) - 1) <= 80
    if sum(widths) + 2 * (len(widths) - 1) <= 80:
        assert fitted == widths
    assert all(now == was or 8 <= now >= max(fitted) - 1 for now, was in zip(fitted, widths, strict=True))


def test_a_long_address_keeps_its_domain_in_tables(office: Any) -> None:
    """At 80 columns the middle of an address is left out; a pipe gets all of it."""
    long = "a" * 60 + "@" + "b" * 60 + ".example.net"
    office("suppressions", "add", long)
    row = office("suppressions", "list", columns=80).stdout.splitlines()[1]
    assert len(row) <= 80 and "…" in row and ".example.net " in row
    assert long in office("suppressions", "list").stdout


def on_a_terminal(command: list[str | Path], columns: int) -> str:
    """What a command prints where its standard output is a terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=theirs, env=env)
    os.close(theirs)
    said = b""
    with contextlib.suppress(OSError):  # a terminal ends with an error, not with an end of file
        while more := os.read(ours, 4096):
            said += more
    os.close(ours)
    assert process.wait(PATIENCE) == 0
    return said.decode()


def test_a_real_terminal_of_80_columns_and_a_pipe(office: Any) -> None:
    """The process finds the terminal's width by itself; a pipe gets everything, whatever $COLUMNS says."""
    office.bounced("a" * 60 + "@" + "b" * 60 + ".example.net", reason="userunknown")
    command = [sys.executable, "-m", "retour_cli", "events", "--config", office.config]
    shown = on_a_terminal(command, 80).splitlines()
    assert len(shown) == 2 and max(len(line) for line in shown) <= 80
    piped = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"COLUMNS": "40"}).stdout
    assert "a" * 60 + "@" + "b" * 60 + ".example.net  bounce hard 5.1.1 userunknown" in piped
