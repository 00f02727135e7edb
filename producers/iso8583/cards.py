"""Account ids from card numbers: a token under a key, and the last four digits."""

from hashlib import blake2b

from vedette.errors import SettingsError
from vedette.settings_base import Secret

_LEAST_KEY = 32
_LAST = 4


class CardTokens:
    """Makes account ids of card numbers.

    Card numbers are few: without the key, all of them could be tried. So a token is as secret as its key, and another
    key gives other accounts.

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
                remedy="`vedette identity keygen` makes one; docs/iso8583.md says where it belongs",
            )
        self._key = blake2b(text.encode(), person=b"vedette-cards").digest()

    def account_of(self, number: str) -> str:
        """Return the account id of a card number."""
        token = blake2b(number.encode(), key=self._key, digest_size=16).hexdigest()
        return f"card-{token}-{number[-_LAST:]}"
