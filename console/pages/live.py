"""Live: decisions as they are made, with a filter, and a pause."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import HTMLResponse

from access.ports import AuditSink
from adapters.event_streams import EventStreams, Part
from console.accounts.staff_sessions import StaffSessions
from console.guard import looked, visit_of
from console.live_feed import LiveFeed, LiveView, matcher
from console.reasons import reason_texts
from console.roles import Permission
from console.view import page, part

ROWS = 40
ACTIONS = ("approve", "challenge", "review", "decline")
_FIELDS = ("action", "text", "min_score")


class LivePages:
    """The pages under /live.

    Args:
        feed: The decisions.
        sessions: The sessions, which may end while a page is open.
        streams: Event streams of the pages.
        audit: The audit log.
    """

    def __init__(self, feed: LiveFeed, sessions: StaffSessions, streams: EventStreams, audit: AuditSink) -> None:
        self._feed, self._sessions, self._streams, self._audit = feed, sessions, streams, audit

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter()
        router.get("/live")(self.show)
        router.get("/live/stream")(self.stream)
        return router

    def show(self, request: Request) -> HTMLResponse:
        """Show the decisions of this moment; the page follows them by itself."""
        wanted = _wanted(request)
        looked(self._audit, request, "live:decisions", wanted)
        view = self._feed.view(matcher(wanted), ROWS)
        query = str(request.query_params)
        return page(request, "live.html", wanted=wanted, query=query, actions=ACTIONS, **self._values(request, view))

    def stream(self, request: Request, seen: str = "", last_event_id: Annotated[str, Header()] = "") -> Response:
        """Follow the decisions."""
        visit, matches = visit_of(request), matcher(_wanted(request))

        def read() -> Part | None:
            still = self._sessions.of(request, touch=False)  # the session may have ended since the stream began
            if still is None or not still.user.may(Permission.LIVE_READ):
                return None
            view = self._feed.view(matches, ROWS)
            return str(view.number), part(request, "live_rows.html", **self._values(request, view))

        return self._streams.follow(visit.session, read, last_event_id or seen)

    @staticmethod
    def _values(request: Request, view: LiveView) -> dict[str, Any]:
        may_find = visit_of(request).user.may(Permission.PAYMENTS_READ)
        return {"view": view, "reason_texts": reason_texts, "all_actions": ACTIONS, "may_find": may_find}


def _wanted(request: Request) -> dict[str, str]:
    given = request.query_params
    return {key: given[key][:64] for key in _FIELDS if given.get(key)}
