"""Responses: pages for people, problem details for programs (RFC 9457), and the header fields that all of them have."""

from __future__ import annotations

import json
from http import HTTPStatus

from aiohttp import hdrs, web

from retour_web.backend import Backend, Subscription
from retour_web.languages import choose, languages
from retour_web.pages import Frame, Message, style_hash

RETRY_AFTER_S = 60
PROBLEM = "application/problem+json"
_MESSAGES: dict[int, Message] = {
    HTTPStatus.NOT_FOUND: "unknown",
    HTTPStatus.GONE: "gone",
    HTTPStatus.TOO_MANY_REQUESTS: "limited",
    HTTPStatus.SERVICE_UNAVAILABLE: "later",
}
"""What a status is called on a page; `misunderstood` for all others."""


def page(backend: Backend, request: web.Request, found: Subscription, *, came_back: bool = False) -> web.Response:
    """The page of a subscription."""
    frame = _frame(backend, request)
    return _html(frame, frame.subscription(found, came_back=came_back), HTTPStatus.OK)


def problem(
    backend: Backend, request: web.Request, status: int, *, retry_after_s: int = 0, allow: str = ""
) -> web.Response:
    """What went wrong, for whoever asks: browsers say that they take HTML."""
    frame = _frame(backend, request)
    name = _MESSAGES.get(status, "misunderstood")
    if "text/html" in request.headers.get(hdrs.ACCEPT, "").lower():
        response = _html(frame, frame.message(name), status)
    else:
        texts = choose("", languages()).texts
        details = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": texts[name]}
        response = web.Response(text=json.dumps(details) + "\n", status=status, content_type=PROBLEM)
    if retry_after_s:
        response.headers[hdrs.RETRY_AFTER] = str(retry_after_s)
    if allow:
        response.headers[hdrs.ALLOW] = allow
    return response


def later(backend: Backend, request: web.Request) -> web.Response:
    """Nothing is known to be done: programs and people are to try again. What is not known is temporary."""
    return problem(backend, request, HTTPStatus.SERVICE_UNAVAILABLE, retry_after_s=RETRY_AFTER_S)


def guarded(response: web.StreamResponse) -> None:
    """Set what keeps a page to itself: nothing loaded, run, framed, kept, found, or told to other sites."""
    response.headers.update(
        {
            "Content-Security-Policy": (
                f"default-src 'none'; style-src {style_hash()}; img-src data:; form-action 'self'; "
                "base-uri 'none'; frame-ancestors 'none'"
            ),
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "X-Robots-Tag": "noindex, nofollow",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Server": "retour",
        }
    )


def _frame(backend: Backend, request: web.Request) -> Frame:
    language = choose(request.headers.get(hdrs.ACCEPT_LANGUAGE, ""), languages())
    return Frame(language, backend.web.operator, backend.logo)


def _html(frame: Frame, text: str, status: int) -> web.Response:
    headers = {hdrs.CONTENT_LANGUAGE: frame.language.code}
    return web.Response(text=text, status=status, content_type="text/html", charset="utf-8", headers=headers)
