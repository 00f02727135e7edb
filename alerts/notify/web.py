"""Where answers come back: the page that acknowledges an incident, Twilio's replies, and its delivery receipts.

GET changes nothing. What Twilio posts is believed only with its signature, and counts once.
"""

import json
from collections.abc import Awaitable, Callable
from html import escape
from random import Random, SystemRandom
from urllib.parse import parse_qsl

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse
from sqlalchemy import Engine, or_, true, update
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from alerts.audit import Audit, open_audit
from alerts.database import insert_new, open_database
from alerts.database.tables import messages, receipts
from alerts.incidents.actions import Actions
from alerts.incidents.routing import Routing
from alerts.notify import answers
from alerts.notify.bootstrap import linker_of, routing_of
from alerts.notify.links import Linker
from alerts.notify.words import Renderer
from vedette.clock import Clock, SystemClock
from vedette.errors import InputError, SettingsError
from vedette.settings import NotifySettings, Settings

_LONGEST = 64 * 1024
_FINAL = ("delivered", "undelivered", "failed", "read")
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_NOTHING = "<Response/>"


class Answers:
    """What the routes do, apart from HTTP.

    Args:
        engine: The database.
        routing: Whose numbers and names are known.
        renderer: Puts the page into words.
        linker: Knows links again.
        actions: What people may do to incidents, and where it is recorded.
        notify: Twilio's token, and the address under which Twilio reaches this.
        clock: Dates answers.
    """

    def __init__(
        self, engine: Engine, routing: Routing, renderer: Renderer, linker: Linker, actions: Actions,
        notify: NotifySettings, clock: Clock,
    ) -> None:  # fmt: skip
        self._engine = engine
        self._actions = actions
        self.routing = routing
        self._renderer = renderer
        self._linker = linker
        self._clock = clock
        self._base = notify.public_url.rstrip("/")
        token = notify.twilio_auth_token
        self._validator = RequestValidator(token.value) if token else None

    def signed(self, path: str, query: str, body: bytes, kind: str, signature: str) -> dict[str, str] | None:
        """What Twilio posted, or None if its signature is not there or wrong.

        A form is signed with its fields; a JSON body by its SHA-256, which the URL then carries as bodySHA256.
        """
        url = f"{self._base}{path}" + (f"?{query}" if query else "")
        if self._validator is None or not signature:
            return None
        if kind.partition(";")[0].strip() == "application/json":
            has_hash = any(name == "bodySHA256" for name, _ in parse_qsl(query))
            if not has_hash or not self._validator.validate(url, body.decode("utf-8", "replace"), signature):
                return None
            try:
                found = json.loads(body)
            except ValueError:
                return None
            return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else None
        form = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
        return form if self._validator.validate(url, form, signature) else None

    def reply(self, form: dict[str, str]) -> str:
        """Do what an incoming message asks for; TwiML with what to answer. A second delivery does nothing."""
        sid, now = form.get("MessageSid", ""), self._clock.now_ms()
        with self._engine.begin() as connection:
            seen = {"sid": sid[:64], "status": "received", "received_at": now}
            if not sid or not insert_new(connection, receipts, [seen]):
                return _NOTHING
            sender, text = form.get("From", ""), form.get("Body", "")
            said = answers.apply(connection, self.routing, self._actions, sender, text, now)
        return f"<Response><Message>{escape(said)}</Message></Response>" if said else _NOTHING

    def receipt(self, form: dict[str, str]) -> None:
        """Write down what became of a message; a final word is not taken back by one that comes late."""
        sid, status = form.get("MessageSid", "")[:64], form.get("MessageStatus", "")[:32]
        code, now = form.get("ErrorCode", ""), self._clock.now_ms()
        with self._engine.begin() as connection:
            seen = {"sid": sid, "status": status, "received_at": now}
            if not (sid and status) or not insert_new(connection, receipts, [seen]):
                return
            table = messages.c
            settled = or_(*(table.receipt.startswith(final) for final in _FINAL))
            earlier = ~settled if status not in _FINAL else true()
            shown = f"{status} {code}".strip()[:32]
            connection.execute(update(messages).where(table.provider_id == sid, earlier).values(receipt=shown))

    def page(self, token: str) -> tuple[int, str]:
        """Status and page of a link; nothing changes."""
        with self._engine.connect().execution_options(reads=True) as connection:
            about = self._linker.read(connection, token, self._clock.now_ms())
        if about is None:
            return 404, self._renderer.page(self.routing.language_default, "", "dead_link", ask=False)
        number, name = about
        return 200, self._renderer.page(self._language(name), str(number), "ask_take", ask=True)

    def take(self, token: str) -> tuple[int, str]:
        """Use a link: its incident is acknowledged by the one it was sent to."""
        now = self._clock.now_ms()
        with self._engine.begin() as connection:
            about = self._linker.use(connection, token, now)
            if about is None:
                return 404, self._renderer.page(self.routing.language_default, "", "dead_link", ask=False)
            number, name = about
            try:
                self._actions.acknowledge(connection, number, name, "by link", now, "link")
            except InputError:  # somebody has closed it meanwhile; the link is used up all the same
                return 409, self._renderer.page(self._language(name), str(number), "dead_link", ask=False)
        return 200, self._renderer.page(self._language(name), str(number), "taken", ask=False)

    def _language(self, name: str) -> str:
        known = name in self.routing.recipients
        return self.routing.language(name) if known else self.routing.language_default


