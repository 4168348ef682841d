"""How a message is taken in from the wire."""

from hypothesis import given
from hypothesis import strategies as st

from retour_lmtpd.message_data import MAX_HEAD_OCTETS, MAX_LINE_OCTETS, MAX_TAIL_OCTETS, DataReader
from retour_policy.messages.fingerprint import Fingerprint

LINES = st.lists(st.sampled_from([b"", b".", b"..", b".x", b"text", b"\r", b"a\nb", b"\n.\n", b"\0\xff"]), max_size=12)


def wire(body: bytes) -> bytes:
    """A message as a client sends it: dots stuffed, a lone dot at the end."""
    lines = body.split(b"\r\n")
    return b"\r\n".join(b"." + line if line.startswith(b".") else line for line in lines) + b"\r\n.\r\n"


def take(octets: bytes, cuts: list[int]) -> tuple[DataReader, bytes]:
    reader, start = DataReader(Fingerprint()), 0
    for cut in [*sorted({c % (len(octets) + 1) for c in cuts}), len(octets)]:
        if cut > start:
            rest = reader.feed(octets[start:cut])
            if rest is not None:
                return reader, rest + octets[cut:]
            start = cut
    raise AssertionError("no end found")


@given(LINES, st.lists(st.integers(0, 10_000), max_size=8), st.binary(max_size=9))
def test_any_cutting_into_chunks_gives_the_same_message(lines, cuts, behind):
    """Whatever TCP does: the message comes out as it was written, and what stands behind it is given back."""
    body = b"\r\n".join(lines)
    reader, rest = take(wire(body) + behind, cuts)
    content = reader.message()
    assert content.raw == body + b"\r\n"
    assert not content.truncated
    assert rest == behind


def test_an_empty_message_is_one():
    """A lone dot at once."""
    reader, rest = take(b".\r\nQUIT\r\n", [1])
    assert (reader.message().raw, reader.message().size, rest) == (b"", 0, b"QUIT\r\n")


def test_only_crlf_dot_crlf_ends_a_message():
    """A dot between bare line feeds is text, or commands could be smuggled in."""
    reader, rest = take(b"a\n.\nMAIL FROM:<x>\r\n.\r\n", [])
    assert b"MAIL" in reader.message().raw
    assert rest == b""


def test_of_a_large_message_head_and_tail_are_kept_whole_lines_only():
    """Half an address at the cut could be taken for a whole one."""
    lines = [b"Final-Recipient: rfc822; user%07d@example.com" % n for n in range(60_000)]
    reader, _ = take(wire(b"\r\n".join(lines)), list(range(0, 3_000_000, 65_536)))
    content = reader.message()
    kept = content.raw.split(b"\r\n")[:-1]
    assert content.truncated
    assert set(kept) <= set(lines)
    assert (kept[0], kept[-1]) == (lines[0], lines[-1])
    assert MAX_HEAD_OCTETS + MAX_TAIL_OCTETS - 200 < len(content.raw) <= MAX_HEAD_OCTETS + MAX_TAIL_OCTETS
    assert content.size == len(b"\r\n".join(lines)) + 2


def test_a_message_that_just_fits_is_kept_whole():
    """Head and tail together hold it."""
    body = (b"x" * 998 + b"\r\n") * ((MAX_HEAD_OCTETS + MAX_TAIL_OCTETS) // 1000)
    reader, _ = take(wire(body[:-2]), [5])
    assert reader.message().raw == body
    assert not reader.message().truncated


def test_overlong_lines_are_cut():
    """The line goes on being one line."""
    reader, _ = take(b"A: b\r\n\r\n" + b"x" * 100_000 + b"\r\nend\r\n.\r\n", [70_000])
    content = reader.message()
    assert content.raw.split(b"\n")[2:] == [b"x" * MAX_LINE_OCTETS, b"end\r", b""]
    assert content.truncated


def fingerprint(octets: bytes, cuts: list[int]) -> bytes:
    return take(octets, cuts)[0].message().fingerprint


@given(st.lists(st.integers(0, 10_000), max_size=6))
def test_trace_fields_do_not_make_another_message(cuts):
    """A report that comes a second time has other trace fields, and is the same; a changed body is another."""
    body = b"\r\n\r\n" + b"body\r\n" * 50 + b".\r\n"
    one = fingerprint(b"Received: a\r\n\tb\r\nSubject: x\r\nReturn-Path: <>" + body, [])
    assert fingerprint(b"received: c\r\nDelivered-To: d\r\nSubject: x" + body, cuts) == one
    assert fingerprint(b"Subject: y" + body, cuts) != one
    assert fingerprint(b"Subject: x" + body.replace(b"body", b"text", 1), cuts) != one


@given(LINES)
def test_a_message_in_a_file_is_the_same_as_over_the_wire(lines):
    """What the daemon has recorded is known when the mailbox is imported."""
    body = b"Subject: x\r\n\r\n" + b"\r\n".join(line for line in lines if b"\n" not in line and b"\r" not in line)
    file = body.replace(b"\r\n", b"\n") + b"\n"
    assert Fingerprint.of_file(file) == fingerprint(wire(body), [])


def test_the_part_that_is_not_kept_makes_another_message_too():
    """Two large reports that differ only in the middle are two."""
    lines = [b"x" * 998] * 3_000
    one = fingerprint(wire(b"Subject: x\r\n\r\n" + b"\r\n".join(lines)), list(range(0, 3_000_000, 65_536)))
    lines[2_000] = b"y" * 998
    assert fingerprint(wire(b"Subject: x\r\n\r\n" + b"\r\n".join(lines)), [7]) != one
