"""A private Exim in a temporary folder, on the recipe of `postfix-examples/exim/`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lab.example import BOUNCE_DOMAIN, EXAMPLES
from lab.ports import free_port, wait_answers
from lab.process import Child

PROGRAM = Path(__file__).parents[2] / "build/exim/usr/sbin/exim4"
"""Where tools/setup-debian unpacks Exim."""
USER = "Debian-exim"
RETRY_S = 1  # how often the queue is looked through

_HERE = """
exim_path = FOLDER/exim4
spool_directory = FOLDER/spool
log_file_path = FOLDER/log/%slog
pid_file_path = FOLDER/exim.pid
local_interfaces = <; [127.0.0.1]:PORT
tls_advertise_hosts =
deliver_drop_privilege = true
never_users =
primary_hostname = mail.example.com
message_size_limit = 50M
keep_environment =
"""


class PrivateExim:
    """An Exim of its own, as a context manager; needs root.

    It relays for 127.0.0.1 only; all mail to elsewhere goes to `next_hop`, a port on loopback. `sockets` is the folder
    of Retour's sockets.
    """

    def __init__(self, folder: Path, sockets: Path, next_hop: int) -> None:
        self.folder = folder
        self.smtp_port = free_port()
        self.smtp_server = f"127.0.0.1:{self.smtp_port}"
        self.config = folder / "exim4.conf"
        self._sockets = sockets
        self._next_hop = next_hop
        self._stack = ExitStack()

    def __enter__(self) -> PrivateExim:
        self.folder.mkdir()
        for name in ("spool", "log"):
            (self.folder / name).mkdir()
            shutil.chown(self.folder / name, USER, USER)
        shutil.copy(PROGRAM, self.folder / "exim4")  # where its user may run it, whoever owns the checkout
        self.config.write_text(self._configuration())
        daemon: list[str | Path] = [self.folder / "exim4", "-C", self.config, "-bdf", f"-q{RETRY_S}s"]
        self._stack.enter_context(Child(daemon, folder=self.folder, name="exim", umask=0o022))
        try:
            wait_answers(("127.0.0.1", self.smtp_port))
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def log(self) -> str:
        """What Exim logged."""
        return "".join(path.read_text() for path in sorted((self.folder / "log").glob("*log")))

    def queue(self) -> list[str]:
        """The ids of the messages that wait."""
        return [path.name.removesuffix("-H") for path in (self.folder / "spool/input").glob("*-H")]

    def sendmail(self, message: bytes, *, to: Sequence[str], from_: str) -> None:
        """Submit a message as sendmail(1) does."""
        argv = [str(self.folder / "exim4"), "-C", str(self.config), "-oi", "-f", from_, "--", *to]
        subprocess.run(argv, input=message, env=os.environ, check=True, capture_output=True)

    def _configuration(self) -> str:
        here = _HERE.replace("FOLDER", str(self.folder)).replace("PORT", str(self.smtp_port))
        text = (EXAMPLES / "exim/exim4.conf").read_text()
        text = _replaced(text, r"^SOCKETS = .*$", f"SOCKETS = {self._sockets}")
        text = _replaced(text, r"^BOUNCE_DOMAIN = .*$", f"BOUNCE_DOMAIN = {BOUNCE_DOMAIN}\n{here}")
        route = "driver = manualroute\n  route_list = * 127.0.0.1\n  self = send"
        text = _replaced(text, r"driver = dnslookup$", route)
        text = _replaced(text, r"driver = smtp$", f"driver = smtp\n  port = {self._next_hop}\n  allow_localhost")
        return _replaced(text, r"F,2h,15m; G,16h,1h,1.5; F,4d,6h", f"F,1h,{RETRY_S}s")


def _replaced(text: str, pattern: str, by: str) -> str:
    made, count = re.subn(pattern, lambda _: by, text, flags=re.MULTILINE)
    assert count == 1, (pattern, count)
    return made
