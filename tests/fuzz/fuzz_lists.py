"""Fuzzes suppression lists, CSV and JSON lines: `python tests/fuzz/fuzz_lists.py [libFuzzer options]`."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent))
with atheris.instrument_imports(include=["retour_policy.maintenance.suppression_files", "retour_policy.address"]):
    from retour_policy.address import is_address
    from retour_policy.maintenance.suppression_files import Fault, read_rows, to_dict

import parts

HEAD = "address,cause,scope,since,until,note\r\n"


def one_input(data: bytes) -> None:
    """Each line is a row that can be exported again, or a fault that names its line."""
    text = data.decode("utf-8", "surrogateescape")
    for format_, whole in (("csv", text), ("csv", HEAD + text), ("jsonl", text)):
        for one in read_rows(io.StringIO(whole, newline=""), format_, ("news",), parts.NOW):  # type: ignore[arg-type]
            assert one.line >= 1
            if isinstance(one, Fault):
                assert one.text
            else:
                assert is_address(one.address)
                "".join(str(value) for value in to_dict(one.address, one.new).values()).encode("utf-8")


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
