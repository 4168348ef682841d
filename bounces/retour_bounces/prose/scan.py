"""Scan: recipients and errors out of text written for people, by the few shapes that all mail servers share."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from operator import itemgetter

from retour_bounces.message import addresses
from retour_bounces.message.split_original import senders
from retour_bounces.phrases.lists import phrases
from retour_bounces.phrases.normalise import plain
from retour_bounces.prose import line_shapes
from retour_bounces.prose.candidates import MAX_CANDIDATE_LINES, Candidate, lines_of, recipients_among
from retour_bounces.prose.smtp_dialogue import PendingRecipients, Refusal
from retour_bounces.report import Action

MAX_CANDIDATES = 8_000
"""Times that a report's text may name an address; what comes behind them is not read."""
MAX_TEXT_LINES = 100_000
"""Lines of a report's text that are read."""
MAX_LINE_CHARACTERS = 2_000
"""Characters of one line that are read."""
_ACTIONS: tuple[Action, ...] = ("delayed", "failed", "delivered")
"""What a line with phrases of several actions is about: the first of these."""


@dataclass(slots=True)
class Prose:
    """What the text of a report says."""

    own_text: str
    """The text before the returned message."""
    returned: str
    """The returned message, "" where the text holds none."""
    candidates: list[Candidate]
    replies: list[Refusal]
    """The refusals of a quoted dialogue."""
    actions: dict[Action, str] = field(default_factory=dict)
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
            self._texts = {one.recipient.lower(): one.text for one in self.candidates}
        return self._texts.get(recipient.lower(), "")


def scan_text(divided: tuple[str, str], excluded: set[str], title: str = "", writer: str = "") -> Prose:
    """Reads the text of a report, divided into its own and that of the returned message.

    The `excluded` are addresses, in lower case, that can be no recipients; `title` is the Subject, `writer` the author
    of the returned message.
    """
    own, returned = divided
    cut = own.count("\n") > MAX_TEXT_LINES
    if cut:
        own = "\n".join(own.split("\n", MAX_TEXT_LINES)[:MAX_TEXT_LINES]) + "\n"
    if not own.isascii():
        own = addresses.set_apart(own)
    prose = Prose(own, returned, [], [], cut=cut)
    for _, phrase, actions in phrases().actions.find(plain(title)):
        if "delayed" in actions:
            prose.actions["delayed"] = phrase
        prose.succeeds = prose.succeeds or "delivered" in actions
    writers = {*senders(returned), writer.lower()}
    scanner = _LineScanner(prose, excluded | writers)
    scanner.scan()
    prose.candidates = recipients_among(prose.candidates or scanner.local_names, scanner.excluded, writers)
    return prose


