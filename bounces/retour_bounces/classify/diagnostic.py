"""Diagnostic: what a server said, cleaned, and the codes and the command that it names."""

from __future__ import annotations

import re
from typing import NamedTuple

from retour_bounces.classify.status_codes import STATUS
from retour_bounces.message import addresses
from retour_bounces.phrases.normalise import plain

MAX_DIAGNOSTIC_CHARACTERS = 1_000
"""Characters of a diagnostic that are kept and looked at."""

_CODE = re.compile(r"([245][0-5]\d)(?<![\w.:/@-]...)(?=[ :;,)\]\"'-]|$|\.\s)")
_REPEATED = re.compile(r"[245]\d\d(?<=\s...)-(?:[245]\.\d{1,3}\.\d{1,3}\s+)?")
_WRAPPED = re.compile(r"[45]\.\d\.\d - [A-Za-z ()]{4,60}? ?(?:[45]\d\d-)?\(?'(.{6,900}?)'")
"""How IronPort quotes the reply of the other side: 5.1.0 - Unknown address error 550-'5.1.1 ... User
unknown'."""
_QUOTED = re.compile(
    r"(?:error that the other server returned was|response from the remote server was|The response was)"
    r": ?(\S.{5,})"
)
_COMMAND = re.compile(
    r"(?=[adfirs>\[])(?:(?:in reply to|response to|following|after|did not like our|smtp|>>>|sent <<<|for)[ :]*"
    r"(?:pipelined |end of |final |the )*"
    r"(rcpt|mail from|data|text|helo|ehlo|starttls|auth|initial connection|banner|connect)"
    r"|\[(rcpt to|mail from|data|bodyend|connect)\]"
    r"|(does not like recipient)|(failed after i sent the message))",
)
_HINTS = (
    "rcpt", "mail from", " data", "[data", "helo", "ehlo", "text", "starttls", "connect", "like recipient", "auth",
    "banner", "bodyend", "after i sent",
)  # fmt: skip
"""One of them stands in every text that names a command; to look for them is cheaper than for the
expression."""
_COMMANDS = {
    "rcpt": "RCPT", "rcpt to": "RCPT", "mail from": "MAIL", "text": "DATA", "data": "DATA",
    "bodyend": "DATA", "helo": "EHLO", "ehlo": "EHLO", "starttls": "STARTTLS",
    "auth": "AUTH", "initial connection": "CONN", "banner": "CONN", "connect": "CONN",
    "does not like recipient": "RCPT", "failed after i sent the message": "DATA",
}  # fmt: skip


_HOST = re.compile(
    r"(?:host|to) [\w-]{1,63}\.[\w.-]{0,190}\w(?= ?\[[\dA-Fa-f.:]{7,39}\])|talking to [\w.-]{4,253}(?=:)"
)
"""The host that answered, as Postfix, Exim and sendmail name it: that it is called mx.antispam.example is no word
of its reply."""


_LINK_END = re.compile(r"[^\s>)\"']*")
_BARE_LINK = re.compile(r"(?<![\w.@-])[\w-]{1,63}(?:\.[\w-]{1,63}){0,6}\.[a-z]{2,24}/[^\s>)\"']*", re.IGNORECASE)
_BETWEEN = re.compile(
    r" (?=[<(\[\"'@dfotpv])(?<=[^\W\d] )(?<! from )(?<! by )(?<! to )(?<! with )(?<! at )(?<! and )(?<! or )"
    r"(?:(?:of|for|von|fur|de|di|do|da|para|pour|per|van|voor|dla|pro|til|till) )?"
    r"(?:[<(\[\"']{0,3}@{3,}[>)\]\"']{0,3}|<[^ <>]{1,64}>|\"[^ \"]{1,64}\"|'[^ ']{1,64}')(?= [^\W\d])"
)
"""A name between two words, such as the address in "mailbox of <user@example.com> is full"."""
_CONSEQUENCE = re.compile(
    r" 5(?:0[0-5]|5[0134])[ -](?:#?5\.\d\.\d )?(?:error:? |sorry,? )?"
    r"(?:(?:there (?:are|were) )?no (?:valid )?recipients|all recipients|(?:a )?valid rcpt|need (?:a )?rcpt"
    r"|rcpt (?:to )?(?:\w+ )?(?:first|needed|required|must)|(?:must have|send) rcpt|bad sequence|(?:data|bdat) without"
    r"|command out of|out of sequence)",
    re.IGNORECASE,
)
"""What a server answers to DATA because it refused the recipients before: behind their refusal it is no reason."""


