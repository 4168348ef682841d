"""Configuration: the example is the manual and holds the defaults; what is read means what it says."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from retour_policy.clock import DAY, HOUR, MINUTE, SECOND
from retour_policy.config import load
from retour_policy.config.courier import HookSection, RelaySection
from retour_policy.config.feedback import WebSection
from retour_policy.config.model import Config, Match, Stream, in_bounce_domain
from retour_policy.config.problems import REMOVED
from retour_policy.core.hook_events import EVENTS, GROUPS
from retour_policy.core.presets import PLAIN
from retour_policy.errors import ConfigError

EXAMPLE = files("retour_policy.config").joinpath("example.toml").read_text("utf-8")
SYSTEM = {
    "@DATABASE@": "/var/lib/retour/retour.db",
    "@KEYRING@": "/etc/retour/keys.toml",
    "@SOCKETS@": "/var/spool/postfix/retour",
    "@POSTMASTER@": "postmaster",
    "@DOMAIN@": "bounces.example.com",
    "@PARENT@": "example.com",
    "@SPOOL@": "/var/lib/retour/spool",
    "@SENDER@": "newsletter@example.com",
    "@PATTERN@": "b%@bounces.example.com",
}


def filled(text: str = EXAMPLE) -> str:
    for name, value in SYSTEM.items():
        text = text.replace(name, value)
    return text


def written_out(text: str = EXAMPLE) -> str:
    """The example with the numbers of its policy, which it names in comments, in force."""
    before, here, rest = filled(text).partition("\n[policy]\n")
    policy, storm, after = rest.partition("\n[storm]\n")
    return before + here + re.sub(r"(?m)^# ([a-z_]+ = )", r"\1", policy) + storm + after


def parse(text: str) -> Config:
    return load.parse(Path("retour.toml"), text)


def keys_of(model: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from keys_of(inner, (*above, name))
        else:
            yield (*above, name)


def test_the_example_holds_the_defaults() -> None:
    """Filled in for the system's places, the example means what an empty file means, apart from its streams."""
    example, defaults = parse(filled()).model_dump(), Config().model_dump()
    assert example.pop("stream") and not defaults.pop("stream")
    assert parse(filled()).rules(None) == parse(written_out()).rules(None) == Config().rules(None)
    assert example.pop("policy")["preset"] == defaults.pop("policy")["preset"]
    assert example == defaults


def test_plain_is_one_word_in_the_example() -> None:
    """Changing the preset in the file from init gives its numbers, and no storms."""
    assert parse(filled().replace('preset = "careful"', 'preset = "plain"')).rules(None) == PLAIN


def test_every_key_stands_in_the_example() -> None:
    """A key that the model has and the manual has not would be known to nobody."""
    data = tomllib.loads(written_out())
    for path in keys_of(Config):
        if path in (("stream",), ("relay",), ("hook",), ("web",)):
            continue
        table = data
        for name in path:
            assert name in table, f"{'.'.join(path)} is missing in example.toml"
            table = table[name]
    relay = EXAMPLE.partition("\n[relay.default]\n")[2].partition("\n[")[0]
    assert set(re.findall(r"^(?:# )?([a-z_]+) = ", relay, re.MULTILINE)) == set(RelaySection.model_fields)


def test_the_web_service_is_explained_and_its_example_works() -> None:
    """Uncommented it is a web section with the defaults, and every key of it stands there."""
    shown = filled().partition("\n# [web]\n")[2].partition("\n\n")[0]
    web = "[web]\n" + "\n".join(re.findall(r"(?m)^# ([a-z_]+ = .*)$", shown))
    assert set(tomllib.loads(web)["web"]) == set(WebSection.model_fields)
    found = parse(web).web
    assert found is not None
    for name, field in WebSection.model_fields.items():
        assert field.is_required() or getattr(found, name) == field.default


def test_every_key_of_a_stream_is_explained() -> None:
    """The comment above the first stream explains each key, and the stream sets it to its default where it can.

    Not `suppressed`: a new stream drops, because one 550 costs some clients more than that recipient.
    """
    manual = EXAMPLE.partition("\n# A stream is ")[2].partition("\n[[stream]]\n")[0]
    explained = set(re.findall(r"^# ([a-z_]+) {2,}\S", manual, re.MULTILINE))
    nested = set(re.findall(r"(?:^# {3}| {3,})([a-z]+) {2,}\S", manual, re.MULTILINE))
    assert explained == set(Stream.model_fields) - {"name"}
    assert nested >= set(Match.model_fields)
    stream = tomllib.loads(filled())["stream"][0]
    for name in ("track", "transactional", "multi_recipient", "relay"):
        assert stream[name] == Stream.model_fields[name].default
    assert stream["suppressed"] == "drop"


def test_every_key_of_a_hook_and_every_event_is_explained() -> None:
    """The comment above the first hook explains them; what it shows works when it is uncommented."""
    manual, _, shown = EXAMPLE.partition("\n# Hooks tell ")[2].partition("\n\n")[0].partition("# [[hook]]\n")
    explained = set(re.findall(r"^# {1,3}([a-z_]+) {2,}\S", manual, re.MULTILINE))
    assert explained == set(HookSection.model_fields) - {"name"}
    assert {*EVENTS, *GROUPS} <= set(re.findall(r"[a-z.]*[a-z]", manual))
    text = "[[hook]]\n" + "".join(line.removeprefix("# ") for line in shown.splitlines(keepends=True))
    (hook,) = parse(text + '\n[[stream]]\nname = "newsletter"\n').hook
    assert (hook.timeout, hook.connections) == tuple(
        HookSection.model_fields[name].default for name in ("timeout", "connections")
    )


