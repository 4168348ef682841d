"""Rules: what the words of a diagnostic mean; data in TOML, an operator's own before the bundled ones."""

from __future__ import annotations

import tomllib
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, get_args

from retour_bounces.classify.diagnostic import Wording, best_status, clean, wording_of
from retour_bounces.classify.reasons import reasons
from retour_bounces.classify.safe_regex import Pattern, PatternError
from retour_bounces.once import once
from retour_bounces.phrases.index import PhraseIndex
from retour_bounces.phrases.normalise import plain
from retour_bounces.report import Blame, Type

Spans = dict[int, tuple[int, int]]

COMMANDS = {"CONN", "EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA"}
_LISTS = ("words", "match", "all", "also", "unless", "status", "code", "command", "examples")
_KEYS = {"name", "reason", "type", "blame", "vague", *_LISTS}


MAX_PHRASE_CHARACTERS = 200
"""Characters that one phrase of a rule may have."""
MAX_KNOWN_CODES = 1_000
"""Pairs of codes for which it is kept which rules they concern."""
_BUNDLED = ("providers.toml", "rules.toml")
"""Files of bundled rules, in the order in which they are asked."""
_MAX_JOINT_CHARACTERS = 80
"""Characters on each side of a name left out in which a phrase is looked for that it parted."""


class RuleError(ValueError):
    """A rule file cannot be used; the message names file, rule and key."""


class Reply(NamedTuple):
    """What a server answered, as rules see it."""

    wording: Wording
    """The words."""
    status: str = ""
    """Enhanced status code, "" where there is none."""
    code: str = ""
    """SMTP reply code, "" where there is none."""
    command: str = ""
    """SMTP command that was answered, one of `COMMANDS`, "" where it is not known."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: when all its conditions hold, the reason is known."""

    name: str
    reason: str
    type: Type | None = None
    blame: Blame | None = None
    words: tuple[str, ...] = ()
    """Phrases of which one must stand in the text, at the beginning of a word."""
    match: tuple[Pattern, ...] = ()
    """Regular expressions; one that is found does instead of one of the `words`."""
    all: tuple[str, ...] = ()
    """Phrases that must all stand in the text."""
    also: tuple[str, ...] = ()
    """Phrases of which one must stand in the text besides, anywhere in it."""
    unless: tuple[str, ...] = ()
    """Phrases of which none may stand in the text."""
    status: tuple[str, ...] = ()
    """Status codes of which one must be given; "5.7." stands for all that begin so, "-" for none."""
    code: tuple[str, ...] = ()
    """SMTP reply codes, in the same way."""
    command: tuple[str, ...] = ()
    """SMTP commands of which one must have been answered; "?" stands for an unknown one."""
    examples: tuple[str, ...] = ()
    vague: bool = False
    """Its words are so general that the status code, where it tells a reason, is believed instead."""
    sees_links: bool = True
    """Links are looked into; not by a rule that blames the recipient, about whom no page's name says anything."""

    @property
    def hints(self) -> tuple[str, ...]:
        """Texts of which one stands wherever the rule fires without any of its phrases; none where there are none."""
        if not all(pattern.hints for pattern in self.match):
            return ()
        return tuple(dict.fromkeys(hint for pattern in self.match for hint in pattern.hints)) or self.all[:1]

    def fires_without_words(self, reply: Reply) -> tuple[int, int] | None:
        """Where the rule fires, when it is known that none of its phrases stands in the text."""
        if not self.allows(reply):
            return None
        wording = reply.wording
        text = wording.plain if self.sees_links else wording.said
        if self.words or self.match:
            found = next(filter(None, (pattern.search(text) for pattern in self.match)), None)
            if found is None and wording.joined:
                parted = next(filter(None, (pattern.search(wording.joined) for pattern in self.match)), None)
                found = _in_full(*parted, wording.cuts) if parted else None
            return found
        at = text.find(self.all[0]) if self.all else 0
        return at, at + (len(self.all[0]) if self.all else 0)

    def unmet(self, reply: Reply) -> str:
        """Which key keeps the rule from firing on `reply`, when it does not."""
        free = Rule(self.name, self.reason)
        for key in ("status", "code", "command", "all", "also", "unless"):
            alone: dict[str, Any] = {key: getattr(self, key)}
            if not replace(free, **alone).allows(reply):
                return key
        return " or ".join(key for key in ("words", "match") if getattr(self, key))

    def allows_codes(self, status: str, code: str) -> bool:
        """Do the conditions about the codes hold? A status code that is missing is "-", a reply code ""."""
        return (not self.status or status.startswith(self.status)) and (not self.code or code.startswith(self.code))

    def allows(self, reply: Reply) -> bool:
        """Do all conditions hold, apart from `words` and `match`?"""
        if not self.allows_codes(reply.status or "-", reply.code):
            return False
        if self.command and (reply.command or "?") not in self.command:
            return False
        wording = reply.wording
        if self.unless and any(map(wording.said.__contains__, self.unless)):
            return False
        text = wording.plain if self.sees_links else wording.said
        if self.also and not any(map(text.__contains__, self.also)):
            return False
        return not self.all or all(map(text.__contains__, self.all))


