"""Forms: what a POST asks for, read from its body: urlencoded or multipart (RFC 8058 section 3.2, RFC 7578)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from email.message import Message
from urllib.parse import parse_qsl

from aiohttp import hdrs, web

MAX_BODY_OCTETS = 64 * 1024
MAX_FIELDS = 50
BODY_TIMEOUT_S = 30.0
URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"


async def read_form(request: web.Request) -> dict[str, str]:
    """The fields of a POST; of several of one name the first.

    Raises `HTTPRequestEntityTooLarge`, `HTTPUnsupportedMediaType`, `HTTPRequestTimeout` or `HTTPBadRequest`.
    """
    kind = _kind(request)
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            body = await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    if len(body) > MAX_BODY_OCTETS:
        raise web.HTTPRequestEntityTooLarge(MAX_BODY_OCTETS, len(body))
    try:
        if kind == MULTIPART:
            return _first(_multipart(request.headers[hdrs.CONTENT_TYPE], body))
        return _first(parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_FIELDS))
    except ValueError:
        raise web.HTTPBadRequest from None


def _kind(request: web.Request) -> str:
    """Its media type; one that is not given is taken for urlencoded, which is the simplest client's."""
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
        raise web.HTTPUnsupportedMediaType
    kind = request.content_type if hdrs.CONTENT_TYPE in request.headers else URLENCODED
    if kind not in (URLENCODED, MULTIPART):
        raise web.HTTPUnsupportedMediaType
    return kind


def _multipart(content_type: str, body: bytes) -> list[tuple[str, str]]:
    """The fields of a multipart body (RFC 2046 section 5.1). Raises `ValueError` where it is none, or only half of one.

    Not read by the standard library's parser, which some bodies of this size keep busy for long.
    """
    boundary = _parameter("Content-Type", content_type, "boundary")
    delimiter = b"\r\n--" + boundary.encode("ascii")
    _before, *parts, end = (b"\r\n" + body).split(delimiter, MAX_FIELDS + 2)
    if not boundary or not end.startswith(b"--"):
        raise ValueError("no boundary, or not all parts, or too many")
    pairs = []
    for part in parts:
        head, _, value = part.partition(b"\r\n")[2].partition(b"\r\n\r\n")
        if name := _field_name(head):
            pairs.append((name, value.decode("utf-8", "replace")))
    return pairs


def _field_name(head: bytes) -> str:
    """The name of a part (RFC 7578 section 4.2), "" if it has none."""
    for line in head.decode("utf-8", "replace").split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-disposition":
            return _parameter("Content-Disposition", value, "name")
    return ""


def _parameter(field: str, value: str, name: str) -> str:
    """A parameter of a header field's value, "" if it is not there."""
    message = Message()
    message[field] = value.strip()
    found = message.get_param(name, "", field)
    return found if isinstance(found, str) else ""


def _first(pairs: list[tuple[str, str]]) -> dict[str, str]:
    return dict(reversed(pairs))


def is_one_click(form: Mapping[str, str]) -> bool:
    """Whether that is what RFC 8058 section 3.2 demands: List-Unsubscribe=One-Click."""
    named = (value for name, value in form.items() if name.lower() == "list-unsubscribe")
    return any(value.strip().lower() == "one-click" for value in named)
