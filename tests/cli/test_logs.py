"""What the services write to their logs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from lab.site import retour

SCRIPT = """
import structlog
from retour_cli.services import logs
logs.set_up("retour-lmtpd")
structlog.get_logger().info("recipient refused", recipient="a\\x1b[2J\\r\\n\\u202e\\udcff b=\\"c")
try:
    raise ValueError("deep\\x1binside")
except ValueError:
    structlog.get_logger().exception("failed")
"""


def test_hostile_text_stays_on_its_line_and_off_the_terminal() -> None:
    """An address may hold nearly anything; in the log it is one value of one event."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, check=True)
    first, second = done.stderr.decode().splitlines()
    assert "\x1b" not in first and "\u202e" not in first and "\r" not in first
    assert first.endswith(r'recipient="a\\x1b[2J\\r\\n\\u202e\\udcff b=\"c"')
    assert "ValueError" in second and "\x1b" not in second


OTHERS = """
import click, logging, sys, threading, warnings
from retour_cli.services import logs
logs.set_up("retour-lmtpd")
click.echo("by click", err=True)
print("by print", file=sys.stderr)
logging.getLogger("asyncio").error("by a library")
warnings.warn("by a warning")
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
class Odd:
    def __str__(self): raise ValueError("not printable")
import structlog
structlog.get_logger().error("odd value", odd=Odd())
raise SystemExit("last words")
"""


def test_whatever_is_printed_to_standard_error_comes_out() -> None:
    """Errors of the command, of libraries and of threads, and the last words of a process; no value stops its event."""
    done = subprocess.run([sys.executable, "-c", OTHERS], capture_output=True, text=True, check=False)
    said = ["by click", "by print", "by a library", "by a warning", "ZeroDivisionError", "last words"]
    assert [words for words in said if words not in done.stderr] == []
    assert "error: odd value: not_printable=ValueError" in done.stderr
    assert (done.returncode, done.stdout) == (1, "")


LINES = """
import sys, structlog
from retour_cli.services import logs
logs.set_up("retour-milter")
log = structlog.get_logger()
log.info("stamped", queue_id="4bXyzZ1kQz", stream="news", stamped="b-abcdefghijklmnopqrstuvwxyz2345@b.example")
log.info("recipient refused", queue_id=None, recipient="anna@example.org")
log.warning("clock jumped", by_ms=5)
log.error("store is down", queue_id="4bX", error="no disk", tag=None)
"""
PLAIN = [
    "4bXyzZ1kQz: stamped: stream=news stamped=b-abcdefghijklmn...@b.example",
    "NOQUEUE: recipient refused: recipient=anna@example.org",
    "warning: clock jumped: by_ms=5",
    '4bX: error: store is down: error="no disk"',
]


def test_a_line_begins_with_time_service_and_queue_id() -> None:
    """So that `grep QUEUE-ID` finds Postfix's lines and ours; no token can be used by who reads the log."""
    with subprocess.Popen([sys.executable, "-c", LINES], stderr=subprocess.PIPE, text=True) as process:
        _, said = process.communicate()
    begin = rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z retour-milter\[{process.pid}\]: "
    assert [re.sub("^" + begin, "", line) for line in said.splitlines()] == PLAIN


def in_journal(script: str, **environment: str) -> list[str]:
    """The lines of a process whose standard error is the journal's stream, as $JOURNAL_STREAM says."""
    reader, writer = os.pipe()
    about = os.fstat(writer)
    named = {"JOURNAL_STREAM": f"{about.st_dev}:{about.st_ino}", **environment}
    subprocess.run([sys.executable, "-c", script], stderr=writer, env=os.environ | named, check=True)
    os.close(writer)
    with os.fdopen(reader) as said:
        return said.read().splitlines()


def test_the_journal_gets_the_priority_and_no_second_time() -> None:
    """It has the time and the service's name itself; rsyslog writes the line as it stands."""
    assert in_journal(LINES) == [f"<{n}>{line}" for n, line in zip((6, 6, 4, 3), PLAIN, strict=True)]


def test_the_services_of_one_unit_name_themselves() -> None:
    """Under `retour serve` the journal knows one name for all of them."""
    first = in_journal(LINES, RETOUR_IDENTIFY="1")[0]
    assert re.fullmatch(r"<6>retour-milter\[\d+\]: " + re.escape(PLAIN[0]), first)


def test_without_addresses_hashes_of_them_are_logged(folder: Path) -> None:
    """With `log_addresses = false`, wherever an address stands in a value; the same one has the same hash."""
    home = folder / "r"
    assert retour("init", "--dir", home, "--domain", "bounces.example.com").returncode == 0
    config = home / "retour.toml"
    config.write_text(config.read_text().replace("log_addresses = true", "log_addresses = false"))
    done = subprocess.run([sys.executable, "-c", HASHED, str(config)], capture_output=True, text=True, check=True)
    first, second = done.stderr.splitlines()
    name = re.search(r"recipient=(~[0-9a-f]{16})$", first)
    assert name and "example.org" not in done.stderr
    assert second.endswith(f'problem="550 <{name[1]}> is unknown"')


HASHED = """
import sys, structlog
from pathlib import Path
from retour_cli.context import Context
from retour_cli.services.start import begin
begin(Context(Path(sys.argv[1])), "retour-milter")
log = structlog.get_logger()
log.info("refused", recipient="Anna@example.org")
log.info("failed", problem="550 <anna@example.org> is unknown")
"""