@dataclass(frozen=True)
class Rules:
    """Rules in the order in which they are asked; the first that fires decides."""

    rules: tuple[Rule, ...] = ()
    _hints: list[tuple[str, tuple[int, ...]]] = field(init=False, repr=False, compare=False)
    """Texts of which one stands wherever a rule fires without any of its phrases, each with those rules; in the order
    of the first of these."""
    _hints_before: list[int] = field(init=False, repr=False, compare=False)
    """How many of the `_hints` concern a rule that stands before each rule."""
    _unhinted: tuple[int, ...] = field(init=False, repr=False, compare=False)
    """Rules that may fire without any of their phrases on any text."""
    _of_codes: dict[tuple[str, str], tuple[int, ...]] = field(init=False, repr=False, compare=False)
    """Those of the `_unhinted` that a status and a reply code allow, by codes that were asked about."""

    def __post_init__(self) -> None:
        wordless = [(number, rule) for number, rule in enumerate(self.rules) if rule.match or not rule.words]
        hints: dict[str, list[int]] = {}
        for number, rule in wordless:
            for hint in rule.hints:
                hints.setdefault(hint, []).append(number)
        first = [numbers[0] for numbers in hints.values()]
        object.__setattr__(self, "_hints", [(hint, tuple(numbers)) for hint, numbers in hints.items()])
        before = [bisect_left(first, number) for number in range(len(self.rules) + 1)]
        object.__setattr__(self, "_hints_before", before)
        object.__setattr__(self, "_unhinted", tuple(number for number, rule in wordless if not rule.hints))
        object.__setattr__(self, "_of_codes", {})

    @once
    def _phrases(self) -> PhraseIndex[int]:
        return PhraseIndex((phrase, number) for number, rule in enumerate(self.rules) for phrase in rule.words)

    @once
    def vague(self) -> frozenset[str]:
        """Names of the rules whose words say little."""
        return frozenset(rule.name for rule in self.rules if rule.vague)

    @classmethod
    def bundled(cls) -> Rules:
        """The rules that come with the package."""
        return _bundled()

    @classmethod
    def from_file(cls, path: str | Path) -> Rules:
        """The rules of an operator's TOML file, asked before the bundled ones.

        Raises `RuleError` for what is wrong in it (file, rule and key are named) and `OSError` if it cannot
        be read.
        """
        try:
            raw = Path(path).read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise RuleError(f"{path}: not UTF-8: {error.reason} at byte {error.start}") from error
        own = parse(raw, str(path)).rules
        for rule in own:
            _try_examples(rule, str(path))
        return cls(own + _bundled().rules)

    def spans(self, wording: Wording) -> Spans:
        """Where the words of rules stand in a passage, the longest of each rule by the rule's number."""
        spans: Spans = {}
        plain, said = wording.plain, wording.said
        for at, phrase, numbers in self._phrases.find(plain):
            end = at + len(phrase)
            if said is not plain and said[at:end] != phrase:  # in a link
                numbers = [number for number in numbers if self.rules[number].sees_links]
            for number in numbers:
                old = spans.get(number)
                if old is None or end - at > old[1] - old[0]:
                    spans[number] = at, end
        if wording.cuts:
            self._add_joined(spans, wording)
        return spans

    def _add_joined(self, spans: Spans, wording: Wording) -> None:
        """Adds where phrases stand that a name parts."""
        for cut, _ in wording.cuts:
            start = max(0, cut - _MAX_JOINT_CHARACTERS)
            for at, phrase, numbers in self._phrases.find(wording.joined[start : cut + _MAX_JOINT_CHARACTERS]):
                if start + at < cut < start + at + len(phrase):
                    span = _in_full(start + at, start + at + len(phrase), wording.cuts)
                    for number in numbers:
                        old = spans.get(number)
                        if old is None or span[1] - span[0] > old[1] - old[0]:
                            spans[number] = span

    def first(self, reply: Reply, spans: Spans) -> tuple[Rule, tuple[int, int]] | None:
        """The first rule that fires on `reply`, whose text has these `spans`, and where; None where none does."""
        by_words = next((number for number in sorted(spans) if self.rules[number].allows(reply)), None)
        last = len(self.rules) if by_words is None else by_words
        text = reply.wording.plain
        hinted = [numbers for hint, numbers in self._hints[: self._hints_before[last]] if hint in text]
        codes = reply.status or "-", reply.code
        known = self._of_codes.get(codes)
        asked = {*(self._without_hint(*codes) if known is None else known), *chain.from_iterable(hinted)}
        for number in sorted(asked):
            if number >= last:
                break
            where = None if number in spans else self.rules[number].fires_without_words(reply)
            if where is not None:
                return self.rules[number], where
        return (self.rules[by_words], spans[by_words]) if by_words is not None else None

    def _without_hint(self, status: str, code: str) -> tuple[int, ...]:
        """Rules to ask on any text that has this status code, "-" for none, and this reply code, "" for none."""
        rules = ((number, self.rules[number]) for number in self._unhinted)
        found = tuple(number for number, rule in rules if rule.allows_codes(status, code))
        if len(self._of_codes) < MAX_KNOWN_CODES:
            self._of_codes[status, code] = found
        return found


