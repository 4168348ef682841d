"""Child processes: start one, wait until it is ready, stop it, and prove that nothing of it is left."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from lab.cleanup import Guard
from lab.ports import Address, answers
from lab.wait import PATIENCE, wait_until


class ChildFailed(RuntimeError):
    """A child ended when it should not, did not end when it should, or left something running."""


@contextmanager
def workspace() -> Iterator[Path]:
    """A temporary folder that other users may pass through, with a path short enough for unix sockets.

    Postfix's daemons run as the user postfix, so pytest's own `tmp_path` (mode 0700) does not serve.
    """
    folder = Path(tempfile.mkdtemp(prefix="retour-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def members(group: int) -> list[str]:
    """The living processes of a process group, each as `pid (name)`; zombies do not count."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            name, _, rest = stat.read_text(errors="replace").rpartition(")")
            state, _parent, its_group = rest.split()[:3]
            if int(its_group) == group and state not in "ZX":
                found.append(f"{name})")
    return found


class Child:
    """A program run beside the test, as a context manager; what it prints is kept in `folder/NAME.log`.

    If this process is killed, the child gets SIGTERM. `stderr` is a descriptor for its standard error, where that is
    not kept.

    The default `umask` lets a group use the sockets that the child makes, as the systemd units do.
    """

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        folder: Path,
        name: str,
        env: Mapping[str, str] | None = None,
        umask: int = 0o007,
        stderr: int | None = None,
    ) -> None:
        self.argv = [str(word) for word in argv]
        self.name = name
        self.log_file = folder / f"{name}.log"
        self.states: list[str] = []
        self._notify_path = folder / f"{name}.notify"
        self._env = dict(os.environ if env is None else env)
        self._umask = umask
        self._stderr = stderr

    def __enter__(self) -> Child:
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify_path.unlink(missing_ok=True)
        self._notify.bind(str(self._notify_path))
        self._notify_path.chmod(0o666)
        self._notify.setblocking(False)
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log if self._stderr is None else self._stderr,
                env=self._env | {"NOTIFY_SOCKET": str(self._notify_path)},
                umask=self._umask,
                start_new_session=True,
            )
        self._guard = Guard(["kill", "-s", "TERM", "--", f"-{self.pid}"], os.environ)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._process.poll() is None:
                self.stop()
            self._assert_nothing_left()
        except ChildFailed:
            if error is None:
                raise
        finally:
            self._kill()
            self._guard.release()
            self._notify.close()
            self._notify_path.unlink(missing_ok=True)
            if error is not None:
                print(f"--- {self.name} said:\n{self.log()}", file=sys.stderr)

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    def log(self) -> str:
        """All that the child has printed so far."""
        return self.log_file.read_text(errors="replace")

    def wait_for_log(self, pattern: str) -> re.Match[str]:
        """Wait until the regular expression matches what the child printed. Raises `TimeoutError`."""
        return wait_until(
            lambda: re.search(pattern, self.log(), re.MULTILINE),
            what=f"{pattern!r} in the log of {self.name}",
            seen=self.log,
        )

    def wait_ready(self) -> None:
        """Wait for `READY=1` on the notify socket (sd_notify). Raises `ChildFailed`, `TimeoutError`."""
        self._wait(lambda: "READY=1" in self.heard(), "READY=1")

    def wait_answers(self, address: Address) -> None:
        """Wait until the child accepts connections there. Raises `ChildFailed`, `TimeoutError`."""
        self._wait(lambda: answers(address), f"an answer at {address}")

    def send_signal(self, number: signal.Signals) -> None:
        """Send the child a signal."""
        self._process.send_signal(number)

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait until the child ends by itself and return its exit status (negative: the signal)."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ChildFailed(f"{self.name} was still running after {timeout:g} s") from None

    def stop(self, timeout: float = PATIENCE) -> int:
        """Ask the child to end (SIGTERM) and return its exit status. Raises `ChildFailed` if it does not."""
        self._process.terminate()
        return self.wait(timeout)

    def _wait(self, probe: Callable[[], bool], what: str) -> None:
        def look() -> bool:
            if self._process.poll() is not None:
                raise ChildFailed(f"{self.name} ended with {self._process.returncode}:\n{self.log()}")
            return probe()

        wait_until(look, what=f"{what} from {self.name}", seen=self.log)

    def heard(self) -> list[str]:
        """All states the child has reported through sd_notify so far."""
        while True:
            try:
                self.states += self._notify.recv(4096).decode(errors="replace").splitlines()
            except BlockingIOError:
                return self.states

    def _assert_nothing_left(self) -> None:
        left = members(self.pid)
        if left:
            raise ChildFailed(f"{self.name} ended and left running: {left}\n{self.log()}")

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        wait_until(lambda: not members(self.pid), what=f"the end of what {self.name} had started")