class Wording(NamedTuple):
    """One passage, as rules and tables need it."""

    plain: str
    """The words, as `plain` makes them, addresses and names of hosts blotted out."""
    said: str
    """The same with links blotted out too: what is said about somebody."""
    joined: str
    """What is said without the names between two words, "" where there are none: "mailbox is full"."""
    cuts: tuple[tuple[int, int], ...]
    """Where in `joined` a name was left out, and how many characters so far."""
    code: str
    """The first SMTP reply code, "" where there is none."""
    statuses: list[str]
    """Enhanced status codes of failures (RFC 3463), in order."""
    command: str
    """The SMTP command that was answered, "" where the words do not say."""


def clean(text: str) -> str:
    """A diagnostic on one line, cut at `MAX_DIAGNOSTIC_CHARACTERS`: marks of continued replies and control characters
    are gone."""
    text = " ".join(text[: MAX_DIAGNOSTIC_CHARACTERS * 3].split())
    if (wrapped := _WRAPPED.match(text)) and not wrapped[1].isalpha():
        text = wrapped[1]
    text = quoted(text) or text
    if "-" in text:
        text = _REPEATED.sub("", text)
    if not text.isprintable():
        text = "".join(c if c.isprintable() else "" for c in text)
    return text[:MAX_DIAGNOSTIC_CHARACTERS]


def quoted(text: str) -> str:
    """What the other server answered, where `text` announces its words; "" where it does not."""
    match = _QUOTED.search(text) if " was:" in text else None
    return match[1] if match else ""


def wording_of(text: str) -> Wording:
    """What a clean passage says, up to what only follows from it."""
    if (consequence := _CONSEQUENCE.search(text)) and _CODE.search(text, 0, consequence.start()):
        text = text[: consequence.start()]
    words = plain(_HOST.sub(_dots, text) if "[" in text or "talking to" in text else text)
    if "@" in words:
        words = addresses.replaced(words, _blot)
    said = _without_links(words, text) if "/" in words or "www." in words else words
    # To look for the end of a name is cheaper than for all of it.
    has_name = "@ " in said or "> " in said or '" ' in said or "' " in said or "@) " in said or "@] " in said
    joined, cuts = _joined(said) if has_name else ("", ())
    code = _CODE.search(text)
    statuses = [match[0] for match in STATUS.finditer(text) if match[1] != "2"]
    return Wording(words, said, joined, cuts, code[1] if code else "", statuses, command_in(words))


def _without_links(words: str, text: str) -> str:
    """The `words` with dots for the links that stand in `text`, which dashes still hold together."""
    for mark in ("://", "www."):
        at = words.find(mark)
        while at >= 0:
            start = at - next((len(one) for one in ("https", "http", "ftp") if words.startswith(one, at - len(one))), 0)
            end = _LINK_END.match(text, at).end()  # type: ignore[union-attr]  # it matches anything
            words = words[:start] + "." * (end - start) + words[end:]
            at = words.find(mark, end)
    if "/" in words:
        for link in _BARE_LINK.finditer(text):
            words = words[: link.start()] + "." * len(link[0]) + words[link.end() :]
    return words


def _joined(said: str) -> tuple[str, tuple[tuple[int, int], ...]]:
    """The words without the names between two of them, and where these were left out."""
    kept: list[str] = []
    cuts: list[tuple[int, int]] = []
    end = left_out = 0
    for name in _BETWEEN.finditer(said):
        kept.append(said[end : name.start()])
        end = name.end()
        cuts.append((name.start() - left_out, left_out := left_out + len(name[0])))
    return ("".join(kept) + said[end:], tuple(cuts)) if cuts else ("", ())


def _blot(match: re.Match[str]) -> str:
    return "@" * len(match[0])


def _dots(match: re.Match[str]) -> str:
    before, space, name = match[0].rpartition(" ")
    return before + space + "." * len(name)


def command_in(text: str) -> str:
    """The SMTP command that `text`, in lower case, says was answered; "" where it does not say."""
    match = _COMMAND.search(text) if any(map(text.__contains__, _HINTS)) else None
    return _COMMANDS[match[match.lastindex or 0]] if match else ""


def best_status(field: str | None, codes: list[str]) -> str | None:
    """The most telling enhanced status code: one of the `codes` in its words, else that of the Status field."""
    telling = [code for code in codes if not code.endswith(".0")] or [code for code in codes if code[2] != "0"]
    if field is None or field.endswith(".0.0") or field[0] == "2":
        return telling[-1] if telling else (codes[0] if codes else None) if field is None else field
    if telling and (telling[-1][2] != "0" or field.endswith(".0")):
        return telling[-1] if not telling[-1].endswith(".0") or field.endswith(".0") else field
    return field