def _in_full(start: int, end: int, cuts: tuple[tuple[int, int], ...]) -> tuple[int, int]:
    """The place in the whole text of what stands between `start` and `end` in one without names."""
    before = max((left_out for cut, left_out in cuts if cut <= start), default=0)
    within = max((left_out for cut, left_out in cuts if cut < end), default=0)
    return start + before, end + within


def parse(raw: str, origin: str) -> Rules:
    """Rules from TOML text; `origin` is the name that errors give. Raises `RuleError`."""
    try:
        tables = tomllib.loads(raw)
    except tomllib.TOMLDecodeError as error:
        hint = "; regular expressions stand in single quotes" if "\\" in str(error) else ""
        raise RuleError(f"{origin}: {error}{hint}") from error
    stray = set(tables) - {"rule"}
    if stray:
        raise RuleError(f"{origin}: unknown key {sorted(stray)[0]!r}; rules are written as [[rule]]")
    rows = tables.get("rule", [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise RuleError(f"{origin}: 'rule' must be a list of tables, written as [[rule]]")
    rules: list[Rule] = []
    for number, row in enumerate(rows, 1):
        rules.append(_rule(row, f"{origin}: rule {row.get('name') or number}"))
    names = [rule.name for rule in rules]
    for name in names:
        if names.count(name) > 1:
            raise RuleError(f"{origin}: rule {name}: the name is used twice")
    return Rules(tuple(rules))


def _rule(row: dict[str, Any], origin: str) -> Rule:
    for key in row:
        if key not in _KEYS:
            raise RuleError(f"{origin}: unknown key {key!r}")
    for key in ("name", "reason"):
        if not isinstance(row.get(key), str) or not row[key].strip():
            raise RuleError(f"{origin}: {key!r} is missing or not a text")
    _one_of(row, "reason", set(reasons()), origin)
    _one_of(row, "type", set(get_args(Type)), origin)
    _one_of(row, "blame", set(get_args(Blame)), origin)
    lists = {key: tuple(_texts(row, key, origin)) for key in _LISTS}
    if not isinstance(row.get("vague", False), bool):
        raise RuleError(f"{origin}: 'vague' must be true or false")
    if not any(lists[key] for key in ("words", "match", "all", "status", "code")):
        raise RuleError(f"{origin}: has no condition; give words, match, all, status or code")
    if not lists["examples"]:
        raise RuleError(f"{origin}: 'examples' is missing; give at least one reply that the rule is for")
    for command in lists["command"]:
        if command not in COMMANDS | {"?"}:
            raise RuleError(f"{origin}: 'command': {command!r} is none of {', '.join(sorted(COMMANDS))}, ?")
    try:
        compiled = tuple(Pattern(text) for text in lists["match"])
    except PatternError as error:
        raise RuleError(f"{origin}: 'match': {error}") from error
    for key in ("words", "all", "also", "unless"):
        lists[key] = tuple(plain(text) for text in lists[key])
        if not all(text.strip() for text in lists[key]):
            raise RuleError(f"{origin}: {key!r}: spaces, dashes, underscores and stars alone stand in any reply")
        if long := next((text for text in lists[key] if len(text) > MAX_PHRASE_CHARACTERS), None):
            raise RuleError(f"{origin}: {key!r}: {long[:30]!r}... is longer than {MAX_PHRASE_CHARACTERS} characters")
    return Rule(
        row["name"], row["reason"], row.get("type"), row.get("blame"), lists["words"], compiled, lists["all"],
        lists["also"], lists["unless"], lists["status"], lists["code"], lists["command"], lists["examples"],
        row.get("vague", False), (row.get("blame") or reasons()[row["reason"]].blame) != "recipient",
    )  # fmt: skip


def _try_examples(rule: Rule, origin: str) -> None:
    """Refuses a rule that does not fire on what it was written for."""
    alone = Rules((rule,))
    for example in rule.examples:
        wording = wording_of(clean(example))
        reply = Reply(wording, best_status(None, wording.statuses) or "", wording.code, wording.command)
        if alone.first(reply, alone.spans(wording)) is None:
            words, code = wording.plain if rule.sees_links else wording.said, wording.code
            compared = f"compared as {words!r}, status {reply.status or '-'}, code {code or 'none'}"
            key = rule.unmet(reply)
            why = "a phrase of 'unless' stands in it" if key == "unless" else f"{key!r} does not hold"
            raise RuleError(f"{origin}: rule {rule.name}: does not fire on its example {example!r}, {compared}: {why}")


def _one_of(row: dict[str, Any], key: str, allowed: set[str], origin: str) -> None:
    if key in row and row[key] not in allowed:
        raise RuleError(f"{origin}: {key!r}: {row[key]!r} is none of {', '.join(sorted(allowed))}")


def _texts(row: dict[str, Any], key: str, origin: str) -> Iterator[str]:
    value = row.get(key, [])
    for one in [value] if isinstance(value, str) else value if isinstance(value, list) else [None]:
        if not isinstance(one, str) or not one.strip():
            raise RuleError(f"{origin}: {key!r} must be a text or a list of texts, none of them empty")
        yield one


@cache
def _bundled() -> Rules:
    data = resources.files("retour_bounces").joinpath("data")
    files = ((name, data.joinpath(name).read_text(encoding="utf-8")) for name in _BUNDLED)
    return Rules(tuple(chain.from_iterable(parse(raw, name).rules for name, raw in files)))
