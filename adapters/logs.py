"""Logs of every long-running process: one JSON object per line on standard error, or readable text on a terminal.

Each line has `event`, `level`, `logger` and `timestamp`; records of the standard library get the same fields. Card
numbers, which should not get here, are cut to their first six and last four digits.
"""

import logging
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import structlog

from vedette.card_numbers import masked


def configure_logs(level: int = logging.INFO) -> None:
    """Send the records of structlog and of the standard library the same way.

    Args:
        level: The lowest level of Vedette's own records; other libraries report warnings and errors.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    terminal = sys.stderr.isatty()
    formatter = structlog.stdlib.ProcessorFormatter(
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer(_json),
        ],
        foreign_pre_chain=shared,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("vedette").setLevel(level)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def service_log(name: str) -> Any:
    """Configure logs and return the structlog logger `vedette.<name>` of a service."""
    configure_logs()
    return structlog.get_logger(f"vedette.{name}")


def _json(line: Any, default: Callable[[Any], Any]) -> str:
    return masked(msgspec.json.encode(line, enc_hook=default).decode())
