"""Where metrics and health are served."""

import pytest

from streams.http import Endpoint
from streams.metrics import Metrics
from vedette.errors import SettingsError


def test_taken_port_is_named() -> None:
    """Who starts a second worker on a machine is told which setting to change."""
    first = Endpoint(Metrics(), "127.0.0.1", 0)
    try:
        port = int(first.url.rpartition(":")[2])
        with pytest.raises(SettingsError, match=rf"127\.0\.0\.1:{port}: Address already in use.*metrics_port"):
            Endpoint(Metrics(), "127.0.0.1", port)
    finally:
        first.close()
