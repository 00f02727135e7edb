"""Card numbers in identifiers."""

import random
import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streams.card_kernel import has_card_number as compiled
from vedette.card_numbers import (
    LENGTHS,
    CardNumbers,
    CardTokens,
    find_card_numbers,
    has_card_number,
    holds_card_number,
    is_card_number,
    masked,
    masked_bytes,
)
from vedette.errors import CardNumberError, SettingsError
from vedette.events import Label, Transaction
from vedette.settings_base import Secret
from vedette.settings_cards import CardSettings

KEY = Secret(text="a key of thirty-two characters ..")
# Numbers that networks and processors publish for tests.
CARDS = {
    "Visa": "4111111111111111", "Mastercard": "5555555555554444", "Mastercard, new": "2223003122003222",
    "American Express": "378282246310005", "Discover": "6011111111111117", "Diners Club": "30569309025904",
    "Diners Club, 36": "36227206271667", "JCB": "3530111333300000", "UnionPay": "6205500000000000004",
    "Maestro": "6759649826438453",
}  # fmt: skip
ELSE = {
    "a phone number": "4915123456789", "time in milliseconds": "1764547200000",
    "time in microseconds": "1764547200000000",
    "time in nanoseconds": "1764547200000000000", "IBAN": "DE89370400440532013000", "IMEI": "356938035643809",
    "EAN": "4006381333931", "UUID": "4a111111-1111-4111-8111-111111111111", "hash": "4111111111111111abcdef",
    "wrong check digit": "4111111111111112", "Visa of 15 digits": "411111111111116", "longer": "41111111111111110000",
    "within": "X4111111111111111", "simulated": "customer-4111111", "order": "4111-20261201-1111",
}  # fmt: skip
WRITTEN = ("{}", "pan {}", "card-{}", "{}=25121011000012300000", "PAN:{};", "{}.0", "{}/1")


