"""Card numbers (ISO/IEC 7812) in identifiers: found, masked, refused, or replaced by tokens.

A card number is 14 to 19 digits, in one piece or in the groups that cards print, that begin with the range of an
issuer, have a length of its cards, and end with the right check digit (Luhn). Letters or digits beside it make it
something else. What is not covered, and why, is in docs/decisions/0024-card-numbers-at-the-door.md.
"""

import re
from collections.abc import Iterator
from hashlib import blake2b
from typing import NamedTuple, TypeVar

import msgspec

from vedette.errors import CardNumberError, SettingsError
from vedette.events import EXACT_FIELDS, LONGEST_ID, Event, Transaction
from vedette.settings_base import Secret
from vedette.settings_cards import CardSettings

SHORTEST = 14
LONGEST = 19
_SIXTEEN, _SIXTEEN_OR_MORE = (16,), (16, 17, 18, 19)
_RANGES: tuple[tuple[int, int, tuple[int, ...]], ...] = (
    (2200, 2204, _SIXTEEN_OR_MORE),  # Mir
    (2221, 2720, _SIXTEEN),  # Mastercard
    (3000, 3059, (14, 16, 19)), (3095, 3095, (14, 16, 19)), (3600, 3699, (14, 16, 19)), (3800, 3999, (14, 16, 19)),
    (3400, 3499, (15,)), (3700, 3799, (15,)),  # American Express; the line above: Diners Club
    (3528, 3589, _SIXTEEN_OR_MORE),  # JCB
    (4000, 4999, (16, 19)),  # Visa; its numbers of 13 digits are no longer issued
    (5018, 5020, _SIXTEEN_OR_MORE), (5038, 5038, _SIXTEEN_OR_MORE), (5893, 5893, _SIXTEEN_OR_MORE),  # Maestro
    (5060, 5061, (16, 18, 19)), (5078, 5079, (16, 18, 19)),  # Verve
    (5066, 5067, _SIXTEEN), (5090, 5090, _SIXTEEN), (6362, 6363, _SIXTEEN),  # Elo
    (5080, 5089, _SIXTEEN), (6000, 6099, _SIXTEEN), (8200, 8299, _SIXTEEN),  # RuPay, Hipercard
    (5100, 5599, _SIXTEEN),  # Mastercard
    (6011, 6011, _SIXTEEN_OR_MORE), (6440, 6599, _SIXTEEN_OR_MORE),  # Discover
    (6200, 6299, _SIXTEEN_OR_MORE), (8100, 8199, _SIXTEEN_OR_MORE),  # UnionPay
    (6304, 6304, _SIXTEEN_OR_MORE), (6759, 6759, _SIXTEEN_OR_MORE), (6761, 6763, _SIXTEEN_OR_MORE),  # Maestro
    (8600, 8600, _SIXTEEN), (9792, 9792, _SIXTEEN), (9860, 9860, _SIXTEEN),  # Uzcard, Troy, Humo
)  # fmt: skip
"""First and last four digits of the ranges that the card networks publish, and the lengths of their numbers."""


def _lengths() -> bytes:
    table = bytearray(10_000)
    for first, last, lengths in _RANGES:
        for prefix in range(first, last + 1):
            for length in lengths:
                table[prefix] |= 1 << (length - SHORTEST)
    return bytes(table)


LENGTHS = _lengths()
"""For each first four digits, bit n is set if an issuer has numbers of SHORTEST + n digits that begin so."""

_CANDIDATE = re.compile(
    r"(?<![^\W_])(?:"
    r"\d{4}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{3}(?![^\W_]))?"
    r"|\d{4}([ -])\d{6}\2\d{4,5}"
    r"|\d{14,19}"
    r")(?![^\W_])"
)
_ESCAPED = re.compile(r"\\u(00[0-7][0-9a-fA-F])")
_DIGITS = re.compile(r"\d+")
_NOT_DIGITS = re.compile(r"\D")
_FIRST, _LAST = 6, 4
_LEAST_KEY = 32


class Place(NamedTuple):
    """Where a card number is in a text, and its digits."""

    start: int
    end: int
    digits: str


def find_card_numbers(text: str) -> Iterator[Place]:
    """Yield the card numbers in a text, from left to right."""
    at = 0
    while found := _CANDIDATE.search(text, at):
        digits = "".join(str(int(digit)) for digit in _NOT_DIGITS.sub("", found[0]))
        if is_card_number(digits):
            yield Place(found.start(), found.end(), digits)
            at = found.end()
        else:
            run = _DIGITS.match(text, found.start())
            at = run.end() if run else found.end()


def has_card_number(text: str) -> bool:
    """Return whether there is a card number in a text."""
    return len(text) >= SHORTEST and next(find_card_numbers(text), None) is not None


def is_card_number(digits: str) -> bool:
    """Return whether ASCII digits are a card number: by the issuer's range, the length and the check digit."""
    length = len(digits)
    if not SHORTEST <= length <= LONGEST or not LENGTHS[int(digits[:4])] >> (length - SHORTEST) & 1:
        return False
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(doubled) + sum(map(int, digits[-1::-2]))) % 10 == 0


