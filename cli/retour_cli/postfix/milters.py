"""Milters: which kind each is, where Retour's belongs among them, and which services hand mail back. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from retour_cli.postfix.instance import Instance, Service
from retour_cli.postfix.lists import expand, in_braces, split_list

_SIGNERS = re.compile(r"dkim|rspamd|openarc|\barc\b|:8891\b|:8892\b|:8893\b|:11332\b|:12301\b", re.IGNORECASE)
_FILTERS = re.compile(r"clam|spamass|greylist|grey|milter-regex|dmarc|spf|virus", re.IGNORECASE)
ORIGIN = "sendmail(1)"


def target(element: str) -> str:
    """The socket of an element of a list of milters."""
    return in_braces(element)[0]


def signs(element: str) -> bool:
    """Whether it looks like one that signs what it sees (rspamd, which also filters, too)."""
    return bool(_SIGNERS.search(target(element))) and not _filters(element)


def _filters(element: str) -> bool:
    return bool(_FILTERS.search(target(element)))


def is_tcp(element: str) -> bool:
    """Whether it is reached over TCP."""
    return target(element).startswith("inet")


def merged(text: str, ours: str, instance: Instance) -> str:
    """The list `text`, as main.cf has it, with ours: behind the filters that it begins with, before all others.

    Unknown ones may sign, and must see what we stamp.
    """
    elements = split_list(text)
    index = 0
    while index < len(elements) and _filters(expand(elements[index], instance.values)):
        index += 1
    return ", ".join([*elements[:index], ours, *elements[index:]])


def contains(elements: Sequence[str], socket: str) -> bool:
    """Whether a list of milters, expanded, has this socket."""
    return any(target(element) == socket for element in elements)


def takes_back(service: Service, instance: Instance) -> bool:
    """Whether a content filter hands mail back to this smtpd: elsewhere there is a filter, and here none."""
    if service.program != "smtpd":
        return False
    for name in ("content_filter", "smtpd_proxy_filter"):
        used = instance.value(name) or any(one.options.get(name) for one in instance.services)
        if used and service.options.get(name) == "":
            return True
    return False


def sees_no_milters(service: Service, instance: Instance) -> bool:
    """Whether milters are switched off for a service."""
    return "no_milters" in instance.elements("receive_override_options", service)
