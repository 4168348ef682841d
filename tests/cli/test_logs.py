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
