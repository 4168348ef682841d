"""Scope: where a suppression holds, as postmasters and lists write it. Pure.

In the store a class of streams begins with an asterisk, which no stream's name can; in lists it is a word. A stream
that is called as such a word is written `stream:bulk`.
"""

from __future__ import annotations

from collections.abc import Collection

from retour_policy.core.decide import BULK, EVERYWHERE

_CLASSES = {"everywhere": EVERYWHERE, "bulk": BULK}
_WORDS = {scope: word for word, scope in _CLASSES.items()}
_STREAM = "stream:"


def scope_text(scope: str) -> str:
    """A scope as lists write it: everywhere, bulk, or a stream."""
    return _WORDS.get(scope) or (f"{_STREAM}{scope}" if scope in _CLASSES else scope)


def parse_scope(text: str, streams: Collection[str]) -> str:
    """The scope that `text` means; an empty text is everywhere. Raises `LookupError` with a text for the postmaster."""
    found = {"": EVERYWHERE, **_CLASSES, **{scope: scope for scope in _WORDS}}.get(text.lower())
    name = text.removeprefix(_STREAM)
    if found is None and name in streams:
        return name
    if found is None:
        known = ", ".join([*_CLASSES, *map(scope_text, sorted(streams))])
        raise LookupError(f"no stream {name!r}; the scopes are {known}")
    return found
