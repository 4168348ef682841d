"""Prose: recipients and errors out of text written for people, by the few shapes that all mail servers share."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from operator import itemgetter

from retour_bounces.message import addresses as address
from retour_bounces.message.split_original import senders
from retour_bounces.phrases.lists import phrases
from retour_bounces.phrases.normalise import plain
from retour_bounces.prose import line_shapes as shapes
from retour_bounces.prose.candidates import MAX_LINES, Finding, chosen, said_in
from retour_bounces.prose.smtp_dialogue import Asked, Refusal
from retour_bounces.report import Action

MAX_FINDINGS = 8_000
"""Times that a report's text may name an address; what comes behind them is not read."""
MAX_TEXT_LINES = 100_000
"""Lines of a report's text that are read."""
MAX_LINE = 2_000
"""Characters of one line that are read."""
_ORDER: tuple[Action, ...] = ("delayed", "failed", "delivered")


@dataclass(slots=True)
class Prose:
    """What the text of a report says."""

    human: str
    """The text before the returned message."""
    returned: str
    """The returned message, "" where the text holds none."""
    findings: list[Finding]
    replies: list[Refusal]
    """The refusals of a quoted dialogue."""
    fates: dict[Action, str] = field(default_factory=dict)
    """The first phrase that says that delivery failed, waits, or succeeded."""
    cut: bool = False
    """There was more to read than is read."""
    succeeds: bool = False
    """The Subject says that delivery succeeded."""
    _texts: dict[str, str] | None = None
    _refusals: list[tuple[str, set[str]]] | None = None

    def reply(self, diagnostic: str) -> tuple[str, str]:
        """The command and the whole reply of the dialogue that `diagnostic` is taken from; empty where
        there is none."""
        for command, reply, _ in self.replies[:100]:
            if reply[:60] in diagnostic or diagnostic[:60] in reply:
                return command, reply
        return "", ""

    def refusals(self, recipient: str, reported: Collection[str]) -> str:
        """The refusals in a quoted dialogue, without those of others of the `reported` alone (lower case)."""
        if self._refusals is None:
            self._refusals = [(one.reply, one.named) for one in self.replies[:50]]
        own = recipient.lower()
        return " ".join(said for said, named in self._refusals if own in named or named.isdisjoint(reported))

    def about(self, recipient: str) -> str:
        """What the text says of a recipient, "" where it names nobody so."""
        if self._texts is None:
            self._texts = {one.recipient.lower(): one.text for one in self.findings}
        return self._texts.get(recipient.lower(), "")


def read(divided: tuple[str, str], strangers: set[str], title: str = "", writer: str = "") -> Prose:
    """Reads the text of a report, divided into its own and that of the returned message.

    `strangers` are addresses, in lower case, that can be no recipients; `title` is the Subject, `writer` who wrote the
    returned message.
    """
    human, returned = divided
    cut = human.count("\n") > MAX_TEXT_LINES
    if cut:
        human = "\n".join(human.split("\n", MAX_TEXT_LINES)[:MAX_TEXT_LINES]) + "\n"
    if not human.isascii():
        human = address.set_apart(human)
    prose = Prose(human, returned, [], [], cut=cut)
    for _, phrase, fates in phrases().fates.find(plain(title)):
        if "delayed" in fates:
            prose.fates["delayed"] = phrase
        prose.succeeds = prose.succeeds or "delivered" in fates
    writers = {*senders(returned), writer.lower()}
    walk = _LineScanner(prose, strangers | writers)
    walk.walk()
    prose.findings = chosen(prose.findings or walk.local, walk.strangers, writers)
    return prose


