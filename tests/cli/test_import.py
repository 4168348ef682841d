"""Old mail: bounces from an mbox, a Maildir or .eml files, recorded once, each at its own date."""

from __future__ import annotations

import mailbox
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from lab.reports import hard_bounce
from retour_bounces import read
from retour_policy.clock import DAY, system_clock, time_text
from retour_policy.messages.fingerprint import Fingerprint
from retour_policy.messages.returned import ReturnRecorder
from retour_policy.messages.returned_message import ReturnedMessage
from retour_policy.messages.router import Route
from retour_policy.messages.signer import Signer
from retour_policy.store import batches, sends
from retour_policy.store.database import Store
from retour_policy.store.sends import NewSend

TO = "anna@example.net"


def date_text(at: int) -> str:
    """As header fields have it."""
    return formatdate(at / 1000)


def report(at: int, came_to: str, to: str) -> str:
    """A bounce as a mailbox keeps it, received at that time (milliseconds)."""
    date = date_text(at)
    received = f"Received: from mx.example.net by mail.example.com; {date}"
    return hard_bounce(to, header=f"{received}\nTo: {came_to}\nDate: {date}\n", text="It failed.")


def reports(office: Any, days: tuple[int, ...], to: str = TO) -> list[str]:
    """Bounces of sends that were made that many days ago, each an hour after its send."""
    context = office.context
    secret, stream = context.ring.address_secret, context.config.stream_named("news")
    new, found = NewSend("news", "news@example.com", (to,)), []
    for number, day in enumerate(days):
        at = system_clock() - day * DAY
        signer = Signer(context.ring, lambda at=at: at)
        with context.store.writing() as connection:
            send = sends.record(connection, secret, new, signer.draw)
        came_to = signer.envelope_sender(stream, send)
        found.append(report(at + 3_600_000 + number, came_to, to))
    return found


def as_mbox(folder: Path, texts: list[str]) -> Path:
    path = folder / "old.mbox"
    box = mailbox.mbox(path)
    for text in texts:
        box.add(text.encode())
    box.close()
    return path


def as_maildir(folder: Path, texts: list[str]) -> Path:
    box = mailbox.Maildir(folder / "Maildir")
    for text in texts:
        box.add(text.encode())
    return folder / "Maildir"


def as_files(folder: Path, texts: list[str]) -> Path:
    (folder / "old/deep").mkdir(parents=True)
    for number, text in enumerate(texts):
        (folder / ("old" if number % 2 else "old/deep") / f"{number}.{'eml' if number else 'EML'}").write_text(text)
    return folder / "old"


@pytest.mark.parametrize("make", [as_mbox, as_maildir, as_files])
def test_old_bounces_count_at_their_own_dates(office: Any, make: Any) -> None:
    """Newest first or not: as if they had been read then. A second run changes nothing."""
    path = make(office.home, reports(office, (40, 300, 200)))
    assert office.json("import", str(path)) == [{"recorded": 3}]
    found = office.json("events")
    assert [event["at"][:10] for event in found] == sorted(
        time_text(system_clock() - day * DAY + 3_600_000)[:10] for day in (40, 300, 200)
    )
    (one,) = office.json("suppressions", "list")
    assert (one["address"], one["cause"], one["since"][:10]) == (TO, "hard", found[-1]["at"][:10])
    assert office.json("import", str(path)) == [{"recorded before": 3}]
    assert len(office.json("events")) == 3
    assert office.json("rebuild") == []


def test_a_reference_is_as_old_as_the_report_that_brings_it(office: Any) -> None:
    """Old mail to a static sender: each by its own date, whatever else is read with it; 31 days after is too late."""
    context, found = office.context, []
    new = NewSend("shop", "shop@example.com", (TO,))
    for sent, came in ((300, 299), (200, 169), (100, 71), (40, 39)):
        at = system_clock() - sent * DAY
        signer = Signer(context.ring, lambda at=at: at)
        with context.store.writing() as connection:
            send = sends.record(connection, context.ring.address_secret, new, signer.draw)
        returned = f"Retour-Ref: {signer.reference(send)}\nFrom: shop@example.com\n"
        date = date_text(system_clock() - came * DAY)
        header = f"To: shop-returns@example.com\nDate: {date}\nX-Number: {sent}\n"
        found.append(hard_bounce(TO, header=header, returned=returned, text=f"It failed, {sent}."))
    assert office.json("import", str(as_mbox(office.home, found))) == [
        {"recorded": 3, "unmatched, not recorded: about no mail on record": 1}
    ]
    assert office.json("address", "show", TO)[0]["counts"]["*"]["hard"] == 3
    assert office.json("rebuild") == []


