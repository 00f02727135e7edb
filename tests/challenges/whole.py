"""The whole service as it is wired, with a credential of every role; a separate module so that tests can share it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from access.audit import open_audit
from access.keyring import new_key
from access.roles import Role
from challenges.bootstrap import ChallengeService, wire
from stack.sms import SmsSink
from tests.challenges.conftest import Dial
from vedette.settings import (
    AuditSettings,
    DatabaseSettings,
    MfaSettings,
    RedisSettings,
    Settings,
    TwilioSettings,
)
from vedette.settings_base import Secret


@dataclass(frozen=True)
class Whole:
    """The service, its clock, and an API key of every role."""

    wired: ChallengeService
    clock: Dial
    api_keys: dict[str, str]

    @property
    def app(self) -> FastAPI:
        """Return its web app."""
        return self.wired.app

    def routes(self) -> set[str]:
        """Every route, as method and path."""
        return {
            f"{method} {route.path}"
            for route in iter_route_contexts(self.app.routes)
            for method in (route.methods or set()) - {"HEAD"}
        }


@contextmanager
def whole_service(
    redis_url: str, directory: Path, prefix: str, public_url: str, sms: SmsSink | None = None, clock: Dial | None = None
) -> Iterator[Whole]:
    """The whole service with a separate Redis and files, with SMS if there is a server for them."""
    clock = clock or Dial()
    twilio = (
        TwilioSettings(account_sid=sms.account_sid, auth_token=Secret(sms.auth_token), base_url=sms.url)
        if sms
        else None
    )
    sender = {"sms_from": "+14155550100", "sms_prefixes": ["+34"], "release": ["EUR 30.00"]} if sms else {}
    settings = Settings(
        redis=RedisSettings(url=redis_url, prefix=prefix),
        database=DatabaseSettings(url=f"sqlite:///{directory / 'alerts.sqlite'}"),
        audit=AuditSettings(path=str(directory / "audit.jsonl"), key=Secret("k" * 32)),
        mfa=MfaSettings(keys=Secret(new_key("k1", os.urandom)), public_url=public_url, **sender),  # type: ignore[arg-type]
        twilio=twilio or TwilioSettings(),
    )
    with (
        open_audit(settings.audit, clock, "mfa") as audit,
        wire(settings, clock=clock, entropy=os.urandom, audit=audit, log=structlog.get_logger()) as wired,
    ):
        keys = {str(role): wired.credentials.create(str(role), role).api_key for role in Role}
        yield Whole(wired, clock, keys)
