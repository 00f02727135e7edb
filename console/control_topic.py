"""What is in force, read from the control topic, for pages: kept for a few seconds, as is its absence."""

import time
from threading import Lock

from streams.control_publisher import publish
from streams.history.control_state import ControlState, read_control
from vedette.control import ControlRecord
from vedette.errors import InputError, UnavailableError
from vedette.settings import Settings

_TIMEOUT_S = 2.0
_FRESH_S = 5.0


class ControlTopic:
    """The control topic, for many readers.

    Args:
        settings: Settings of the broker.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings, self._lock = settings, Lock()
        self._read_at = -_FRESH_S
        self._state: ControlState | InputError | UnavailableError = ControlState()

    def state(self, *, fresh: bool = False) -> ControlState:
        """Return what is in force.

        Args:
            fresh: Whether what was read a few seconds ago is not enough.

        Raises:
            UnavailableError: The broker or the topic is not available.
            InputError: A record in force cannot be read.
        """
        with self._lock:
            if fresh or time.monotonic() - self._read_at >= _FRESH_S:
                try:
                    self._state = read_control(self._settings, _TIMEOUT_S)
                except (InputError, UnavailableError) as error:
                    self._state = error
                self._read_at = time.monotonic()
            if isinstance(self._state, ControlState):
                return self._state
            raise self._state.with_traceback(None)

    def publish(self, record: ControlRecord) -> None:
        """Publish a record that is in force from now on.

        Raises:
            DeliveryError: The broker did not acknowledge it.
        """
        publish(self._settings, record)
        self.forget()

    def forget(self) -> None:
        """Read the topic again when it is asked for next, as something has been published."""
        with self._lock:
            self._read_at = -_FRESH_S
