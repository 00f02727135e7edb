"""One error tree. A message names the thing, the value and the remedy."""


class VedetteError(Exception):
    """Base of every error that Vedette raises on purpose.

    Args:
        message: What is wrong, naming the thing and the value.
        remedy: What the reader can do about it; printed on a line of its own.
    """

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message} — {self.remedy}" if self.remedy else message


class SettingsError(VedetteError):
    """A setting is missing, misspelt or has an impossible value."""


class InputError(VedetteError):
    """A file, row or message from outside does not have the form it must have."""


class UnavailableError(VedetteError):
    """A part Vedette depends on (broker, Redis, mail server …) does not answer."""


class DeliveryError(UnavailableError):
    """The broker did not acknowledge a message, so the batch it belongs to must be repeated."""


class ModelError(VedetteError):
    """A model folder is missing, corrupt, or was trained on other features."""


class PolicyError(VedetteError):
    """A policy file is not valid; the message names the line or rule."""


class StateError(VedetteError):
    """Stored feature state cannot be read (corrupt, or of a newer version)."""


class FencedError(VedetteError):
    """Another worker has taken over this partition, so nothing may be written to it any more."""
