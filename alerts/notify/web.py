"""The notifier's web app: the page that acknowledges an incident, Twilio's replies, and its delivery receipts.

GET changes nothing. Posts from Twilio are accepted only with its signature, and count once.
"""

import json
from html import escape
from random import Random, SystemRandom
from typing import Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from access.audit import Audit, open_audit
from adapters import http_server
from adapters.database import insert_new, open_database
from adapters.http_app import protected_app
from adapters.http_server import Readiness
from adapters.logs import service_log
from alerts.incidents.actions import Actions
from alerts.incidents.routing import Routing
from alerts.notify import failures, receipts
from alerts.notify.bootstrap import read_checked_routing
from alerts.notify.channel_worker import log_undelivered
from alerts.notify.channels import open_linker
from alerts.notify.links import Linker
from alerts.notify.rendering import Renderer
from alerts.notify.replies import ReplyHandler
from alerts.tables import receipts as receipt_table
from vedette.clock import Clock, SystemClock
from vedette.errors import InputError, SettingsError, StateError
from vedette.settings import Settings
from vedette.settings_base import Secret

# The page's style is in its template, which may be replaced; it has no script and loads nothing.
_CONTENT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_NO_ANSWER = "<Response/>"


class NotifierPages:
    """The operations behind the routes, independent of HTTP.

    Args:
        engine: The database.
        renderer: Renders the page.
        linker: Verifies links.
        replies: Performs the actions of replies.
        public_url: The address at which browsers and Twilio reach the app.
        twilio_token: The key of Twilio's signatures; None: posts from Twilio are refused.
        clock: Clock for records.
        log: A structlog logger.
    """

    def __init__(
        self, engine: Engine, renderer: Renderer, linker: Linker, replies: ReplyHandler, *, public_url: str,
        twilio_token: Secret | None, clock: Clock, log: Any,
    ) -> None:  # fmt: skip
        self._engine = engine
        self._renderer = renderer
        self._linker = linker
        self._replies = replies
        self._clock = clock
        self._log = log
        self.public_url = public_url.rstrip("/")
        self._validator = RequestValidator(twilio_token.value) if twilio_token else None

    @property
    def routing(self) -> Routing:
        """The routing."""
        return self._replies.routing

    def signed(self, path: str, query: str, body: bytes, media_type: str, signature: str) -> dict[str, str] | None:
        """Return the fields of a post of Twilio's, or None if the signature does not fit the address and the fields.

        A JSON body is not part of what is signed: it must be named there by its `bodySHA256`.
        """
        if self._validator is None or not signature:
            return None
        url = f"{self.public_url}{path}{'?' if query else ''}{query}"
        text = body.decode("utf-8", "replace")
        if media_type.partition(";")[0].strip() == "application/json":
            has_hash = any(name == "bodySHA256" for name, _ in parse_qsl(query))
            if not has_hash or not self._validator.validate(url, text, signature):
                return None
            try:
                found = json.loads(text)
            except (ValueError, RecursionError):
                return None
            return {_clean(str(k)): _clean(str(v)) for k, v in found.items()} if isinstance(found, dict) else None
        form = dict(parse_qsl(text, keep_blank_values=True))
        if not self._validator.validate(url, form, signature):
            return None
        return {_clean(name): _clean(value) for name, value in form.items()}

    def reply(self, form: dict[str, str]) -> str:
        """Perform the action of an incoming message; return the answer as TwiML. A second delivery does nothing."""
        sid, now = form.get("MessageSid", ""), self._clock.now_ms()
        with self._engine.begin() as connection:
            row = {"sid": sid[:64], "status": "received", "received_at": now}
            if not sid or not insert_new(connection, receipt_table, [row]):
                return _NO_ANSWER
            answer = self._replies.apply(connection, form.get("From", ""), form.get("Body", ""), now)
        return f"<Response><Message>{escape(answer)}</Message></Response>" if answer else _NO_ANSWER

    def receipt(self, form: dict[str, str]) -> None:
        """Record the delivery status of a message; an undelivered one has failed, and its incident escalates."""
        sid, status = form.get("MessageSid", "")[:64], form.get("MessageStatus", "")[:32]
        with self._engine.begin() as connection:
            undelivered = receipts.record(connection, sid, status, form.get("ErrorCode", ""), self._clock.now_ms())
        for row, code in undelivered:
            log_undelivered(self._log, row, code)

    def page(self, token: str) -> tuple[int, str]:
        """Return status and page of a link; nothing changes."""
        with self._engine.connect().execution_options(reads=True) as connection:
            found = self._linker.read(connection, token, self._clock.now_ms())
        if found is None or found[1] not in self.routing.recipients:
            return self._dead_link()
        number, name = found
        return 200, self._renderer.page(self._language(name), str(number), "ask_take", ask=True)

    def take(self, token: str) -> tuple[int, str]:
        """Use a link: its incident is acknowledged by the recipient to whom it was sent."""
        now = self._clock.now_ms()
        if not self._linker.signed(token):  # before a transaction that writes: others would wait for it
            return self._dead_link()
        with self._engine.begin() as connection:
            found = self._linker.use(connection, token, now)
            if found is None or found[1] not in self.routing.recipients:  # who was removed acts no more
                return self._dead_link()
            number, name = found
            try:
                self._replies.actions.acknowledge(connection, number, name, "by link", now, "link")
            except InputError:  # another person has closed it meanwhile; the link is consumed nevertheless
                return 409, self._renderer.page(self._language(name), str(number), "dead_link", ask=False)
        return 200, self._renderer.page(self._language(name), str(number), "taken", ask=False)

    def missing(self) -> list[str]:
        """Return the parts of the notifier that do not work at the moment."""
        with self._engine.connect().execution_options(reads=True) as connection:
            return [failure.component for failure in failures.listing(connection)]

    def _dead_link(self) -> tuple[int, str]:
        return 404, self._renderer.page(self.routing.language_default, "", "dead_link", ask=False)

    def _language(self, name: str) -> str:
        return self.routing.language(name)


