"""Fuzzes `read` with coverage guidance: `python tests/bounces/fuzz_read.py [libFuzzer options] [seed
folders]`."""

from __future__ import annotations

import json
import sys
from typing import get_args

import atheris

with atheris.instrument_imports(include=["retour_bounces"]):
    from retour_bounces import read
    from retour_bounces.report import Kind

KINDS = set(get_args(Kind))


def one_input(data: bytes) -> None:
    """Whatever comes in, `read` answers with a report that can be printed and keeps its own rules."""
    report = read(data)
    json.dumps(report.to_dict()).encode("ascii")
    assert report.kind in KINDS
    failed = [one for one in report.reports if one.action == "failed"]
    assert (report.kind == "bounce") == bool(failed)
    assert len(report.reports) == 1 or all(one.recipient for one in report.reports)
    for one in report.reports:
        assert one.recipient is None or (one.recipient and one.recipient.isprintable()), one.recipient
        (one.recipient or "").encode("utf-8")
        assert len(one.diagnostic) <= 1_000
        assert one.action != "failed" or (one.type and one.blame and one.status)


if __name__ == "__main__":
    atheris.Setup([*sys.argv, "-timeout=10", "-rss_limit_mb=2048"], one_input)
    atheris.Fuzz()
