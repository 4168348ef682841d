"""Plain text: bounces and warnings that say in words alone what happened."""

from __future__ import annotations

import re
from dataclasses import replace

from retour_bounces.classify.diagnostic import quoted
from retour_bounces.classify.program import by_program
from retour_bounces.classify.rules import Rules
from retour_bounces.classify.status_codes import PERMANENT, STATUS, TEMPORARY
from retour_bounces.classify.verdict import Judge, Verdict, recipient_report
from retour_bounces.message import addresses, original
from retour_bounces.message.parts import Message
from retour_bounces.once import once
from retour_bounces.phrases.lists import phrases
from retour_bounces.phrases.normalise import plain
from retour_bounces.prose import line_shapes, mail_system
from retour_bounces.prose.candidates import Candidate
from retour_bounces.prose.scan import Prose
from retour_bounces.readers.view import View
from retour_bounces.report import Action, Original, RecipientReport, Report, kind_of

_QUOTE = re.compile(r"^> ?(?!>)", re.MULTILINE)
"""A person quotes: machines show a dialogue with more than one mark."""
_REFUSED = re.compile(r"(?:^|[:>(\[\"'])\s*5[0-57]\d[ -]\S|\b5\.\d{1,3}\.\d{1,3}\b", re.MULTILINE)
"""A reply by which a server refuses for good, not any number."""
_SENTENCE_END = re.compile(r"[.!?] |。")
_LOCAL_NAME = re.compile(r"[\w.+-]{1,64}")
_TO = re.compile(r"\W{0,4}to\s{0,8}:", re.IGNORECASE)
_FINAL = (
    "failed permanently",
    "permanent fatal errors",
    "giving up",
    "given up",
    "permanent error",
    "permanent failure",
    "no further",
    "not continue",
    "not be retried",
    "not going to try",
    "not try again",
)
"""Words by which a server says that it does not try again."""
_BECAUSE = re.compile(
    r"\b(?:because|due to|as they|since they|weil|aufgrund|parce qu|en raison|porque|debido a|devido a|perche|a causa d"
    r"|omdat|wegens|poniewaz|protoze|потому|из за|так как|som folge|eftersom|fordi|koska|mert|deoarece|cunku)"
    r"|因为|因為|由于|由於|ため|때문",
)
"""Words, in the form of `plain` text, behind which a sentence says why."""
_FAILURE = ("(failure)", "failure notice", "returned to sender", "returning message")
"""Words of a Subject by which a server says that a message comes back."""
_CODE = re.compile(f"{PERMANENT.pattern}|{TEMPORARY.pattern}", re.MULTILINE)
MAX_FAILED_FIELDS_CHARACTERS = 400_000
"""Characters of the X-Failed-Recipients fields that are read."""
MAX_ROWS = 10
"""Rows with a server's reply that are read."""
MAX_REASON_CHARACTERS = 3_000
"""Characters of the text in which the reason is looked for."""


def read(view: View, rules: Rules) -> Report | None:
    """Reads a report in words; None where the message is none."""
    message = view.message
    if _is_cut_short(message):
        return None
    failed = addresses.every(",".join(view.fields.every("x-failed-recipients"))[:MAX_FAILED_FIELDS_CHARACTERS])
    if not failed and not view.may_be_report:
        return None
    prose = view.prose
    if not failed and not prose.actions and not prose.replies and not view.names_failure and not _is_told(view, rules):
        return None
    system = view.is_from_mail_system
    if not failed and (view.is_notice_to_recipient if system else _QUOTE.search(prose.own_text)):
        return None
    back = view.attached_original or original.from_text(prose.returned)
    candidates = _named_by_field(failed, prose) if failed else _trusted(view, back, rules)
    to = "" if original.hides_recipients(back) else original.to_whom(back)
    if not candidates and to is not None and view.names_failure and prose.actions:
        vouched = system or view.fields.get("return-path") == "<>"  # people attach mail too, and write about it
        only_one = prose.candidates if len(prose.candidates) == 1 else []
        candidates = only_one or ([Candidate(to, 6)] if vouched else [])
    if not candidates:
        return None
    action: Action = "delayed" if _waits(view, failed) else "delivered" if prose.succeeds else "failed"
    reports = _recipients(candidates, prose, action, rules)
    if against := _contradiction(failed, prose):
        reports = tuple(replace(one, contradiction=one.contradiction or against) for one in reports)
    return Report(kind_of(reports), reports, back, truncated=message.truncated or prose.cut)


