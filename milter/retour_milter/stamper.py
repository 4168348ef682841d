"""Stamper: serves mail servers that have no milters, such as Exim: a line in, a line out, for each recipient.

    check SENDER RECIPIENT                         250 ok | 252 drop: WHY | 550 5.7.1 WHY | 451 4.3.0 WHY
    stamp SENDER RECIPIENT [QUEUE-ID [MESSAGE-ID]] 250 SENDER-TO-USE      | 550 5.7.1 WHY | 451 4.3.0 WHY

Words are divided by tabs, or by single spaces where the line has no tab. The answers are those that the milter gives.
A stream is found by the sender alone, and no header field is written.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import structlog

from retour_milter.answers import STOPPING, STORE_IS_DOWN, Discard, Reply, refusal
from retour_milter.backend import Backend
from retour_milter.match import Origin, find_stream
from retour_milter.recipients import Recipient
from retour_milter.session import Session
from retour_policy.address import mailbox
from retour_policy.errors import StoreUnavailable
from retour_policy.sanitize import clean

MAX_LINE_OCTETS = 4_096
LINE_TIMEOUT_S = 10.0  # that a client may take for its line, and for reading the answer
MAX_CONNECTIONS = 32
RETRY_S = 1.0  # after a client could not be accepted
MIN_WORDS, MAX_WORDS = 3, 5

log = structlog.get_logger()
_OK = "250 ok"
_SENDMAIL = ("127.0.0.1", 0)  # how Postfix shows mail that was handed over on this host, by sendmail(1)


def answer(backend: Backend, line: str) -> str:
    """The answer to one line. Never raises."""
    words = line.rstrip("\r\n").split("\t" if "\t" in line else " ")
    if not MIN_WORDS <= len(words) <= MAX_WORDS or words[0] not in ("check", "stamp"):
        return "500 5.5.2 check or stamp, then sender and recipient"
    verb, sender, recipient, *rest = map(clean, words)
    try:
        if verb == "check":
            return _check(backend, sender, recipient)
        return _stamp(backend, sender, recipient, rest)
    except StoreUnavailable as error:
        log.error("store is down", queue_id=rest[0] if rest else None, error=str(error))
        return _text(STORE_IS_DOWN)
    except Exception:
        log.exception("milter failed", step=verb)
        return _text(STORE_IS_DOWN)


def _check(backend: Backend, sender: str, recipient: str) -> str:
    """Whether a recipient may get mail of a sender. Raises `StoreUnavailable`."""
    origin = Origin(None, None, mailbox(sender))
    stream = find_stream(backend.settings.config.stream, origin, []).stream if origin.sender else None
    if stream is None or stream.suppressed == "pass":
        return _OK
    found = backend.suppressed(stream, Recipient.of(recipient, None, ()).address)
    if found is None:
        return _OK
    reply = refusal(recipient, found)
    if stream.suppressed == "drop" and reply.code.startswith("5"):
        return f"252 drop: {reply.text}"
    return _text(reply)


def _stamp(backend: Backend, sender: str, recipient: str, rest: Sequence[str]) -> str:
    """Record one send; the sender to use. Raises `StoreUnavailable`."""
    queue_id = rest[0] if rest else None
    session = Session(backend)
    session.connect(*_SENDMAIL)
    made = session.mail(mailbox(sender), None)
    if made is None:
        session.rcpt(recipient)
        if len(rest) > 1:
            session.header("Message-ID", rest[1])
        made = session.end(queue_id)
    if isinstance(made, Reply):
        return _text(made)
    if isinstance(made, Discard):
        return "550 5.7.1 is suppressed"
    return f"250 {made.sender or sender}"


def _text(reply: Reply) -> str:
    return f"{reply.code} {reply.status} {reply.text}"


class Stamper:
    """Answers on a listening socket, a few clients at a time, until it is closed."""

    def __init__(self, backend: Backend, listener: socket.socket) -> None:
        self._backend = backend
        self._listener = listener
        self._pool = ThreadPoolExecutor(MAX_CONNECTIONS, thread_name_prefix="stamper")
        self._room = threading.Semaphore(MAX_CONNECTIONS)
        self._closed = threading.Event()

    def start(self) -> None:
        """Begin to answer."""
        threading.Thread(target=self._accept, name="stamper", daemon=True).start()

    def listen_on(self, listener: socket.socket) -> None:
        """Accept on another socket from now on."""
        old, self._listener = self._listener, listener
        _stop_accepting(old)

    def close(self) -> None:
        """Accept nobody any more; who is being answered is answered."""
        self._closed.set()
        _stop_accepting(self._listener)

    def _accept(self) -> None:
        while not self._closed.is_set():
            self._room.acquire()
            listener = self._listener
            try:
                client, _ = listener.accept()
            except OSError as error:
                self._room.release()
                if listener is self._listener and not self._closed.wait(RETRY_S):
                    log.error("connection not begun", error=str(error))
                continue
            self._pool.submit(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:  # the client has gone: it asks again
            client.settimeout(LINE_TIMEOUT_S)
            line = _line(client)
            if line is not None:
                client.sendall(self._answered(line).encode("utf-8", "replace") + b"\n")
        self._room.release()

    def _answered(self, line: str) -> str:
        if not self._backend.in_flight.enter():
            return _text(STOPPING)
        try:
            with self._backend.in_flight.step():
                return answer(self._backend, line)
        finally:
            self._backend.in_flight.leave(answered=False)


def _stop_accepting(listener: socket.socket) -> None:
    """Close it; a thread that waits in accept(2) wakes up by the shutdown alone."""
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def _line(client: socket.socket) -> str | None:
    """The client's line; None if it hangs up before its end, or the line is too long."""
    line = b""
    while not line.endswith(b"\n") and len(line) <= MAX_LINE_OCTETS:
        more = client.recv(MAX_LINE_OCTETS)
        if not more:
            return None
        line += more
    return line.decode("utf-8", "replace") if line.endswith(b"\n") and line.count(b"\n") == 1 else None