def masked(text: str) -> str:
    """Return a text whose card numbers are cut to their first six and last four digits, for messages and logs."""
    if len(text) < SHORTEST:
        return text
    parts, at = [], 0
    for place in find_card_numbers(text):
        hidden = "*" * (len(place.digits) - _FIRST - _LAST)
        parts += [text[at : place.start], place.digits[:_FIRST], hidden, place.digits[-_LAST:]]
        at = place.end
    return "".join([*parts, text[at:]]) if parts else text


def masked_bytes(content: bytes) -> bytes:
    """Return bytes of any kind, or if they hold a card number their plain text with it masked."""
    plain = _plain(content)
    return masked(plain).encode(errors="surrogateescape") if has_card_number(plain) else content


def holds_card_number(content: bytes | None) -> bool:
    """Return whether there is a card number in bytes of any kind: UTF-8, UTF-16, with JSON's escapes, or neither."""
    return content is not None and has_card_number(_plain(content))


def _plain(content: bytes) -> str:
    text = content.decode(errors="surrogateescape").replace("\0", "")
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text) if "\\u00" in text else text


class CardTokens:
    """Makes tokens of card numbers.

    Card numbers are few: without the key, all of them could be tried. So a token is as secret as its key, and another
    key gives other tokens.

    Args:
        key: The key; 32 characters or more.

    Raises:
        SettingsError: The key is missing or too short.
    """

    def __init__(self, key: Secret | None) -> None:
        text = key.value if key is not None else ""
        if len(text) < _LEAST_KEY:
            raise SettingsError(
                f"the key of card numbers has {len(text)} characters instead of {_LEAST_KEY} or more",
                remedy="`vedette identity keygen` makes one; name its file in [cards] key_file",
            )
        self._key = blake2b(text.encode(), person=b"vedette-cards").digest()

    def account_of(self, number: str) -> str:
        """Return the token of a card number: its first six digits, 128 bits under the key, its last four digits."""
        return f"card-{number[:_FIRST]}-{self._keyed(number)}-{number[-_LAST:]}"

    def replaced(self, text: str) -> str:
        """Return an identifier with tokens instead of its card numbers, at most LONGEST_ID characters."""
        parts, at, number = [], 0, ""
        for place in find_card_numbers(text):
            number = place.digits
            parts += [text[at : place.start], self.account_of(number)]
            at = place.end
        result = "".join([*parts, text[at:]])
        if number and len(result) > LONGEST_ID:  # what is beside the number tells identifiers apart, too
            return f"card-{number[:_FIRST]}-{self._keyed(text)}-{number[-_LAST:]}"
        return result

    def _keyed(self, text: str) -> str:
        return blake2b(text.encode(errors="surrogatepass"), key=self._key, digest_size=16).hexdigest()


_EventT = TypeVar("_EventT", bound=Event)
_TEXTS = (*EXACT_FIELDS, "source")


class CardNumbers:
    """What happens to identifiers that are card numbers: the same at every door.

    Args:
        settings: Says it: they are refused, become tokens, or are accepted as they are.

    Raises:
        SettingsError: Tokens have no key, or one that is too short.
    """

    def __init__(self, settings: CardSettings) -> None:
        self.looks = settings.numbers != "accept"
        """Whether identifiers are looked at."""
        self._tokens = CardTokens(settings.key) if settings.numbers == "tokenise" else None

    def identifier(self, name: str, text: str) -> str:
        """Return an identifier without card numbers.

        Args:
            name: Its name, for the error.
            text: The identifier.

        Raises:
            CardNumberError: It has one, which is refused; the message does not repeat it.
        """
        if not self.looks or not has_card_number(text):
            return text
        if self._tokens is None:
            raise refused(name)
        return self._tokens.replaced(text)

    def admit(self, event: _EventT) -> _EventT:
        """Return an event without card numbers in its identifiers and vendor features.

        Raises:
            CardNumberError: It has one, which is refused; a number among the vendor features always is.
        """
        if not self.looks:
            return event
        changed: dict[str, str] = {}
        for name in _TEXTS:
            text: str | None = getattr(event, name, None)
            if text is not None and len(text) >= SHORTEST and has_card_number(text):
                changed[name] = self.identifier(name, text)
        if isinstance(event, Transaction):
            self.check_extra(event.extra)
        return msgspec.structs.replace(event, **changed) if changed else event

    def check_extra(self, extra: dict[str, float]) -> None:
        """Check names and values of vendor features.

        Raises:
            CardNumberError: One is a card number, which cannot be a token there.
        """
        for name, value in extra.items():
            if self.looks and (has_card_number(name) or is_card_value(value)):
                raise refused(f"extra.{masked(name)}")


def is_card_value(value: float) -> bool:
    """Return whether a number is a card number."""
    return 1e13 <= value < 1e19 and value.is_integer() and is_card_number(str(int(value)))


def refused(name: str) -> CardNumberError:
    """Return the error of an identifier that is a card number."""
    return CardNumberError(
        f"`{name}` is a card number, which is not accepted here",
        remedy='send a token in its place, or set [cards] numbers = "tokenise" with a key; docs/security.md says more',
    )


REFUSE = CardNumbers(CardSettings())
"""As without any setting."""
ACCEPT = CardNumbers(CardSettings(numbers="accept"))
