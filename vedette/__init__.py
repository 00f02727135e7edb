"""The shared vocabulary: events, money, time, topics, settings, errors.

Every other room speaks these words; this one imports nothing but the standard library and msgspec.
"""

from vedette.clock import Clock, SystemClock
from vedette.errors import VedetteError
from vedette.events import Alert, Challenge, Decision, Label, Transaction
from vedette.settings import Settings, load_settings

__version__ = "0.1.0"

__all__ = [
    "Alert",
    "Challenge",
    "Clock",
    "Decision",
    "Label",
    "Settings",
    "SystemClock",
    "Transaction",
    "VedetteError",
    "__version__",
    "load_settings",
]