def payment(**fields: object) -> Transaction:
    """Return a payment with these fields."""
    given = {
        "transaction_id": "t-1", "account_id": "a-1", "amount": 100, "currency": "EUR", "event_time": 1764547200000,
        "merchant_id": "m-1",
    }  # fmt: skip
    return Transaction(**{**given, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize("number", CARDS.values(), ids=CARDS)
@pytest.mark.parametrize("written", WRITTEN)
def test_card_numbers_are_found_in_any_identifier(number: str, written: str) -> None:
    """Those of every network are found alone and beside other text, and a message shows ten of their digits."""
    text = written.format(number)
    assert [place.digits for place in find_card_numbers(text)] == [number]
    assert masked(text) == text.replace(number, number[:6] + "*" * (len(number) - 10) + number[-4:])


@pytest.mark.parametrize("text", ELSE.values(), ids=ELSE)
def test_other_identifiers_are_not_card_numbers(text: str) -> None:
    """Phone numbers, times, device numbers, account numbers, hashes and the like are left alone."""
    assert not has_card_number(text)
    assert masked(text) == text


@pytest.mark.parametrize(
    "text", ["4111 1111 1111 1111", "3782-822463-10005", "4111111111111111", "x 4111-1111-1111-1111 y"]
)
def test_groups_and_other_digits(text: str) -> None:
    """Card numbers are found in the groups that cards print, in the digits of every script, and in UTF-16."""
    wide = "".join(chr(ord(letter) + 0xFEE0) if letter.isdigit() else letter for letter in text)
    assert has_card_number(text)
    assert has_card_number(wide)
    assert holds_card_number(text.encode("utf-16"))
    assert not holds_card_number(masked_bytes(text.encode("utf-16")))


def test_few_ordinary_numbers_look_like_cards() -> None:
    """Of random numbers of 16 digits fewer than 4 of 100 are taken for cards, of 13 or fewer digits none."""
    draw = random.Random(1)  # noqa: S311, no secret
    found = sum(is_card_number(f"{draw.randrange(10**16):016}") for _ in range(50_000)) / 50_000
    assert 0.02 < found < 0.04
    assert not any(is_card_number(f"{draw.randrange(10**13)}") for _ in range(10_000))


@given(
    st.from_regex(
        r"[0-9A-Za-z _\-:]{0,8}[3-6][0-9]{3}[ \-]?[0-9]{4,6}[ \-]?[0-9]{4,5}[ \-]?[0-9]{0,7}[ \-a]?[0-9]{0,4}",
        fullmatch=True,
    )
)
@example("4929-4111-1111-1111-1111")
@example("4111-1111-1111-1111-110")
@example("4111-1111-1111-1111-123a")
@example("4111 1111 1111-1111")
@example("4111_4111111111111111")
def test_the_kernel_finds_the_same(text: str) -> None:
    """Compiled code and the definition agree on every ASCII text, also with the right check digit at its end."""
    digits = re.sub(r"\D", "", text)
    ends = [text, *(text.rstrip() + str(check) for check in range(10) if digits)]
    for one in ends:
        data = np.frombuffer(b"9" + one.encode() + b"9", np.uint8)
        found = compiled(data, 1, len(data) - 1, np.frombuffer(LENGTHS, np.uint8))
        assert found == has_card_number(one), one


def test_tokens() -> None:
    """A token shows ten digits, depends on key and number alone, is no card number, and fits into an identifier."""
    tokens, other = CardTokens(KEY), CardTokens(Secret(text=KEY.value[::-1]))
    number = CARDS["Visa"]
    token = tokens.account_of(number)
    assert re.fullmatch(r"card-411111-[0-9a-f]{32}-1111", token)
    assert token == tokens.replaced(number) == tokens.replaced("4111 1111 1111 1111") != other.account_of(number)
    assert tokens.replaced(token) == token
    assert tokens.replaced(f"pan:{number}") == f"pan:{token}"
    long = [tokens.replaced(f"{'x' * 40}-{number}-{end}") for end in "ab"]
    assert len({*long, token}) == 3
    assert all(len(text) <= 64 and not has_card_number(text) for text in long)
    with pytest.raises(SettingsError, match="card numbers has 5 characters"):
        CardTokens(Secret(text="short"))
    with pytest.raises(SettingsError, match="card numbers has 0 characters"):
        CardNumbers(CardSettings(numbers="tokenise"))


@pytest.mark.parametrize(
    "name", ["transaction_id", "account_id", "merchant_id", "payee", "device_id", "account_type", "original_id"]
)
def test_every_identifier_is_looked_at(name: str) -> None:
    """A card number in any identifier is refused without being repeated, becomes a token, or is accepted, as is set."""
    event = payment(**{name: CARDS["Visa"]})
    with pytest.raises(CardNumberError, match=f"^`{name}` is a card number") as refused:
        CardNumbers(CardSettings()).admit(event)
    assert "1111" not in str(refused.value)
    tokens = CardNumbers(CardSettings(numbers="tokenise", key=KEY))
    assert getattr(tokens.admit(event), name) == CardTokens(KEY).account_of(CARDS["Visa"])
    assert CardNumbers(CardSettings(numbers="accept")).admit(event) is event


def test_vendor_features_and_labels() -> None:
    """A vendor feature that is a card number is refused, by name or value; labels are looked at like payments."""
    tokens = CardNumbers(CardSettings(numbers="tokenise", key=KEY))
    for extra in ({"pan": 4111111111111111.0}, {"4111111111111111": 1.0}):
        with pytest.raises(CardNumberError, match=r"`extra\."):
            tokens.admit(payment(extra=extra))
    ordinary = payment(extra={"score": 0.5, "micros": 1764547200000000.0})
    assert tokens.admit(ordinary) is ordinary
    label = Label(
        transaction_id="t-1", account_id=CARDS["JCB"], fraud=True, source=CARDS["Visa"], event_time=1764547200000,
        labelled_at=1764547200000,
    )  # fmt: skip
    assert not has_card_number(str(tokens.admit(label)))
