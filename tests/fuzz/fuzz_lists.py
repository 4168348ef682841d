"""Fuzzes suppression lists, CSV and JSON lines: `python tests/fuzz/fuzz_lists.py [libFuzzer options]`."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent))
with atheris.instrument_imports(include=["retour_policy.maintenance.suppression_files", "retour_policy.address"]):
    from retour_policy.address import is_address
    from retour_policy.maintenance import suppression_files
    from retour_policy.maintenance.suppression_files import Fault, read_rows, to_dict

import parts

HEAD = "address,cause,scope,since,until,note\r\n"
MAX_LINE_CHARACTERS = 200  # instead of 10,000, so that short inputs pass it


def one_input(data: bytes) -> None:
    """Each line is a row that can be exported again, or a fault that names its line.

    The first octet says of which form the rest is.
    """
    form, text = data[:1], data[1:].decode("utf-8", "surrogateescape")
    format_ = "jsonl" if form == b"j" else "csv"
    whole = text if form in (b"j", b"c") else HEAD + text
    last = 0
    for one in read_rows(io.StringIO(whole, newline=""), format_, ("news",), parts.NOW):  # type: ignore[arg-type]
        assert one.line >= 1
        if isinstance(one, Fault):
            assert one.text
        else:
            assert one.line > last
            last = one.line
            assert is_address(one.address)
            "".join(str(value) for value in to_dict(one.address, one.new).values()).encode("utf-8")


if __name__ == "__main__":
    suppression_files.MAX_LINE_CHARACTERS = MAX_LINE_CHARACTERS
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
