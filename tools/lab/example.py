"""A recipe of `postfix-examples/`, read as Postfix reads it, with sockets and bounce domains put in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "postfix-examples"

BOUNCE_DOMAIN = "bounces.example.com"
"""The bounce domain that the recipes are written for."""

MENTION = re.compile(re.escape(BOUNCE_DOMAIN) + r"(=[^\s,}]+)?")
"""The bounce domain, alone or with its route as in `inline:{ domain=route }`."""


@dataclass(frozen=True)
class Sockets:
    """Where Retour listens; Postfix takes paths relative to its queue directory."""

    milter: str = "retour/milter.sock"
    lmtp: str = "retour/lmtp.sock"
    lookup: str = "retour/lookup.sock"


@dataclass(frozen=True)
class Example:
    """The settings of a recipe: main.cf as name and value, master.cf as its lines without comments."""

    main: dict[str, str]
    master: str

    def adapted(self, domains: Sequence[str], sockets: Sockets) -> Example:
        """The same recipe for other bounce domains and socket paths, as an admin would adapt it."""
        return Example({name: _adapt(text, domains, sockets) for name, text in self.main.items()}, self.master)


def read_example(name: str = "basic") -> Example:
    """Read the recipe in the folder `postfix-examples/NAME`."""
    folder = EXAMPLES / name
    main = dict(_settings(_logical_lines((folder / "main.cf").read_text())))
    return Example(main, "\n".join(_logical_lines((folder / "master.cf").read_text())) + "\n")


def _logical_lines(text: str) -> list[str]:
    """The lines without comments and empty ones; one that begins with white space continues the last."""
    lines: list[str] = []
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line[0].isspace() and lines:
            lines[-1] += "\n" + line
        else:
            lines.append(line)
    return lines


def _settings(lines: list[str]) -> list[tuple[str, str]]:
    pairs = [line.partition("=") for line in lines]
    return [(name.strip(), value.strip()) for name, _, value in pairs]


def _adapt(text: str, domains: Sequence[str], sockets: Sockets) -> str:
    ours = Sockets()
    for role in ("milter", "lmtp", "lookup"):
        text = text.replace(f"unix:{getattr(ours, role)}", f"unix:{getattr(sockets, role)}")
    return MENTION.sub(lambda found: ", ".join(domain + (found[1] or "") for domain in domains), text)