def test_every_choice_is_explained() -> None:
    """Each word that a key may have stands in the manual."""
    for words in (("tempfail", "pass"), ("everywhere", "stream"), ("refuse", "drop", "pass"), ("shared", "refuse")):
        assert all(f'"{word}"' in EXAMPLE for word in words)
    for name in ("stream", "tag", "token", "recipient", "recipient_domain", "date"):
        assert f"{{{name}}}" in EXAMPLE


def test_the_commented_stream_is_good_when_it_is_uncommented() -> None:
    """What a postmaster uncomments works."""
    head, _, tail = filled().partition("# [[stream]]\n")
    text = head + "[[stream]]\n" + "".join(line.removeprefix("# ") for line in tail.splitlines(keepends=True))
    config = parse(text)
    assert [stream.name for stream in config.stream] == ["newsletter", "invoices"]
    assert config.stream[1].static_sender == "bounces@bounces.example.com"


def test_an_empty_file_is_a_configuration() -> None:
    """All has defaults, and without a stream nothing is touched."""
    assert parse("") == Config() and parse("").stream == ()


@pytest.mark.parametrize(
    ("text", "length"), [("30s", 30 * SECOND), ("5m", 5 * MINUTE), ("4h", 4 * HOUR), ("180d", 180 * DAY), ("0s", 0)]
)
def test_times_have_units(text: str, length: int) -> None:
    """A number and a unit, held in milliseconds."""
    assert parse(f'policy.autoreply_for = "{text}"').policy.autoreply_for == length


def test_a_stream_is_one_of_four_kinds() -> None:
    """With % VERP; without, static; header-from; absent, the sender stays."""
    senders = ('"b-%@b.example"', '"x@b.example"', '"header-from"')
    text = "".join(f'[[stream]]\nname = "s{n}"\nenvelope_from = {sender}\n' for n, sender in enumerate(senders))
    streams = parse(text + '[[stream]]\nname = "s3"\n').stream
    assert [(bool(s.pattern), s.static_sender) for s in streams] == [
        (True, None), (False, "x@b.example"), (False, None), (False, None),
    ]  # fmt: skip


def test_domains_and_senders_are_compared_in_their_normal_form() -> None:
    """However a postmaster writes a domain, mail to it comes back to us."""
    config = parse(
        '[[stream]]\nname = "a"\nenvelope_from = "b-%@Bücher.example"\n'
        '[[stream]]\nname = "b"\nenvelope_from = "Shop@Läden.example"\n'
    )
    assert config.bounce_domains == {"xn--bcher-kva.example"}
    for address in ("x@bücher.example", "x@XN--BCHER-KVA.example.", "SHOP@läden.example"):
        assert in_bounce_domain(config, address)
    for address in ("x@example.com", "other@läden.example", "postmaster"):
        assert not in_bounce_domain(config, address)


def test_a_pattern_may_live_in_the_main_domain() -> None:
    """Where the postmaster says that it has mailboxes, their own can be one of them."""
    config = parse(
        'lmtpd.mailbox_domains = ["Example.com"]\nlmtpd.postmaster = "postmaster@example.com"\n'
        '[[stream]]\nname = "a"\nenvelope_from = "news-%@example.com"\n'
    )
    assert config.bounce_domains == frozenset()
    assert not in_bounce_domain(config, "postmaster@example.com")


def test_all_faults_are_told_at_once() -> None:
    """A postmaster wants to fix the whole file, not one key at a time."""
    with pytest.raises(ConfigError) as caught:
        parse('policy.hard = -1\nmilter.drain = 5\nstream = [{name = "a", nmae = 1}, {name = "b", track = 1}]\n')
    keys = [problem.key for problem in caught.value.problems]
    assert keys == ["milter.drain", "stream[a].nmae", "stream[b].track", "policy.hard"]


def test_what_is_gone_is_no_key() -> None:
    """A key that came back must leave the list of those that are gone, for nobody would hear that it is known."""
    assert not set(REMOVED) & {".".join(path[-2:]) for path in keys_of(Config)}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
PLACES = [(*path,) for path in keys_of(Config)]


@given(st.sampled_from(PLACES), VALUES, st.sampled_from([*Stream.model_fields, "match"]), VALUES)
def test_no_value_makes_reading_fail(place: tuple[str, ...], value: object, key: str, other: object) -> None:
    """Whatever stands behind a key, the answer is a configuration or a `ConfigError` that names the key."""
    data: dict[str, object] = {"stream": [{"name": "news", key: other}]}
    table = data
    for name in place[:-1]:
        table = table.setdefault(name, {})  # type: ignore[assignment]
    table[place[-1]] = value
    try:
        load.validate(Path("retour.toml"), data)
    except ConfigError as error:
        assert all(problem.key and problem.text for problem in error.problems)