def make_app(served: Answers) -> FastAPI:
    """The routes."""
    app = FastAPI(title="Vedette answers", docs_url=None, redoc_url=None, openapi_url=None)

    @app.middleware("http")
    async def headers(request: Request, following: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await following(request)
        response.headers.update(_HEADERS)
        return response

    @app.get("/healthz")
    async def health() -> Response:
        return Response("ok", media_type="text/plain")

    @app.get("/incidents/{token}")
    def ask(token: str) -> HTMLResponse:
        status, page = served.page(token)
        return HTMLResponse(page, status)

    @app.post("/incidents/{token}")
    def take(token: str) -> HTMLResponse:
        status, page = served.take(token)
        return HTMLResponse(page, status)

    @app.post("/twilio/reply")
    async def reply(request: Request) -> Response:
        form = await _signed(served, request)
        if form is None:
            return Response(status_code=403)
        return Response(await run_in_threadpool(served.reply, form), media_type="application/xml")

    @app.post("/twilio/status")
    async def receipt(request: Request) -> Response:
        form = await _signed(served, request)
        if form is None:
            return Response(status_code=403)
        await run_in_threadpool(served.receipt, form)
        return Response(status_code=204)

    return app


async def _signed(served: Answers, request: Request) -> dict[str, str] | None:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _LONGEST:
            return None
    signature = request.headers.get("X-Twilio-Signature", "")
    kind = request.headers.get("Content-Type", "")
    return served.signed(request.url.path, request.url.query, body, kind, signature)


def open_answers(settings: Settings, engine: Engine, audit: Audit, clock: Clock, random: Random) -> Answers:
    """The answers of the settings, each recorded in the audit log.

    Raises:
        SettingsError: There is no address or key for links, or the routing has a mistake.
    """
    renderer = Renderer(settings.notify.templates)
    routing = routing_of(settings, renderer)
    linker = linker_of(settings.notify, random)
    if linker is None:
        raise SettingsError(
            "[notify] public_url and link_key are not set, so no answer could find its way here",
            remedy="set public_url to the https:// address under which this is reached",
        )
    return Answers(engine, routing, renderer, linker, Actions(audit), settings.notify, clock)


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        SettingsError: See open_answers; or the audit log has no key.
        StateError: The database does not answer, or the audit log was tampered with.
    """
    engine, clock = open_database(settings.incidents), SystemClock()
    try:
        with open_audit(settings.audit, clock, "notify") as audit:
            app = make_app(open_answers(settings, engine, audit, clock, SystemRandom()))
            # Without access log: the path of a link is a secret.
            uvicorn.run(app, host=settings.notify.web_host, port=settings.notify.web_port, access_log=False)
    finally:
        engine.dispose()