def read_nameless(view: View, rules: Rules) -> Report | None:
    """Reads a report of failure in which no address stands, only a local name or none; None in any doubt."""
    if view.message.truncated or not view.is_surely_report:
        return None
    prose = view.prose
    listed = _lists_names(prose.own_text, _is_whole(view.message), rules)
    if not listed and not view.surely_returns_message:
        return None
    if any(one.rank < 5 or _says_why(one.text, prose, rules) for one in prose.candidates):
        return None
    if prose.succeeds or set(prose.actions) != {"failed"} or _QUOTE.search(prose.own_text):
        return None
    explained = listed or _REFUSED.search(prose.own_text) or _explains(prose.own_text, rules)
    if not explained or _may_wait(f"{view.subject}\n{prose.own_text}"):
        return None
    back = original.from_text(prose.returned) if prose.returned else view.attached_original or Original()
    reports = _recipients([Candidate("", 0)], prose, "failed", rules)
    return Report("bounce", reports, back, truncated=prose.cut)


def _action_of(candidate: Candidate, action: Action) -> Action:
    """The action that a report with passages about failure and about delay tells of a recipient; `action` where
    passage and reply do not agree."""
    permanent = PERMANENT.search(candidate.text) is not None
    agree = candidate.action == "failed" if permanent else candidate.action == "delayed"
    return candidate.action if agree and candidate.action else action


def _may_wait(text: str) -> bool:
    """Does a word or a code leave open that the message is still on its way?"""
    return TEMPORARY.search(text) is not None or phrases().waiting.any(plain(" ".join(text.split())))


def _explains(text: str, rules: Rules) -> bool:
    """Does a line tell of a failure and end as a heading, with words under it that say why?"""
    lines = text[:MAX_REASON_CHARACTERS].split("\n")
    for number, line in enumerate(lines):
        headed = line.rstrip().endswith(":") and phrases().actions.any(plain(line))
        if headed and _gives_reason("\n".join(lines[number + 1 :])[:600], rules):
            return True
    return False


def _waits(view: View, failed: list[str]) -> bool:
    """Does the server say that it tries again? Where a field names the `failed`, as some programs also name the delayed
    in it, the server must say so of its own, not in a reply that it quotes."""
    prose = view.prose
    if "delayed" not in prose.actions or any(word in prose.own_text.lower() for word in _FINAL):
        return False
    if not failed:
        return True
    named = {name.lower() for name in failed}
    if any(one.action == "delayed" for one in prose.candidates if one.recipient.lower() not in named):
        return False  # the text tells them apart, so the field names the failed alone
    if any(word in view.subject.lower() for word in _FAILURE):
        return False
    told = [_CODE.split(paragraph, 1)[0] for paragraph in prose.own_text[:MAX_REASON_CHARACTERS].split("\n\n")]
    found = phrases().actions.find(plain("\n".join((view.subject, *told))))
    return any("delayed" in actions for _, _, actions in found)


def _is_told(view: View, rules: Rules) -> bool:
    """Does a message that nobody wrote give a reason for which mail fails?"""
    return mail_system.is_nobody(view.fields) and _gives_reason(view.own_text[:MAX_REASON_CHARACTERS], rules)


def _is_whole(message: Message) -> bool:
    """Does the message show that nothing is missing at its end? A text alone may be cut behind any line."""
    return message.kind.startswith("multipart/") and not message.truncated


def _lists_names(text: str, is_whole: bool, rules: Rules) -> bool:
    """Is all that stands behind a heading about failure a list of local names, each alone on its line? Behind it a text
    that is not known to be whole may go on to say that it waits, unless the heading says why it failed."""
    heading, colon, names = text[:MAX_REASON_CHARACTERS].strip().rpartition(":\n")
    lines = [line.strip() for line in names.split("\n") if line.strip()]
    if not colon or not lines or not all(map(_LOCAL_NAME.fullmatch, lines)):
        return False
    last = _SENTENCE_END.split(" ".join(heading.split("\n\n")[-1].split()))[-1]
    if "failed" not in {action for _, _, actions in phrases().actions.find(plain(last)) for action in actions}:
        return False
    told = plain(last)
    return is_whole or _gives_reason(last, rules) or bool(_BECAUSE.search(told)) or any(map(told.__contains__, _FINAL))


def _is_cut_short(message: Message) -> bool:
    """Are the fields that would tell failure from success cut off? They come before the returned message."""
    return message.truncated and message.report_type == "delivery-status" and not message.returned