class _LineScanner:
    """One walk over the lines, with what must be remembered from line to line."""

    def __init__(self, prose: Prose, excluded: set[str]) -> None:
        self.prose = prose
        self.excluded = excluded
        self.section: Action | None = None
        self.current: list[Candidate] = []
        """Candidates that the next words are about: one, or a list of addresses that share their `lines`."""
        self.after_blank = True
        self.command = ""
        self.pending_recipients = PendingRecipients()
        self.unclaimed: list[str] = []
        """Refusals of a dialogue that no address has claimed yet."""
        self.actions: list[Action] = []
        self.local_names: list[Candidate] = []
        """Names without a domain that stand before their error."""
        self.line_above = ""
        """The last line that was not empty."""
        self.line = self.line_of_current = ""
        """The line, and that of the current candidates."""

    def scan(self) -> None:
        """Goes through the lines, each with the actions that its words tell."""
        own = self.prose.own_text
        ahead = sorted(phrases().actions.find(plain(own)), key=itemgetter(0))
        ahead.reverse()
        end = 0
        for line in own.split("\n"):
            end += len(line) + 1
            self.actions = self._told(ahead, end) if ahead and ahead[-1][0] < end else []
            line = line[:MAX_LINE_CHARACTERS]
            bare = line.strip()
            if bare:
                self._read_line(line, bare)
                self.line_above = bare
                if len(self.prose.candidates) >= MAX_CANDIDATES or len(self.local_names) >= MAX_CANDIDATES:
                    self.prose.cut = True
                    break
            self.after_blank = not bare

    def _told(self, ahead: list[tuple[int, str, list[Action]]], end: int) -> list[Action]:
        """The actions of the phrases that stand before `end`; they are taken off the end of `ahead`."""
        told: list[Action] = []
        while ahead and ahead[-1][0] < end:
            _, phrase, actions = ahead.pop()
            for action in actions:
                self.prose.actions.setdefault(action, phrase)
            told += actions
        return told

    def _read_line(self, line: str, bare: str) -> None:
        if "@" in line:
            line = line_shapes.spaced(line)
            bare = line.strip()
        self.line = line
        dialogue = line_shapes.DIALOGUE.match(line) if bare[0] in "><-SsRrCc" else None
        if dialogue and not (dialogue["c"] and line_shapes.ALONE.match(dialogue["t"])):
            self._read_dialogue(dialogue)
        elif "@" not in line or not self._read_address(line, bare):
            if "..." in line and (local := line_shapes.LOCAL.match(line)):
                self.local_names.append(Candidate(local["a"], 1, self.section, lines=[bare]))
            self._read_words(bare)

    def _read_dialogue(self, match: re.Match[str]) -> None:
        said = match["t"]
        if match["c"]:
            self.unclaimed = []
            self.command = line_shapes.command_of(said)
            rcpt = line_shapes.RCPT.search(said)
            found = addresses.tidy(rcpt["a"]) if rcpt else None
            self.pending_recipients.command(found)
            if found:
                self._add(Candidate(found, 3, self.section))
            elif self.command == "MAIL":
                self.excluded |= {found.lower() for found in addresses.every(said)}
        elif said[:1] in ("4", "5"):
            self._read_refusal(said, self.pending_recipients.reply())
        else:
            self.pending_recipients.reply()
            self.current = []

    def _read_refusal(self, said: str, recipient: str) -> None:
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
        self.unclaimed = [*self.unclaimed[-8:], said]
        if self.command == "RCPT" and self.current:
            self.current[-1].lines = [said]
        else:
            self.current = []

    def _read_address(self, line: str, bare: str) -> bool:
        """Takes the line as one about a recipient, if it is that."""
        if not self.after_blank and (repeated := self._named_again(line, bare)):
            self._narrow_to(repeated)
            self._read_words(bare)
            return True
        if self._continues() and self.current[-1].lines and line_shapes.ALONE.match(line):
            self._read_words(bare)
            return True
        match = line_shapes.ALONE.match(line) or line_shapes.NAMED.match(line)
        if match and (found := addresses.tidy(match["a"])):
            if self._is_other_party(self.line_above, found) or line_shapes.is_noise(self._continued()):
                return True
            groups = match.groupdict()
            lines = lines_of(groups.get("c") or groups.get("d") or "")
            self._add(Candidate(found, 1 if self.section else 2, self.section, lines=lines), joins=not self.after_blank)
            return True
        origin = line_shapes.ORIGIN.search(line)
        if origin and (self.current or self.section) and not self.after_blank and bare[0] in "(gfe":
            self._read_origin(origin)
            return True
        match = line_shapes.HEAD.match(line)
        if match and self._continues():
            self._read_words(bare)
            return True
        if match and (found := addresses.tidy(match["a"])):
            names, rest = line_shapes.take_list(found, line[match.end("a") :]) if "@" in match["t"] else ([], "")
            if len(names) > 1 and not rest:
                for number, name in enumerate(names):
                    self._add(Candidate(name, 1 if self.section else 2, self.section), joins=number > 0)
            else:
                self._add_headed(match, found)
            return True
        return self._read_sentence(line, bare)

    def _named_again(self, line: str, bare: str) -> list[Candidate]:
        """The candidates at hand that the line is about, when it is words and more than an address."""
        near = [one for one in self.current[-3:] if one.rank <= 2 and len(bare) > len(one.recipient) + 6]
        named = addresses.every(line) if any(one.recipient in line for one in near) else []
        return [one for one in near if one.recipient in named]

    def _continues(self) -> bool:
        """Does the line go on with what is said about the current candidates? Postfix and Exim indent such lines, which
        may begin with an address that the reply names: the sender's, or that behind a forward."""
        if not self.current or self.after_blank:
            return False
        return line_shapes.indent(self.line) > line_shapes.indent(self.line_of_current)

    def _narrow_to(self, chosen: list[Candidate]) -> None:
        """From here on the words are about the `chosen` of a list alone."""
        if len(chosen) < len(self.current):
            lines = list(chosen[-1].lines)
            for one in chosen:
                one.lines = lines
            self.current = chosen

    def _add_headed(self, match: re.Match[str], found: str) -> None:
        """An address before its error; one behind a reply code ends a transcript's passage about it."""
        said = (match["p"] or "") + match["t"]
        lines = [*self.unclaimed, said] if match["p"] else lines_of(said)
        self._add(Candidate(found, 1, self.section, lines=lines))
        self.unclaimed = []
        if match["p"]:
            self.current = []

    def _read_sentence(self, line: str, bare: str) -> bool:
        """An address behind a word such as "recipient", else one in a sentence."""
        end, is_noise = 0, False
        for match in addresses.FIND.finditer(line):
            at, found = match.start(), addresses.tidy(match[0])
            before = line[max(0, at - 60) : at].lower()
            is_next = any("@" in word for word in before.split()[-1:])  # behind an address no word can tell whose it is
            if found is None or (not is_next and self._is_other_party(before, found)):
                continue
            if not is_next and phrases().label.search(before):
                names, rest = line_shapes.take_list(found, line[match.end() :])
                is_sentence = line_shapes.REPLY.match(line) or line_shapes.PREDICATE.match(rest)
                self._add_all(names, 2, [bare] if is_sentence else lines_of(rest))
                return True
            if at >= end:
                sentence, end = line_shapes.sentence(self._continued(), line, end, at)
                is_noise = line_shapes.is_noise(sentence)
            if not is_noise and found.lower() not in self.excluded:
                self._read_words(bare)
                headed = self.section and self.line_above.endswith(":")
                rank = 4 if self.actions or headed or line_shapes.REPLY.match(line) else 5
                self._add_all(line_shapes.take_list(found, line[match.end() :])[0], rank, [bare])
                return True
        return False

    def _continued(self) -> str:
        """The line above that this one may continue, "" where none can go on here."""
        return "" if self.after_blank or self.line_above.endswith(":") else self.line_above[-200:]

    def _is_other_party(self, before: str, found: str) -> bool:
        """Do the words before an address say that it is somebody else's? The sender's is nowhere a recipient."""
        if line_shapes.names_sender(before[-60:].lower()):
            self.excluded.add(found.lower())
            return True
        return line_shapes.ELSEWHERE.search(before[-40:].lower()) is not None

    def _add_all(self, names: list[str], rank: int, lines: list[str]) -> None:
        for name in names:
            self._add(Candidate(name, rank, self.section, lines=list(lines)))

    def _read_origin(self, match: re.Match[str]) -> None:
        """An address before forwarding; the recipient itself where the one behind it is kept secret."""
        found = addresses.tidy(match["a"] or match["b"])
        if self.current:
            self.current[-1].original = self.current[-1].original or found
        elif found:
            self._add(Candidate(found, 2, self.section))

    def _add(self, candidate: Candidate, joins: bool = False) -> None:
        self.prose.candidates.append(candidate)
        self.line_of_current = self.line
        if joins and self.current and not self.current[-1].lines and not candidate.lines:
            candidate.lines = self.current[-1].lines
            self.current.append(candidate)
        else:
            self.current = [candidate]

    def _read_words(self, bare: str) -> None:
        if line_shapes.is_title(bare):
            return
        lines = self.current[-1].lines if self.current else None
        if self.after_blank and lines == [] and line_shapes.is_noise(bare):
            lines = None
        if lines is not None and (not self.after_blank or not lines or lines[-1].endswith(":")):
            if len(lines) < MAX_CANDIDATE_LINES:
                lines.append(bare)
            if self.section and not bare.endswith(":"):
                return
        elif self.after_blank:
            self.current = []
        if self.actions:
            self.section = next(action for action in _ACTIONS if action in self.actions)