def test_one_file_is_a_mailbox_too(office: Any) -> None:
    """`retour import bounce.eml`."""
    path = as_files(office.home, reports(office, (40,))) / "deep/0.EML"
    assert office.json("import", str(path)) == [{"recorded": 1}]


def test_an_import_that_was_stopped_is_repeated(office: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in the middle: what was committed is known, and the rest comes with the next run."""
    path = as_mbox(office.home, reports(office, tuple(range(100, 130))))
    record = ReturnRecorder.record
    left = iter(range(25))

    def stopping(self: ReturnRecorder, *args: Any) -> Any:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return record(self, *args)

    monkeypatch.setattr(ReturnRecorder, "record", stopping)
    office("import", path, status=1)
    monkeypatch.undo()
    done = office.json("import", str(path))[0]
    assert done["recorded before"] >= 20 and sum(done.values()) == 30
    assert len(office.json("events")) == 30
    assert office.json("rebuild") == []


@pytest.mark.parametrize("date", ["", "yesterday", "Thu, 1 Jan 1970 00:00:00 +0000", "Fri, 1 Jan 2038 00:00:00 +0000"])
def test_a_message_without_a_date_that_can_be_is_named(office: Any, date: str) -> None:
    """It is skipped, the others are recorded, and the exit status is 1."""
    good, bad = reports(office, (40, 50))
    lines = [line for line in bad.splitlines() if not line.startswith(("Received:", "Date:"))]
    path = as_mbox(office.home, ["\n".join([f"Date: {date}", *lines]), good])
    result = office("import", path, status=1)
    assert f"{path}:1: has no date, or one before 2020 or in the future" in result.stderr
    assert len(office.json("events")) == 1


def test_what_is_no_mailbox_is_refused(office: Any) -> None:
    """Not taken for an empty one."""
    (office.home / "empty").mkdir()
    for name in ("retour.toml", "nowhere", "retour.db"):
        assert name in office("import", office.home / name, status=1).stderr
    assert "no message found" in office("import", office.home / "empty").stdout


def test_a_message_that_fails_for_its_own_sake_stops_no_other(office: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named, with where it lies."""
    path = as_mbox(office.home, reports(office, (100, 101, 102)))
    record = ReturnRecorder.record
    calls = iter(range(3))

    def failing(self: ReturnRecorder, *args: Any) -> Any:
        outcome = record(self, *args)
        if next(calls) == 1:
            raise ValueError("an error in this one")
        return outcome

    monkeypatch.setattr(ReturnRecorder, "record", failing)
    assert f"{path}:2: an error in this one" in office("import", path, status=1).stderr
    monkeypatch.undo()
    assert office.json("import", str(path)) == [{"recorded": 1, "recorded before": 2}]


def test_a_dry_run_says_what_would_count_and_records_nothing(office: Any) -> None:
    """How many reports would count, what is unmatched, and who would be suppressed by all of them together."""
    genuine = reports(office, (40, 30, 20))
    path = as_mbox(office.home, [*genuine, genuine[0], report(system_clock() - DAY, "list@example.com", TO)])
    would, totals = office.json("import", str(path), "--dry-run")
    assert (would["would_be"], would["address"], would["cause"]) == ("suppressed", TO, "hard")
    assert totals == {
        "would count": 3, "recorded before": 1, "unmatched, not recorded: about no mail on record": 1
    }  # fmt: skip
    office("events", status=1)
    assert office.json("suppressions", "list") == []
    assert f"{TO}: would be suppressed: hard bounces" in office("import", path, "--dry-run").stdout
    assert office.json("import", str(path))[0]["recorded"] == 3
    (one,) = office.json("suppressions", "list")
    assert {name: one[name] for name in ("since", "until", "cause")} == {
        name: would[name] for name in ("since", "until", "cause")
    }
    again = office.json("import", str(path), "--dry-run")
    assert again == [{"recorded before": 4, "unmatched, not recorded: about no mail on record": 1}]


def test_a_dry_run_knows_what_good_sends_have_cleared(careful: Any) -> None:
    """Such a report would be recorded, and count for nobody."""
    path = as_mbox(careful.home, reports(careful, (60,)))
    reports(careful, (50, 40, 30))
    assert careful.json("import", str(path), "--dry-run") == [{"would count for nobody": 1}]
    assert careful.json("import", str(path)) == [{"recorded": 1}]
    story = careful.json("address", "show", TO)[0]
    assert story["counts"] == {} and story["events"][0]["led_to"] == "not counted: good sends came after it"


def test_transactions_are_short(office: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """After 20 ms no further message is recorded in the same one."""
    path = as_mbox(office.home, reports(office, tuple(range(100, 110))))
    clock = iter(range(1_000))
    monkeypatch.setattr(batches.time, "monotonic", lambda: next(clock) * 0.02)
    begun = []
    writing = Store.writing
    monkeypatch.setattr(Store, "writing", lambda self: begun.append(1) or writing(self))
    assert office.json("import", str(path)) == [{"recorded": 10}]
    assert len(begun) >= 5


def test_the_old_mail_of_an_erased_person_tells_nothing_of_her(office: Any) -> None:
    """She stays erased, and what follows from her old bounces is still known."""
    path = as_mbox(office.home, reports(office, (40, 50, 60)))
    office("suppressions", "add", TO, "--until", "1d")
    office("erase", TO, "--yes")
    office("import", path)
    assert "anna" not in office("events", "--json").stdout
    (one,) = office.json("address", "show", TO)[0]["suppressions"]
    assert one["cause"] in ("hard", "operator")
    assert office.json("rebuild") == []


def test_bounces_from_before_count_where_the_postmaster_vouches_for_them(office: Any) -> None:
    """Nothing on record shows that they are about our mail: said so, and nothing is noted; with `--count-unsigned` they
    count, once, whatever the configuration believes.
    """
    path = office.home / "old.eml"
    path.write_text(report(system_clock() - 40 * DAY, "list@example.com", TO))
    unmatched = [{"unmatched, not recorded: about no mail on record": 1}]
    for _ in range(2):
        assert office.json("import", str(path)) == unmatched
        office("address", "show", TO, status=1)
    assert office.json("import", str(path), "--count-unsigned", "--dry-run") == [{"would count": 1}]
    office("address", "show", TO, status=1)
    assert office.json("import", str(path), "--count-unsigned") == [{"recorded": 1}]
    assert office.json("import", str(path), "--count-unsigned") == [{"recorded before": 1}]
    (story,) = office.json("address", "show", TO)
    assert story["counts"]["*"]["hard"] == 1 and story["events"][0]["proof"] == "vouched"
    assert "(vouched)" in office("address", "show", TO).stdout
    assert office.json("rebuild") == []


def test_a_configuration_that_believes_them_counts_them_too(office: Any) -> None:
    """`count_unsigned = true`, as for what comes to the LMTP daemon; once, also with the option beside it."""
    path = office.home / "old.eml"
    path.write_text(report(system_clock() - 40 * DAY, "list@example.com", TO))
    office.edit('preset = "plain"', 'preset = "plain"\ncount_unsigned = true')
    assert office.json("import", str(path)) == [{"recorded": 1}]
    assert office.json("import", str(path), "--count-unsigned") == [{"recorded before": 1}]
    assert office.json("address", "show", TO)[0]["counts"]["*"]["hard"] == 1


def test_what_went_to_postmaster_unmatched_can_be_imported(office: Any) -> None:
    """The LMTP daemon has noted it, and forwards it once; a vouched import counts it, once."""
    context, text = office.context, report(system_clock() - DAY, "shop-returns@example.com", TO)
    recorder = ReturnRecorder.of(context.config, context.ring, context.ledger, context.clock)
    raw = text.encode()
    came = ReturnedMessage(
        context.clock(),
        Route("static", "shop"),
        "shop-returns@example.com",
        "",
        raw,
        Fingerprint.of_file(raw),
        read(raw),
    )
    outcomes = [office.write(lambda connection: recorder.record(connection, came)) for _ in range(2)]
    assert outcomes == ["forwarded", "duplicate"]
    path = office.home / "kept.eml"
    path.write_bytes(raw)
    assert office.json("import", str(path)) == [{"unmatched, not recorded: about no mail on record": 1}]
    assert office.json("import", str(path), "--count-unsigned") == [{"recorded": 1}]
    assert office.json("import", str(path), "--count-unsigned") == [{"recorded before": 1}]
    assert office.json("import", str(path)) == [{"recorded before": 1}]
    assert office.json("address", "show", TO)[0]["counts"]["*"]["hard"] == 1
    assert office.json("rebuild") == []
