"""What the services write to their logs."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import structlog
from retour_cli.services import logs
logs.set_up()
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
logs.set_up()
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
    assert 'level=error event="odd value" not_printable=ValueError' in done.stderr
    assert (done.returncode, done.stdout) == (1, "")
