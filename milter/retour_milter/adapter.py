"""Adapter: the only module that imports pymilter; it translates between libmilter and `Session`."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import Milter
import structlog

from retour_milter.answers import STOPPING, Discard, Edits, Reply
from retour_milter.backend import Backend
from retour_milter.session import Session

ACTIONS = Milter.ADDHDRS | Milter.CHGHDRS | Milter.CHGFROM | Milter.DELRCPT | Milter.ADDRCPT | Milter.ADDRCPT_PAR
IDLE_TIMEOUT_S = 7210  # longer than Postfix waits for its own clients

log = structlog.get_logger()
Call = TypeVar("Call", bound=Callable[..., Any])


def guarded(call: Call) -> Call:
    """Any internal error is answered with 451 and logged; a process that stops waits for the answer."""

    @wraps(call)
    def wrapper(self: Any, *args: Any) -> Any:
        try:
            with self.backend.in_flight.step():
                return call(self, *args)
        except Exception:
            log.exception("milter failed", step=call.__name__)
            return Milter.TEMPFAIL

    return wrapper  # type: ignore[return-value]


class Adapter(Milter.Base):  # type: ignore[misc]
    """One client's connection, as libmilter calls it: each step possibly in another thread, never two at once."""

    backend: Backend

    def __init__(self) -> None:
        self._session = Session(self.backend)
        self._entered = False
        self._with_body = False
        self._answered = False

    def negotiate(self, options: list[int]) -> Any:
        """Ask for the steps, actions and macros that are used, and for no others.

        The body is asked for while some stream has `retry`. This is called for each connection, so that a reload
        decides for those that begin after it.
        """
        offered = options[1]
        answer = super().negotiate(options)
        self._with_body = bool(offered & Milter.P_SKIP) and self.backend.wants_bodies
        if not self._with_body:
            options[1] |= offered & Milter.P_NOBODY
        options[0] &= ACTIONS | Milter.SETSYMLIST
        self._session.can_add = bool(options[0] & Milter.ADDRCPT_PAR)
        if options[0] & Milter.SETSYMLIST:
            # Milter's own @symlist would undo the omission of steps, under Python 3.
            self._ctx.setsymlist(Milter.M_CONNECT, "")
            self._ctx.setsymlist(Milter.M_ENVFROM, "{auth_authen}")
            self._ctx.setsymlist(Milter.M_ENVRCPT, "{rcpt_addr}")
            self._ctx.setsymlist(Milter.M_EOM, "i")
        return answer

    @Milter.noreply  # type: ignore[untyped-decorator]
    def connect(self, hostname: str, family: int, hostaddr: Any) -> Any:
        """A client. Its address is a tuple, or a path for a unix socket."""
        if family in (socket.AF_INET, socket.AF_INET6):
            self._session.connect(str(hostaddr[0]), int(hostaddr[1]))
        return Milter.CONTINUE

    @guarded
    def envfrom(self, sender: str, *args: str) -> Any:
        """MAIL FROM."""
        self._leave()
        if not self.backend.in_flight.enter():
            return self._refuse(STOPPING)
        self._entered = True
        answer = self._session.mail(sender, self.getsymval("{auth_authen}") or None)
        if answer is None:
            return Milter.CONTINUE
        self._last_answer()
        return self._refuse(answer) if isinstance(answer, Reply) else Milter.ACCEPT

    @guarded
    def envrcpt(self, recipient: str, *args: str) -> Any:
        """RCPT TO, and its ESMTP parameters."""
        refusal = self._session.rcpt(recipient, self.getsymval("{rcpt_addr}") or None, args)
        return self._refuse(refusal) if refusal else Milter.CONTINUE

    @Milter.noreply  # type: ignore[untyped-decorator]
    def header(self, name: str, value: str) -> Any:
        """A header field."""
        self._session.header(name, value)
        return Milter.CONTINUE

    @guarded
    def body(self, chunk: bytes) -> Any:
        """A part of the body; once enough is kept, no more is asked for."""
        return Milter.CONTINUE if self._session.body(bytes(chunk)) else Milter.SKIP

    @guarded
    def eom(self) -> Any:
        """The end of the message."""
        try:
            return self._carry_out(self._session.end(self.getsymval("i") or None, with_body=self._with_body))
        finally:
            self._last_answer()

    def abort(self) -> Any:
        """The message was aborted."""
        self._session.abort()
        self._leave()
        return Milter.CONTINUE

    def close(self) -> Any:
        """The client has disconnected."""
        self._leave()
        return Milter.CONTINUE

    def _carry_out(self, answer: Edits | Reply | Discard) -> Any:
        if isinstance(answer, Reply):
            return self._refuse(answer)
        if isinstance(answer, Discard):
            return Milter.DISCARD
        if answer.sender is not None:
            self.chgfrom(f"<{answer.sender}>")
        for recipient in answer.recipients.delete:
            self.delrcpt(recipient)
        for recipient, parameters in answer.recipients.add:
            self.addrcpt(recipient, parameters)
        for edit in answer.headers:
            if edit.place:
                self.chgheader(edit.name, edit.place, edit.value)
            else:
                self.addheader(edit.name, edit.value)
        return Milter.ACCEPT

    def _refuse(self, reply: Reply) -> Any:
        self.setreply(reply.code, reply.status, reply.text)
        return Milter.TEMPFAIL if reply.code.startswith("4") else Milter.REJECT

    def _last_answer(self) -> None:
        """The message gets its last answer when this step returns."""
        if self._entered and not self._answered:
            self._answered = True
            self.backend.in_flight.answered()

    def _leave(self) -> None:
        """The message before, if any, is complete: libmilter calls the next step only after it has sent the answer."""
        if self._entered:
            self.backend.in_flight.leave(answered=self._answered)
            self._entered = self._answered = False


def serve(backend: Backend, descriptor: int) -> None:
    """Answer on a listening socket until the process ends.

    libmilter closes the descriptor that it is given. Another socket may be put in its place by dup2(2): libmilter
    waits on it for five seconds at a time.

    libmilter's loop takes SIGTERM, SIGINT and SIGHUP where no other thread waits for them, and then leaves its
    sessions alone. So it runs in a thread of its own, while the main thread, which the kernel asks first, waits.
    """
    Adapter.backend = backend
    Milter.factory = Adapter
    Milter.set_flags(ACTIONS)
    Milter.runmilter("retour", f"fd:{descriptor}", IDLE_TIMEOUT_S, rmsock=False)