def _trusted(view: View, back: Original, rules: Rules) -> list[Candidate]:
    """Candidates in mere sentences count only where sender or returned message bear them out."""
    prose, found = view.prose, view.prose.candidates
    rank = found[0].rank if found else 0
    if rank <= 3 or (rank == 4 and back.message_id and view.names_failure):
        return found
    if view.mail_system_speaks:
        sure = found if rank == 4 else [one for one in found if _says_why(one.text, prose, rules)]
        if sure and (rank == 4 or len({one.text for one in sure}) == 1):
            return sure
    to = (back.recipient or "").lower()
    return [one for one in found if one.recipient.lower() == to]


def _says_why(passage: str, prose: Prose, rules: Rules) -> bool:
    """Does a passage give a reason, or tell its readers in a report of their own mail, or is it the only To field in a
    report that quotes a refusal? An address may stand in any other sentence."""
    alone = len(prose.candidates) == 1 and "failed" in prose.actions
    if alone and _TO.match(passage) and _REFUSED.search(prose.own_text):
        return True
    return _gives_reason(passage, rules) or (bool(prose.actions) and phrases().addressed.any(plain(passage)))


def _gives_reason(text: str, rules: Rules) -> bool:
    """Does a passage hold a refusal for good, or words that say why a delivery failed?"""
    if _REFUSED.search(text):
        return True
    rule = Judge(rules)(text).rule
    return rule is not None and rule not in rules.vague


def _named_by_field(failed: list[str], prose: Prose) -> list[Candidate]:
    """The candidates for the addresses of X-Failed-Recipients, in its order."""
    known = {one.recipient.lower(): one for one in prose.candidates}
    known |= {one.original.lower(): one for one in prose.candidates if one.original}
    matched: list[Candidate] = []
    for name in failed:
        one = known.get(name.lower(), Candidate(name, 0))
        matched.append(Candidate(name, 0, "failed", one.original, one.lines))
    return matched


def _contradiction(failed: list[str], prose: Prose) -> str | None:
    """What the text says against X-Failed-Recipients: other recipients, and none of those that it names."""
    named = {name.lower() for name in failed}
    inside = {one.recipient.lower() for one in prose.candidates if one.rank <= 2}
    inside |= {one.original.lower() for one in prose.candidates if one.original}
    if not named or not inside or named & inside:
        return None
    header, text = ", ".join(failed[:3]), ", ".join(sorted(inside)[:3])
    return f"X-Failed-Recipients names {header}, but the text names {text}"


def _succeeded(text: str) -> bool:
    """Does the reply about a recipient hold codes of success alone?"""
    return {match[1] for match in STATUS.finditer(text)} == {"2"}


def _recipients(candidates: list[Candidate], prose: Prose, action: Action, rules: Rules) -> tuple[RecipientReport, ...]:
    judge = Judge(rules)
    reported = {one.recipient.lower() for one in candidates}
    around = _Around(prose, len(candidates) == 1 or not any(one.lines for one in candidates))
    mixed = {"failed", "delayed"} <= {one.action for one in candidates}
    reports: list[RecipientReport] = []
    for candidate in candidates:
        text = candidate.text
        if "delivered" in (candidate.action, action) or _succeeded(text):
            reports.append(recipient_report(candidate.recipient or None, candidate.original, "delivered", None))
            continue
        replies = "" if judge.is_exhausted else prose.refusals(candidate.recipient, reported)
        diagnostic = around.quote or (text if re.search(r"\w{3}", text) else (replies or text))
        verdict = _verdict(diagnostic, replies, around, judge, rules)
        told = _action_of(candidate, action) if mixed else action
        reports.append(recipient_report(candidate.recipient or None, candidate.original, told, verdict))
    return tuple(reports)


class _Around:
    """The text around what is said of the recipients, read only when that does not suffice."""

    def __init__(self, prose: Prose, is_about_all: bool) -> None:
        self.prose = prose
        self._text = prose.own_text[:MAX_REASON_CHARACTERS] if is_about_all else ""
        self.quote = quoted(" ".join(self._text.split())) if "was:" in self._text else ""
        """The reply that it quotes as the other server's."""

    @once
    def text(self) -> str:
        """The text, "" where it is about some of the recipients alone."""
        return line_shapes.without_rows(self._text)

    @once
    def rows(self) -> str:
        """The replies that stand in rows of their own."""
        return " ".join(line_shapes.replies_in_rows(self.text)[:MAX_ROWS])


def _verdict(diagnostic: str, replies: str, around: _Around, judge: Judge, rules: Rules) -> Verdict:
    command, whole = around.prose.reply(diagnostic)
    verdict = judge(diagnostic, None, command)
    if verdict.rule is None or verdict.rule in rules.vague:
        verdict = judge(diagnostic, None, command, (whole, replies, around.rows, around.text))
    return by_program(verdict, judge, around.text) if verdict.reason == "mailererror" else verdict
