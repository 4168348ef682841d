"""Model: the careful policy about one address, written from docs/policy.md alone, without a store and without Retour.

It knows sends in bulk and transactional streams, failures that blame the recipient, the network or the sender, trials
and the passing of time; no storms, no shared proofs, no operators.
"""

from __future__ import annotations

from dataclasses import dataclass, field

DAY = 86_400_000
EVERYWHERE, BULK = "*", "*bulk"


@dataclass(frozen=True)
class Numbers:
    """Of docs/policy.md, by the names of its keys; spans in days."""

    hard: int = 2
    pause: int = 3
    hard_for: int = 30
    soft: int = 5
    soft_span: int = 10
    soft_for: int = 30
    network: int = 5
    network_span: int = 30
    network_for: int = 30
    longest: int = 365
    trials: int = 4
    spare_for: int = 90
    heal_sends: int = 1
    heal_after: int = 7
    forget_after: int = 400


@dataclass
class Mail:
    """One message that went out."""

    at: int
    transactional: bool
    failed: int | None = None
    """When its first failure came back, whoever is to blame."""
    said: str | None = None
    """The worst that came back of what can count."""


@dataclass
class Bad:
    """A failure that counts."""

    what: str
    at: int
    mail: Mail
    paused_until: int = 0


@dataclass
class Stop:
    """A pause, a suppression, or a trial that is going on."""

    cause: str
    since: int
    until: int | None
    tries: bool = False


@dataclass
class Person:
    """Somebody who gets mail."""

    numbers: Numbers = field(default_factory=Numbers)
    mails: list[Mail] = field(default_factory=list)
    counted: list[Bad] = field(default_factory=list)
    last: int = 0
    times: int = 0
    """How often they were suppressed since good mail last cleared the count."""
    ends: dict[str, int] = field(default_factory=dict)
    stops: dict[str, Stop] = field(default_factory=dict)

    def stopped(self, now: int, *, transactional: bool) -> Stop | None:
        """What a client would hear: what lasts longest, and a trial only where there is nothing else."""
        holding = [one for one in self._applying(transactional) if one.until is None or one.until > now]
        firm = [one for one in holding if one.cause != "trial"] or holding
        return max(firm, key=lambda one: (one.until is None, one.until or 0), default=None)

    def _applying(self, transactional: bool) -> list[Stop]:
        return [one for scope, one in self.stops.items() if scope == EVERYWHERE or not transactional]

    def send(self, now: int, *, transactional: bool) -> Mail | None:
        """A message, if it may go. Where a suppression has run out it is the one that tries."""
        if self.stopped(now, transactional=transactional):
            return None
        for one in self._applying(transactional):
            if one.tries:
                one.cause, one.tries, one.until = "trial", False, now + self.numbers.heal_after * DAY
        mail = Mail(now, transactional)
        self.mails.append(mail)
        return mail

    def fail(self, mail: Mail, what: str, now: int) -> None:
        """It comes back: hard, soft, network; or something that blames the sender."""
        good = [one.at for one in self.mails if one.at <= now - self.numbers.heal_after * DAY and not one.failed]
        mail.failed = mail.failed or now
        if what == "sender":
            return
        is_worse = mail.said is None or (what == "hard" and mail.said != "hard")
        if not is_worse:
            return
        mail.said = what
        lasted = {scope: self.ends.get(scope, 0) - one.since for scope, one in self.stops.items()}
        on_trial = {scope for scope, one in self.stops.items() if self._was_trial_of(scope, one, mail)}
        self._heal(good, now)
        self._count(mail, what, now)
        for scope in on_trial:
            self._renew(scope, what, now, lasted[scope])

    def _was_trial_of(self, scope: str, one: Stop, mail: Mail) -> bool:
        if one.cause != "trial" or one.until is None or (mail.transactional and scope != EVERYWHERE):
            return False
        return one.until - self.numbers.heal_after * DAY <= mail.at < one.until

    def _renew(self, scope: str, what: str, now: int, lasted: int) -> None:
        """A trial that failed: suppressed for at least as long as it was."""
        there = self.stops[scope]
        if lasted <= 0 or (there.cause != "trial" and (there.until is None or there.until >= now + lasted)):
            return
        self.stops[scope] = Stop(what, now, now + lasted, tries=True)
        self.ends[scope], self.times = now + lasted, max(self.times, 1)

    def _heal(self, good: list[int], now: int) -> None:
        numbers = self.numbers
        if self.last and sum(at > self.last for at in good) >= numbers.heal_sends:
            self.counted, self.last, self.times, self.ends = [], 0, 0, {}
        newest = max(good, default=0)
        self.counted = [
            one
            for one in self.counted
            if not (one.what == "network" and one.at < newest) and now - one.at <= numbers.forget_after * DAY
        ]

    def _count(self, mail: Mail, what: str, now: int) -> None:
        where = [EVERYWHERE] if mail.transactional else [EVERYWHERE, BULK]
        if any(mail.at < self.ends.get(scope, 0) for scope in where):
            return
        same = [one for one in self.counted if one.what == what]
        if any(one.at // DAY == now // DAY for one in same):
            return
        if what == "hard" and any(mail.at < one.paused_until for one in same):
            return
        self.counted = [one for one in self.counted if one.mail is not mail]
        new = Bad(what, now, mail)
        self.counted.append(new)
        self.last = max(self.last, now)
        times = [one.at for one in self.counted if one.what == what]
        span, least = (
            max(times) - min(times),
            {"hard": 0, "soft": self.numbers.soft_span}.get(what, self.numbers.network_span),
        )
        if len(times) >= getattr(self.numbers, what) and span >= least * DAY:
            self._suppress(what, now, span, mail)
        elif what == "hard":
            new.paused_until = now + self.numbers.pause * DAY
            self._stop(BULK, Stop("pause", now, new.paused_until))

    def _suppress(self, what: str, now: int, span: int, mail: Mail) -> None:
        numbers = self.numbers
        spares = what != "hard" and span < numbers.spare_for * DAY
        scope = BULK if spares else EVERYWHERE
        if spares and mail.transactional and mail.at < self.ends.get(BULK, 0):
            return
        days = min(getattr(numbers, f"{what}_for") * 2**self.times, numbers.longest)
        is_final = what == "hard" and 0 < numbers.trials <= self.times
        until = None if is_final else now + days * DAY
        self.times += 1
        if until:
            self.ends[scope] = until
        self._stop(scope, Stop(what, now, until, tries=not is_final))

    def _stop(self, scope: str, new: Stop) -> None:
        """What is in force stays, unless it was a trial, a pause that a longer or firmer one follows, or for a time."""
        old = self.stops.get(scope)
        if old is None or (old.until is not None and old.until <= new.since) or old.cause == "trial":
            self.stops[scope] = new
            return
        if old.cause == "pause":
            is_longer = new.until is None or (old.until is not None and new.until > old.until)
            gives_way = new.cause != "pause" or is_longer
        else:
            gives_way = old.until is not None and new.until is None
        if gives_way:
            self.stops[scope] = new