class _LineScanner:
    """One walk over the lines, with what must be remembered from line to line."""

    def __init__(self, prose: Prose, strangers: set[str]) -> None:
        self.prose = prose
        self.strangers = strangers
        self.section: Action | None = None
        self.current: list[Finding] = []
        """Findings that the next words are about: one, or a list of addresses that share their `lines`."""
        self.blank = True
        self.command = ""
        self.asked = Asked()
        self.pending: list[str] = []
        """Refusals of a dialogue that no address has claimed yet."""
        self.fates: list[Action] = []
        self.local: list[Finding] = []
        """Names without a domain that stand before their error."""
        self.before = ""
        """The last line that was not empty."""

    def walk(self) -> None:
        """Goes through the lines, each with the fates that its words tell."""
        human = self.prose.human
        fates = sorted(phrases().fates.find(plain(human)), key=itemgetter(0))
        end = next_fate = 0
        for line in human.split("\n"):
            end += len(line) + 1
            self.fates = []
            while next_fate < len(fates) and fates[next_fate][0] < end:
                _, phrase, told = fates[next_fate]
                for fate in told:
                    self.prose.fates.setdefault(fate, phrase)
                self.fates += told
                next_fate += 1
            line = line[:MAX_LINE]
            bare = line.strip()
            if bare:
                self._line(line, bare)
                self.before = bare
            self.blank = not bare
            if max(len(self.prose.findings), len(self.local)) >= MAX_FINDINGS:
                self.prose.cut = True
                break

    def _line(self, line: str, bare: str) -> None:
        dialogue = shapes.DIALOGUE.match(line) if bare[0] in "><-SsRrCc" else None
        if dialogue and not (dialogue["c"] and shapes.ALONE.match(dialogue["t"])):
            self._dialogue(dialogue)
        elif "@" not in line or not self._address(line, bare):
            if "..." in line and (local := shapes.LOCAL.match(line)):
                self.local.append(Finding(local["a"], 1, self.section, lines=[bare]))
            self._words(bare)

    def _dialogue(self, match: re.Match[str]) -> None:
        said = match["t"]
        if match["c"]:
            self.pending = []
            self.command = shapes.command_of(said)
            rcpt = shapes.RCPT.search(said)
            found = address.tidy(rcpt["a"]) if rcpt else None
            self.asked.ask(found)
            if found:
                self._found(Finding(found, 3, self.section))
            elif self.command == "MAIL":
                self.strangers |= {found.lower() for found in address.every(said)}
        elif said[:1] in ("4", "5"):
            self._refused(said, self.asked.answer())
        else:
            self.asked.answer()
            self.current = []

    def _refused(self, said: str, recipient: str) -> None:
        replies = self.prose.replies
        goes_on = said[3:4] == "-"
        if (
            replies
            and replies[-1].command == self.command
            and replies[-1].reply[-1:] == "\n"
            and len(replies[-1].reply) < 1_000
        ):
            said = replies.pop().reply + said
        replies.append(Refusal(self.command, said + "\n" if goes_on else said, recipient))
        self.pending = [*self.pending[-8:], said]
        if self.command == "RCPT" and self.current:
            self.current[-1].lines = [said]
        else:
            self.current = []

    def _address(self, line: str, bare: str) -> bool:
        """Takes the line as one about a recipient, if it is that."""
        if not self.blank and (repeated := self._repeated(line, bare)):
            self._apart(repeated)
            self._words(bare)
            return True
        match = shapes.ALONE.match(line) or shapes.NAMED.match(line)
        if match and (found := address.tidy(match["a"])):
            if self._is_others(self.before, found) or shapes.is_noise(self._above()):
                return True
            groups = match.groupdict()
            lines = said_in(groups.get("c") or groups.get("d") or "")
            self._found(Finding(found, 1 if self.section else 2, self.section, lines=lines), joins=not self.blank)
            return True
        origin = shapes.ORIGIN.search(line)
        if origin and (self.current or self.section) and not self.blank and bare[0] in "(gfe":
            self._origin(origin)
            return True
        match = shapes.HEAD.match(line)
        if match and (found := address.tidy(match["a"])):
            names, rest = shapes.listed(found, line[match.end("a") :]) if "@" in match["t"] else ([], "")
            if len(names) > 1 and not rest:
                for number, name in enumerate(names):
                    self._found(Finding(name, 1 if self.section else 2, self.section), joins=number > 0)
            else:
                self._headed(match, found)
            return True
        return self._labelled(line, bare)

    def _repeated(self, line: str, bare: str) -> list[Finding]:
        """The findings at hand that the line is about, when it is words and more than an address."""
        near = [one for one in self.current[-3:] if one.rank <= 2 and len(bare) > len(one.recipient) + 6]
        named = address.every(line) if any(one.recipient in line for one in near) else []
        return [one for one in near if one.recipient in named]

    def _apart(self, those: list[Finding]) -> None:
        """From here on the words are about `those` of a list alone."""
        if len(those) < len(self.current):
            lines = list(those[-1].lines)
            for one in those:
                one.lines = lines
            self.current = those

    def _headed(self, match: re.Match[str], found: str) -> None:
        """An address before its error; one behind a reply code ends a transcript's passage about it."""
        said = (match["p"] or "") + match["t"]
        lines = [*self.pending, said] if match["p"] else said_in(said)
        self._found(Finding(found, 1, self.section, lines=lines))
        self.pending = []
        if match["p"]:
            self.current = []

    def _labelled(self, line: str, bare: str) -> bool:
        """An address behind a word such as "recipient", else one in a sentence."""
        end, is_noise = 0, False
        for match in address.FIND.finditer(line):
            at, found = match.start(), address.tidy(match[0])
            before = line[max(0, at - 60) : at].lower()
            is_next = any("@" in word for word in before.split()[-1:])  # behind an address no word can tell whose it is
            if found is None or (not is_next and self._is_others(before, found)):
                continue
            if not is_next and phrases().label.search(before):
                names, rest = shapes.listed(found, line[match.end() :])
                self._several(names, 2, [bare] if shapes.REPLY.match(line) else said_in(rest))
                return True
            if at >= end:
                sentence, end = shapes.sentence(self._above(), line, end, at)
                is_noise = shapes.is_noise(sentence)
            if not is_noise and found.lower() not in self.strangers:
                self._words(bare)
                headed = self.section and self.before.endswith(":")
                rank = 4 if self.fates or headed or shapes.REPLY.match(line) else 5
                self._several(shapes.listed(found, line[match.end() :])[0], rank, [bare])
                return True
        return False

    def _above(self) -> str:
        """The line above that this one may continue, "" where none can go on here."""
        return "" if self.blank or self.before.endswith(":") else self.before[-200:]

    def _is_others(self, before: str, found: str) -> bool:
        """Do the words before an address say that it is somebody else's? The sender's is nowhere a recipient."""
        if shapes.names_sender(before[-60:].lower()):
            self.strangers.add(found.lower())
            return True
        return shapes.ELSEWHERE.search(before[-40:].lower()) is not None

    def _several(self, names: list[str], rank: int, lines: list[str]) -> None:
        for name in names:
            self._found(Finding(name, rank, self.section, lines=list(lines)))

    def _origin(self, match: re.Match[str]) -> None:
        """An address before forwarding; the recipient itself where the one behind it is kept secret."""
        found = address.tidy(match["a"] or match["b"])
        if self.current:
            self.current[-1].original = self.current[-1].original or found
        elif found:
            self._found(Finding(found, 2, self.section))

    def _found(self, finding: Finding, joins: bool = False) -> None:
        self.prose.findings.append(finding)
        if joins and self.current and not self.current[-1].lines and not finding.lines:
            finding.lines = self.current[-1].lines
            self.current.append(finding)
        else:
            self.current = [finding]

    def _words(self, bare: str) -> None:
        lines = self.current[-1].lines if self.current else None
        if self.blank and lines == [] and shapes.is_noise(bare):
            lines = None
        if lines is not None and (not self.blank or not lines or lines[-1].endswith(":")):
            if len(lines) < MAX_LINES:
                lines.append(bare)
            if self.section and not bare.endswith(":"):
                return
        elif self.blank:
            self.current = []
        self.section = next((fate for fate in _ORDER if fate in self.fates), self.section)
