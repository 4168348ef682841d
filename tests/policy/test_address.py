"""Addresses, patterns and cleaning: what counts as the same, what may stand where, and that nothing raises."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lab.effort import is_within
from retour_policy.address import address_key, domain_ascii, domain_of, is_address, is_domain, mailbox, normalise
from retour_policy.config.model import Config
from retour_policy.messages.router import Route, Router, UnknownAddress
from retour_policy.messages.signer import Signer
from retour_policy.sanitize import clean, clean_values
from retour_policy.store import addresses
from retour_policy.store.database import Store
from retour_policy.tokens import keyring, token
from retour_policy.tokens.keyring import KeyRing
from retour_policy.tokens.verp import Pattern

SECRET = bytes(32)
NOW = 1_800_000_000_000
TOKEN = "a" * 30
ANY = st.text(max_size=60) | st.text('ab@.+-%"\\ <>ü例\ud800\udcff\x00\x1b', max_size=30)


@pytest.mark.parametrize(
    ("given_", "normal"),
    [
        ("Anna.Smith+News@Example.ORG", "anna.smith+news@example.org"),
        ("a@BÜCHER.example", "a@xn--bcher-kva.example"),
        ("a@xn--bcher-kva.EXAMPLE", "a@xn--bcher-kva.example"),
        ("a@bücher.example.", "a@xn--bcher-kva.example"),
        ("a@straße.example", "a@xn--strae-oqa.example"),
        ("Jörg@example.org", "jörg@example.org"),
        ('"A b@c"@Example.org', '"a b@c"@example.org'),
        ("  a@example.org ", "a@example.org"),
        ("Postmaster", "postmaster"),
        ("a@[192.0.2.1]", "a@[192.0.2.1]"),
        ("a@under_score.ünder", "a@under_score.ünder"),
        ('"Anna"@example.org', "anna@example.org"),
        ('"an\\na"@example.org', "anna@example.org"),
        ("jo\u0308rg@example.org", "j\u00f6rg@example.org"),
        ("JO\u0308RG@example.org", "j\u00f6rg@example.org"),
    ],
)
def test_addresses_are_compared_by_their_normal_form(given_: str, normal: str) -> None:
    """The domain as lower-case A-label, the local part in lower case, composed, without needless quotes."""
    assert normalise(given_) == normal
    assert normalise(normal) == normal


def test_one_mailbox_has_one_key_and_another_has_another() -> None:
    """Spellings of an address share a key of 16 octets; dots, tags, hosts and secrets make other ones."""
    key = address_key(SECRET, "Anna@bücher.example")
    assert key == address_key(SECRET, "ANNA@XN--BCHER-KVA.example.") and len(key) == 16
    others = ("an.na@bücher.example", "anna+x@bücher.example", "anna@bucher.example", "anna", "")
    assert len({key, *(address_key(SECRET, other) for other in others)}) == 1 + len(others)
    assert address_key(b"other" * 8, "anna@bücher.example") != key


@given(ANY)
@example("@ .")
def test_no_text_makes_a_key_fail(text: str) -> None:
    """Reports name anything as a recipient, lone surrogates too: there is a key for all of it."""
    assert len(address_key(SECRET, text)) == 16
    assert normalise(normalise(text)) == normalise(text) or not text.isascii()
    domain_of(text)


@given(ANY | st.text('ab@.!%"\\\\()<>: ', max_size=60))
def test_reading_a_path_never_raises(text: str) -> None:
    """What a client writes as a recipient may be anything; read twice it means what it meant."""
    once = mailbox(text)
    assert normalise(once) is not None and len(once) <= len(text) * 2 + 3


@pytest.mark.parametrize("piece", ['\\"', "(", "(\\(", '"a', "@:", "!"])
def test_a_long_path_costs_little(piece: str) -> None:
    """Whatever stands in it: quotes and comments without an end."""
    for text in (piece * 500, piece * 500_000):
        assert is_within(lambda text=text: mailbox(text), 20)  # type: ignore[misc]


def test_a_long_domain_costs_nothing() -> None:
    """A megabyte where a domain should be is not taken to IDNA."""
    for domain in ("ü" * 1_000_000, "ü." * 500_000):
        assert is_within(lambda domain=domain: address_key(SECRET, f"a@{domain}"), 20)  # type: ignore[misc]


@pytest.mark.parametrize(
    "text",
    ["a@b", "a@example.org", "ü@example.org", "a@bücher.example", '"a b"@example.org', r'"a\"b"@x.org', "a@[::1]"],
)
def test_mailboxes_are_addresses(text: str) -> None:
    """What RFC 5321 and RFC 6531 allow is accepted."""
    assert is_address(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "a", "@", "a@", "@b", "a b@c", "a@b c", "a@b@c", "<a@b>", "a@b>", "a,b@c", "a;b@c", "a:b@c", "a\\b@c",
        "a@b\n", "a\x00@b", "a\x1b@b", "a\x9b@b", "a@b..c", "a@.b", "a@b.", '"@b', '""@b', '"a"b"@c', '"a\\"@c',
        '"a b"@x y', '"a"@<x>', "\ud800@b", "a@\udcff", "a" * 65 + "@b", "ü" * 33 + "@b", "a@" + "b" * 256,
    ],
    ids=ascii,
)  # fmt: skip
def test_what_is_no_mailbox_is_no_address(text: str) -> None:
    """What would break an envelope, a list or a terminal is refused; so is what is too long."""
    assert not is_address(text)


@given(ANY)
def test_judging_an_address_never_raises(text: str) -> None:
    """Whatever a person types gets yes or no."""
    assert is_address(text) in (True, False)
    assert is_domain(text) in (True, False)


@pytest.mark.parametrize(
    ("domain", "good"),
    [
        ("bounces.example.com", True), ("xn--bcher-kva.example", True), ("a.b", True), ("example", False),
        ("", False), ("a..b", False), (".a.b", False), ("a.b.", False), ("-a.b", False), ("a-.b", False),
        ("a b.c", False), ("bücher.example", False), ("A.b", False), ("x" * 64 + ".b", False), ("a.b\n", False),
        (".".join(["a" * 60] * 5), False),
    ],
)  # fmt: skip
def test_domains(domain: str, good: bool) -> None:
    """A bounce domain is a host name of two labels or more."""
    assert is_domain(domain) is good


def test_a_domain_that_has_no_a_label_is_only_put_in_lower_case() -> None:
    """Reports name hosts that never were."""
    assert domain_ascii("ÜN_DER.Example") == "ün_der.example"


def test_what_is_stored_of_an_address_is_clean_and_short(store: Store) -> None:
    """Octets that are no text, control characters and length do not keep a send from being recorded."""
    hostile = ["\udcff@example.org", "a\x1b[31m@example.org", "b" * 400 + "@example.org", "c\x00@example.org"]
    with store.writing() as connection:
        numbers = addresses.ensure(connection, SECRET, hostile)
        again = addresses.ensure(connection, SECRET, hostile[::-1])
        texts = [row.text for row in connection.exec_driver_sql("SELECT text FROM address")]
    assert numbers == again and len(set(numbers.values())) == 4
    assert all(len(text) <= 320 and "\x1b" not in text and "\x00" not in text for text in texts)


def test_more_addresses_than_a_statement_takes(store: Store) -> None:
    """A message to several thousand recipients is recorded, known ones and new ones."""
    many = [f"user{n}@example.org" for n in range(3000)]
    with store.writing() as connection:
        some = addresses.ensure(connection, SECRET, many[::3])
        numbers = addresses.ensure(connection, SECRET, many)
    assert len(set(numbers.values())) == 3000 and some.items() <= numbers.items()


def test_an_erased_address_stays_erased(store: Store) -> None:
    """A row whose text was erased keeps its number and gets no text again."""
    with store.writing() as connection:
        number = addresses.ensure(connection, SECRET, ["a@example.org"])
        connection.exec_driver_sql("UPDATE address SET text = NULL")
        assert addresses.ensure(connection, SECRET, ["A@example.org"]) == {"A@example.org": number["a@example.org"]}
        assert connection.exec_driver_sql("SELECT text FROM address").scalars().all() == [None]


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("b-%@bounces.example.com", "bounces.example.com"),
        ("B-%@Bounces.Example.COM", "bounces.example.com"),
        ("%@b.example", "b.example"),
        ("news-%-x@bücher.example", "xn--bcher-kva.example"),
        ("x" * 34 + "%@b.example", "b.example"),
        ("a" * 20 + "%" + "b" * 14 + "@b.example", "b.example"),
    ],
)
def test_patterns_make_addresses_that_they_match(text: str, domain: str) -> None:
    """What a pattern made is found again, in any case, and its local part has at most 64 octets."""
    pattern = Pattern.parse(text)
    address = pattern.address(TOKEN)
    assert pattern.domain == domain and is_address(address) and len(address.rpartition("@")[0]) <= 64
    for spelling in (address, address.upper(), address + "."):
        found = pattern.match(spelling)
        assert found and found.token.lower() == TOKEN and found.recipient is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("b-%", "not an address"), ("%@", "not an address"), ("@b.example", "not an address"),
        ("b-%-%@b.example", "has 2 % signs"), ("b@%.example", "has 1 % signs"), ("b-%@%.example", "% signs"),
        ("x" * 35 + "%@b.example", "65 octets.*shorten it by 1"),
        ("b é-%@b.example", "ASCII"), ("b\n%@b.example", "ASCII"), ("b<%@b.example", "ASCII"),
        ('"b-%"@b.example', "ASCII"),
        (".b-%@b.example", "ASCII"), ("b,%@b.example", "ASCII"), ("b-%@example", "domain"),
        ("b-%@a..example", "domain"),
        ("b-%@a b.example", "domain"), ("b-%@[192.0.2.1]", "domain"), ("b-%@-a.example", "domain"),
    ],
)  # fmt: skip
def test_patterns_that_could_not_work_are_refused(text: str, words: str) -> None:
    """A pattern must give an envelope sender that every mail server takes; the error says what is wrong."""
    with pytest.raises(ValueError, match=words):
        Pattern.parse(text)


@pytest.mark.parametrize(
    ("behind", "named"),
    [
        ("+user=example.net", "user@example.net"), ("-user=example.net", "user@example.net"),
        ("+a=b=example.net", "a=b@example.net"), ("+ü=example.net", "ü@example.net"),
        ("+user", None), ("x", None), ("=example.net", None), ("user=example.net", None),
    ],
)  # fmt: skip
def test_what_xverp_put_behind_the_token_is_read(behind: str, named: str | None) -> None:
    """The recipient behind + or - is given; with anything else behind the token it is not an address of ours."""
    found = Pattern.parse("b-%@b.example").match(f"b-{TOKEN}{behind}@b.example")
    assert (found.recipient if found else None) == named


@pytest.mark.parametrize("recipient", ['"john doe"@example.net', '"a\\\\\\"b"@example.net', "plain@example.net"])
def test_xverp_of_a_quoted_recipient_is_read(recipient: str) -> None:
    """Mail servers then put the quotes around the whole local part; the recipient is named as recorded."""
    local, _, domain = recipient.rpartition("@")
    inner = local[1:-1] if local.startswith('"') else local
    found = Pattern.parse("b-%@b.example").match(f'"b-{TOKEN}+{inner}={domain}"@b.example')
    assert found and (found.token, found.recipient) == (TOKEN, recipient)


def test_xverp_stands_behind_the_suffix() -> None:
    """Postfix appends to the whole local part that the milter set."""
    found = Pattern.parse("b-%-x@b.example").match(f"b-{TOKEN}-x+user=example.net@b.example")
    assert found and (found.token, found.recipient) == (TOKEN, "user@example.net")


@given(ANY)
def test_matching_never_raises(text: str) -> None:
    """What comes as a recipient over LMTP may be anything."""
    for pattern in (Pattern.parse("b-%@b.example"), Pattern.parse("%-x@b.example")):
        pattern.match(text)
        pattern.match(f"{text}@b.example")
        pattern.match(f"b-{TOKEN}{text}@b.example")


def test_look_alikes_in_prefix_and_suffix_are_not_ours() -> None:
    """The Kelvin sign in lower case is a k, and is none here."""
    pattern = Pattern.parse("k-%-k@b.example")
    assert pattern.match(f"K-{TOKEN}-K@b.example")
    assert pattern.match(f"\u212a-{TOKEN}-k@b.example") is None
    assert pattern.match(f"k-{TOKEN}-\u212a@b.example") is None


STREAMS = [
    {"name": "news", "envelope_from": "b-%@b.example"},
    {"name": "mass", "envelope_from": "b-%-bulk@b.example"},
    {"name": "shop", "envelope_from": "Bounces@bücher.example"},
    {"name": "plain"},
    {"name": "list", "hears_copies": "Copies@b.example"},
]


@pytest.fixture
def router(ring: KeyRing, ring_file: object) -> Router:
    file = keyring.KeyRingFile(ring_file)  # type: ignore[arg-type]
    return Router(Config.model_validate({"stream": STREAMS}), file, lambda: NOW)


def test_addresses_of_ours_are_told_by_the_address_alone(router: Router, ring_file: object) -> None:
    """VERP by its token, static senders in any spelling, postmaster and abuse of bounce domains; nothing else."""
    signer = Signer(keyring.KeyRingFile(ring_file), lambda: NOW)  # type: ignore[arg-type]
    number = token.draw_id(NOW)
    for stream in router.config.stream[:2]:
        address = signer.envelope_sender(stream, number)
        assert router.route(address) == Route("verp", stream.name, number)
        assert router.verp(address.upper()) is not None
    for spelling in ("bounces@bücher.example", "BOUNCES@xn--bcher-kva.example", "bounces@BÜCHER.example."):
        assert router.route(spelling) == Route("static", "shop")
    assert router.route("copies@B.example") == Route("static", "list")
    for role in ("postmaster@b.example", "Abuse@B.example", "ABUSE@b.example."):
        assert router.route(role).kind == "role"
    for foreign in (
        "x@b.example",
        "postmaster@bücher.example",
        "postmaster@example.com",
        "postmaster",
        "",
        "@",
        "b-@b.example",
    ):
        with pytest.raises(UnknownAddress):
            router.route(foreign)


def test_a_domain_with_mailboxes_keeps_its_own_roles(ring: KeyRing, ring_file: object) -> None:
    """A pattern may live in the main domain: what carries a token is ours, postmaster@ is not."""
    file = keyring.KeyRingFile(ring_file)  # type: ignore[arg-type]
    config = Config.model_validate({"stream": STREAMS, "lmtpd": {"mailbox_domains": ["B.example"]}})
    router = Router(config, file, lambda: NOW)
    address = Signer(file, lambda: NOW).envelope_sender(config.stream[0], token.draw_id(NOW))
    assert router.route(address).kind == "verp"
    for role in ("postmaster@b.example", "abuse@b.example"):
        with pytest.raises(UnknownAddress):
            router.route(role)


@given(st.text("\x00\x08\x1b\x7f\x9b\ud800\udfffaü\n\t\r🙂", max_size=50), st.integers(1, 60))
def test_cleaned_text_can_be_stored_and_is_short(text: str, longest: int) -> None:
    """No NUL, no control character but line end and tab, no lone surrogate, not longer than asked."""
    cleaned = clean(text, longest)
    assert len(cleaned) <= longest
    cleaned.encode("utf-8")
    assert not any((ord(c) < 32 and c not in "\n\t") or 0x7F <= ord(c) < 0xA0 for c in cleaned)
    assert clean(cleaned) == cleaned


def test_cleaning_values_leaves_what_is_no_text() -> None:
    """Numbers and nothing stay as they are; a text is cut at 1,000 characters."""
    assert clean_values({"a": "x\x00", "b": 1, "c": None, "d": "y" * 2000}) == {
        "a": "x\ufffd",
        "b": 1,
        "c": None,
        "d": "y" * 1000,
    }
