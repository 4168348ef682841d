"""App: which handler answers which path, and what becomes of what they raise."""

from __future__ import annotations

import json
from http import HTTPStatus
from importlib import resources

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from retour_web import responses
from retour_web.backend import Backend
from retour_web.forms import MAX_BODY_OCTETS
from retour_web.in_flight import InFlight
from retour_web.unsubscribe import UnsubscribeHandler

_ANY_FOLDER = "/{folder:(?:.*/)?}"
"""The service may be reached below a path of a web server's, which passes that on or not."""

log = structlog.get_logger()


def make_app(backend: Backend, in_flight: InFlight) -> web.Application:
    """The application. Each request is `in_flight` until its answer is made."""
    app = web.Application(middlewares=[_answers_all(backend, in_flight)], client_max_size=MAX_BODY_OCTETS + 1)
    links = UnsubscribeHandler(backend)
    link = app.router.add_resource(_ANY_FOLDER + "u/{token}")
    link.add_route(hdrs.METH_GET, links.show)
    link.add_route(hdrs.METH_HEAD, links.show)
    link.add_route(hdrs.METH_POST, links.submit)
    link.add_route(hdrs.METH_OPTIONS, links.options)
    app.router.add_get("/healthz", _health(backend))
    app.router.add_get("/openapi.json", _openapi)
    return app


def _answers_all(backend: Backend, in_flight: InFlight) -> Middleware:
    """What stands before all handlers: each error becomes a page or problem details, each response is guarded."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        with in_flight:
            response = await _answer(backend, request, handler)
        responses.guarded(response)
        if in_flight.stopping:
            response.force_close()
        return response

    return middleware


async def _answer(backend: Backend, request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        return responses.problem(backend, request, error.status, allow=error.headers.get(hdrs.ALLOW, ""))
    except Exception:
        log.exception("request failed", method=request.method)  # not its path, which holds the token
        return responses.later(backend, request)


def _health(backend: Backend) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        health = await backend.health()
        status = HTTPStatus.OK if health.store and health.writer else HTTPStatus.SERVICE_UNAVAILABLE
        text = json.dumps({"store": health.store, "writer": health.writer}) + "\n"
        return web.Response(text=text, status=status, content_type="application/json")

    return handler


async def _openapi(request: web.Request) -> web.Response:
    """What this service speaks (OpenAPI 3.1)."""
    text = (resources.files("retour_web") / "data/openapi.json").read_text("utf-8")
    return web.Response(text=text, content_type="application/json")
