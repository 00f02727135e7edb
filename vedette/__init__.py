"""The shared vocabulary: events, money, time, topics, settings, errors.

Every other package uses it; it imports only the standard library and msgspec.
"""

from vedette.clock import Clock, SystemClock
from vedette.errors import VedetteError
from vedette.events import Alert, Challenge, Decision, Label, Transaction
from vedette.settings import Settings
from vedette.settings_file import load_settings

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
