from ipaddress import IPv6Address, ip_address

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vedette import codes
from vedette.clock import likely_unit, parse_time
from vedette.errors import InputError
from vedette.events import MAX_TIME, MIN_TIME, Country, Currency, Label, Transaction, canonical

PAYMENT = Transaction(
    transaction_id="t", account_id="a", amount=1, currency="EUR", event_time=MIN_TIME, merchant_id="m"
)
LABEL = Label(transaction_id="t", account_id="a", fraud=True, source="s", event_time=MIN_TIME, labelled_at=MIN_TIME)


def test_the_tables_are_complete() -> None:
    """Every currency in circulation and every country is there, with codes of the right form and no number twice."""
    assert len(codes.CURRENCIES) == 165 + 28
    assert len(codes.COUNTRIES) == len(set(codes.COUNTRIES)) == 249 + 1
    assert all(len(code) == 3 and code.isupper() for code in codes.CURRENCIES)
    assert all(len(code) == 2 and code.isupper() for code in codes.COUNTRIES)
    assert {codes.CURRENCIES[code] for code in ("EUR", "HRK")} == {2}
    assert [codes.CURRENCIES[code] for code in ("JPY", "KWD", "CLF", "UYW")] == [0, 3, 4, 4]


@pytest.mark.parametrize(
    ("written", "code"),
    [("EUR", "EUR"), ("eur", "EUR"), (" jpy ", "JPY"), ("392", "JPY"), ("36", "AUD"), ("840.0", "USD"), ("532", "XCG")],
)
def test_currencies_are_read_however_files_write_them(written: str, code: str) -> None:
    """They may be in any case, a numeric code, or a numeric code as a spreadsheet leaves it."""
    assert codes.currency_code(written) == code


@pytest.mark.parametrize(
    ("written", "code"),
    [("KP", "KP"), ("kp", "KP"), ("PRK", "KP"), ("408", "KP"), ("4", "AF"), ("UK", "GB"), ("xk", "XK"), (" fr", "FR")],
)
def test_countries_are_read_however_files_write_them(written: str, code: str) -> None:
    """They may be alpha-2 or alpha-3 in any case, or a numeric code."""
    assert codes.country_code(written) == code


@pytest.mark.parametrize(("written", "code"), [("742", "0742"), ("5411.0", "5411"), ("5411", "5411")])
def test_categories_get_their_zeros_back(written: str, code: str) -> None:
    """A category that was read as a number has lost its leading zeros."""
    assert codes.merchant_category(written) == code


@pytest.mark.parametrize("text", ["", "EU", "EURO", "€", "XAU", "XXX", "999", "3.92", "²"])
def test_what_is_not_a_currency_is_refused(text: str) -> None:
    """Unknown codes, metals and test codes are refused by name."""
    with pytest.raises(InputError, match="not an ISO 4217 currency"):
        codes.currency_code(text)


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (codes.country_code, "ZZ"),
        (codes.country_code, "France"),
        (codes.merchant_category, "54l1"),
        (codes.merchant_category, "54110"),
        (codes.ip_address, "10.0.0.1:443"),
        (codes.ip_address, "010.0.0.1"),
        (codes.ip_address, "fe80::1%eth0"),
        (codes.ip_address, "10.0.0.0/8"),
        (codes.ip_address, "unknown"),
        (codes.ip_address, "1\x002::"),
    ],
)
def test_what_is_not_a_code_is_refused(read: object, text: str) -> None:
    """The error names the value."""
    with pytest.raises(InputError, match="is not an"):
        read(text)  # type: ignore[operator]


@given(st.ip_addresses())
@example(IPv6Address("::ffff:192.0.2.1"))
@example(IPv6Address("2001:db8::"))
def test_every_spelling_of_an_address_is_one(address: object) -> None:
    """Compressed, exploded and in capitals it is the same text, which is the address; IPv4 in IPv6 form is IPv4."""
    parsed = ip_address(str(address))
    spellings = {str(parsed), parsed.exploded, parsed.exploded.upper(), parsed.compressed.upper()}
    (found,) = {codes.ip_address(text) for text in spellings}
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    assert ip_address(found) == (mapped or parsed)
    assert codes.ip_address(found) == found


def test_events_take_one_spelling_only() -> None:
    """What the tables contain is decoded, and nothing else is."""
    for kind, known in ((Currency, codes.CURRENCIES), (Country, codes.COUNTRIES)):
        for code in known:
            assert msgspec.convert(code, kind) == code
            with pytest.raises(msgspec.ValidationError):
                msgspec.convert(code.lower(), kind)


@pytest.mark.parametrize("event", [PAYMENT, LABEL])
def test_an_event_is_brought_to_canonical_form_or_refused(event: Transaction | Label) -> None:
    """The address is rewritten; an id with surrounding spaces would be another id."""
    assert canonical(event) is event
    assert canonical(msgspec.structs.replace(event, ip_address="2001:DB8::1")).ip_address == "2001:db8::1"
    with pytest.raises(InputError, match=r"`ip_address` '1\.2\.3' is not"):
        canonical(msgspec.structs.replace(event, ip_address="1.2.3"))
    for space in (" ", "\t", "\n", "\u00a0"):
        with pytest.raises(InputError, match="`account_id`"):
            canonical(msgspec.structs.replace(event, account_id=f"a{space}"))


@given(st.integers(MIN_TIME, MAX_TIME))
def test_a_time_in_another_unit_is_recognised(time: int) -> None:
    """No moment within the bounds can be mistaken for another one, whatever its unit."""
    for value, unit in (
        (time // 1000, "seconds"),
        (time * 1000, "microseconds"),
        (time * 1_000_000, "nanoseconds"),
    ):
        assert not MIN_TIME <= value <= MAX_TIME
        assert likely_unit(value, MIN_TIME, MAX_TIME) in ({unit} if value >= MIN_TIME // 1000 + 1 else {unit, ""})


def test_the_bounds_of_time_are_what_they_are_said_to_be() -> None:
    """They are 1980 and 2100."""
    assert (parse_time("1980-01-01"), parse_time("2100-01-01")) == (MIN_TIME, MAX_TIME)
