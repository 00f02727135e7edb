"""The whole service as it is wired, with a credential of every role; a module of its own so that tests may share it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from alerts.access import Role
from alerts.audit import open_audit
from alerts.mfa.bootstrap import Wired, wire
from alerts.mfa.keyring import new_key
from tests.mfa.conftest import Dial
from vedette.settings import AuditSettings, IncidentSettings, MfaSettings, RedisSettings, Secret, Settings


@dataclass(frozen=True)
class Whole:
    """The service, its clock, and an API key of every role."""

    wired: Wired
    clock: Dial
    api_keys: dict[str, str]

    @property
    def app(self) -> FastAPI:
        """Its web app."""
        return self.wired.app

    def routes(self) -> set[str]:
        """Every route, as method and path."""
        return {
            f"{method} {route.path}"
            for route in iter_route_contexts(self.app.routes)
            for method in (route.methods or set()) - {"HEAD"}
        }


@contextmanager
def whole_service(redis_url: str, directory: Path, prefix: str, public_url: str) -> Iterator[Whole]:
    """The service over a Redis and files of its own."""
    clock = Dial()
    settings = Settings(
        redis=RedisSettings(url=redis_url, prefix=prefix),
        incidents=IncidentSettings(database=f"sqlite:///{directory / 'alerts.sqlite'}"),
        audit=AuditSettings(path=str(directory / "audit.jsonl"), key=Secret("k" * 32)),
        mfa=MfaSettings(keys=Secret(new_key("k1", os.urandom)), public_url=public_url),
    )
    with (
        open_audit(settings.audit, clock, "mfa") as audit,
        wire(settings, clock=clock, entropy=os.urandom, audit=audit, log=structlog.get_logger()) as wired,
    ):
        keys = {str(role): wired.credentials.create(str(role), role).api_key for role in Role}
        yield Whole(wired, clock, keys)
