"""The hierarchy of errors. A message names the thing, the value and the remedy."""


class VedetteError(Exception):
    """Base of every error that Vedette raises on purpose.

    Args:
        message: Description of the problem, naming the thing and the value.
        remedy: Suggested action; printed on a separate line.

    Attributes:
        place: Line and column in the file that the message names, each from 1, where they are known.
    """

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy
        self.place: tuple[int, int] | None = None

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message} — {self.remedy}" if self.remedy else message


class SettingsError(VedetteError):
    """A setting is missing, misspelt or has an impossible value."""


class InputError(VedetteError):
    """A file, row or message from outside is not valid."""


class CardNumberError(InputError):
    """An identifier is a card number, which is refused; the message does not repeat it."""


class UnavailableError(VedetteError):
    """A part Vedette depends on (broker, Redis, mail server …) does not answer."""


class DeliveryError(UnavailableError):
    """The broker did not acknowledge a message, so the batch it belongs to must be repeated."""


class RefusedError(VedetteError):
    """The broker permanently refuses a message: it is too large, forbidden, or its topic does not exist."""


class ModelError(VedetteError):
    """A model folder is missing, corrupt, or was trained on other features."""


class PolicyError(VedetteError):
    """A policy file is not valid; the message names the line or rule."""


class StateError(VedetteError):
    """Stored feature state cannot be read (corrupt, or of a newer version)."""


class FencedError(VedetteError):
    """Another worker has acquired this partition, so this one may no longer write to it."""
