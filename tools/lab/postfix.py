"""A private Postfix in a temporary folder, wired to Retour by a recipe of `postfix-examples/`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from lab import instance
from lab.cleanup import Guard
from lab.example import BOUNCE_DOMAIN, Sockets, read_example
from lab.installation import complaint, find_installation
from lab.ports import free_port, wait_answers
from lab.process import ChildFailed, members
from lab.sasl import AuthService
from lab.wait import wait_until


class PrivatePostfix:
    """A Postfix of its own, as a context manager; needs root, as every Postfix does.

    It ends with the context, and also when this process is killed.

    `smtp_port` is its port 25: it relays for 127.0.0.1 only, so a client that connects from 127.0.0.3 is an
    outsider (swaks: `local_interface`). `submission_port` relays for the logins in `users` only.

    (`smtp_server` and `submission_server` are the same as `host:port`.)

    `destinations` maps recipient domains to `host:port` or to a transport (`discard:`); others are refused.
    `inbound` are those domains that outsiders may write to. `main` (settings), `master` (lines) and the two
    sets of smtpd options come last and win. Socket paths are relative to `queue_directory` or absolute;
    `sockets` is the folder where they lie by default.
    """

    def __init__(
        self,
        folder: Path,
        *,
        example: str = "basic",
        bounce_domains: Sequence[str] = (BOUNCE_DOMAIN,),
        milter: Path | None = None,
        lmtp: Path | None = None,
        lookup: Path | None = None,
        hosts: Sequence[str] = ("127.0.0.1",),
        destinations: Mapping[str, str] | None = None,
        inbound: Sequence[str] = (),
        users: Mapping[str, str] | None = None,
        main: Mapping[str, str] | None = None,
        master: str = "",
        smtpd_options: Mapping[str, str] | None = None,
        submission_options: Mapping[str, str] | None = None,
    ) -> None:
        named = {"milter": milter, "lmtp": lmtp, "lookup": lookup}
        sockets = Sockets(**{role: str(path) for role, path in named.items() if path})
        self.plan = instance.Plan(
            folder=folder,
            example=read_example(example).adapted(bounce_domains, sockets),
            smtp_port=free_port(),
            submission_port=free_port(),
            hosts=hosts,
            destinations=destinations or {},
            inbound=inbound,
            main=main or {},
            master=master,
            smtpd_options=smtpd_options or {},
            submission_options=submission_options or {},
        )
        self.smtp_port = self.plan.smtp_port
        self.submission_port = self.plan.submission_port
        self.smtp_server = f"{hosts[0]}:{self.smtp_port}"
        self.submission_server = f"{hosts[0]}:{self.submission_port}"
        self.config = self.plan.config
        self.queue_directory = self.plan.queue
        self.sockets = self.plan.queue / "retour"
        self._installation = find_installation()
        self._users = users or {}
        self._services = ExitStack()
        self._guard: Guard | None = None
        self._master = 0

    def __enter__(self) -> PrivatePostfix:
        instance.write(self.plan, self._installation)
        try:
            self.start()
            self._services.enter_context(AuthService(self.queue_directory / "retour-auth", self._users))
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            print(f"--- Postfix logged:\n{self.log()}", file=sys.stderr)
        try:
            self._services.close()
        finally:
            self.abort()

    def start(self) -> None:
        """Start it and wait until it answers. Raises `ChildFailed` with the log."""
        abort = [self._installation.command("postfix"), "-c", str(self.config), "abort"]
        self._guard = Guard(abort, os.environ | self._installation.environment)
        self.run("postfix", "start")
        self._master = int((self.queue_directory / "pid/master.pid").read_text())
        for host in self.plan.hosts:
            wait_answers((host, self.smtp_port))

    def abort(self) -> None:
        """Stop it at once, mail in flight stays in the queue, and wait until no process is left."""
        if self._guard is None:
            return
        self._guard.release()
        self._guard = None
        if self._master:  # 0 if the start failed
            wait_until(lambda: not members(self._master), what="the end of all Postfix processes", seen=self.log)

    def processes(self) -> list[int]:
        """The ids of its processes."""
        return [int(one.partition(" ")[0]) for one in members(self._master)]

    def run(self, command: str, *words: str, stdin: bytes = b"") -> str:
        """Run a Postfix command on this instance and return what it prints. Raises `ChildFailed`."""
        argv = [self._installation.command(command), "-c", str(self.config), *words]
        return self._run(argv, stdin).stdout.decode(errors="replace")

    def sendmail(
        self, message: bytes, *, to: Sequence[str], from_: str | None = None, options: Sequence[str] = ()
    ) -> None:
        """Submit a message by sendmail(1). Raises `ChildFailed` if it is not accepted."""
        sender = [] if from_ is None else ["-f", from_]
        program = self._installation.command("sendmail")
        argv = [program, "-C", str(self.config), "-i", *sender, *options, "--", *to]
        self._run(argv, message)

    def queue(self) -> list[dict[str, Any]]:
        """The messages in the queue, as `postqueue -j` lists them."""
        return [json.loads(line) for line in self.run("postqueue", "-j").splitlines()]

    def flush(self) -> None:
        """Try to deliver all that is deferred now."""
        self.run("postqueue", "-f")

    def wait_queue_empty(self) -> None:
        """Wait until nothing is in the queue. Raises `TimeoutError`."""
        wait_until(lambda: not self.queue(), what="an empty queue", seen=self.log)

    def wait_deferred(self, count: int) -> None:
        """Wait until the queue holds `count` deferred messages and no others. Raises `TimeoutError`.

        To be called before `flush()`, because the log is a moment ahead of the queue.
        """
        wait_until(
            lambda: [entry["queue_name"] for entry in self.queue()] == ["deferred"] * count,
            what=f"{count} deferred messages",
            seen=self.log,
        )

    def log(self) -> str:
        """The mail log so far."""
        return self.plan.log.read_text(errors="replace") if self.plan.log.exists() else ""

    def wait_for_log(self, pattern: str) -> re.Match[str]:
        """Wait until the regular expression matches in the mail log. Raises `TimeoutError`."""
        return wait_until(
            lambda: re.search(pattern, self.log(), re.MULTILINE),
            what=f"{pattern!r} in the mail log",
            seen=self.log,
        )

    def _run(self, argv: Sequence[str], stdin: bytes) -> subprocess.CompletedProcess[bytes]:
        env = os.environ | self._installation.environment
        done = subprocess.run(argv, input=stdin, capture_output=True, env=env, check=False)
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip() or complaint(argv, env)
            raise ChildFailed(f"{' '.join(argv)} ended with {done.returncode}: {said}\n{self.log()}")
        return done