def _clean(text: str) -> str:
    """Return text that every database accepts: without NUL and lone surrogates."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def make_app(pages: NotifierPages, log: Any = None) -> FastAPI:
    """Return the app with its routes."""
    app = protected_app(title="Vedette notifier", public_url=pages.public_url, content_policy=_CONTENT_POLICY, log=log)

    @app.exception_handler(StateError)
    @app.exception_handler(SQLAlchemyError)
    async def unavailable(_: Request, error: Exception) -> Response:
        reason = str(error) if isinstance(error, StateError) else type(error).__name__
        if log:
            log.error("request not answered", reason=reason)  # the failing part is not revealed to the caller
        return PlainTextResponse("not available now, please try again", 503, {"Retry-After": "5"})

    @app.get("/healthz")
    async def health() -> Response:
        return PlainTextResponse("ok")

    @app.get("/readyz")
    def ready() -> Response:
        missing = pages.missing()
        return JSONResponse({"missing": missing}, 503 if missing else 200)

    app.include_router(_link_routes(pages))
    app.include_router(_twilio_routes(pages))
    return app


def _link_routes(pages: NotifierPages) -> APIRouter:
    router = APIRouter(prefix="/incidents")

    @router.get("/{token}")
    def ask(token: str) -> HTMLResponse:
        status, page = pages.page(token)
        return HTMLResponse(page, status)

    @router.post("/{token}")
    def take(token: str) -> HTMLResponse:
        status, page = pages.take(token)
        return HTMLResponse(page, status)

    return router


def _twilio_routes(pages: NotifierPages) -> APIRouter:
    router = APIRouter(prefix="/twilio")

    @router.post("/reply")
    async def reply(request: Request) -> Response:
        form = await _signed(pages, request)
        if form is None:
            return Response(status_code=403)
        return Response(await run_in_threadpool(pages.reply, form), media_type="application/xml")

    @router.post("/status")
    async def receipt(request: Request) -> Response:
        form = await _signed(pages, request)
        if form is None:
            return Response(status_code=403)
        await run_in_threadpool(pages.receipt, form)
        return Response(status_code=204)

    return router


async def _signed(pages: NotifierPages, request: Request) -> dict[str, str] | None:
    body = await request.body()  # HttpGate has bounded it
    signature = request.headers.get("X-Twilio-Signature", "")
    media_type = request.headers.get("Content-Type", "")
    return pages.signed(request.url.path, request.url.query, body, media_type, signature)


def open_pages(
    settings: Settings, engine: Engine, audit: Audit, clock: Clock, random: Random, log: Any
) -> NotifierPages:
    """Return the pages of the settings; actions of people are recorded in the audit log.

    Raises:
        SettingsError: There is no address or key for links, or the routing has a mistake.
    """
    renderer = Renderer(settings.notify.templates)
    routing = read_checked_routing(settings, renderer)
    linker = open_linker(settings.notify, random)
    if linker is None:
        raise SettingsError(
            "[notify] public_url and link_key are not set, so no link or reply could lead here",
            remedy="set public_url to the public https:// address of this server",
        )
    replies = ReplyHandler(routing, renderer, Actions(audit))
    return NotifierPages(
        engine, renderer, linker, replies, public_url=settings.notify.public_url,
        twilio_token=settings.twilio.auth_token, clock=clock, log=log,
    )  # fmt: skip


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        SettingsError: See open_pages; or the audit log has no key.
        StateError: The database does not answer, or the audit log was tampered with.
    """
    log, clock = service_log("notify.web"), SystemClock()
    engine = open_database(settings.database)
    try:
        with open_audit(settings.audit, clock, "notify") as audit:
            app = make_app(open_pages(settings, engine, audit, clock, SystemRandom(), log), log)
            host, port = settings.notify.web_host, settings.notify.web_port
            http_server.serve(app, {}, host=host, port=port, proxies=[], readiness=Readiness(), log=log)
    finally:
        engine.dispose()
