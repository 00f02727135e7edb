"""Pages out of templates, in the reader's language."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from alerts.mfa.words import choose, languages, say

LANGUAGE_COOKIE = "language"
REFUSALS = {403: "refused", 404: "gone", 429: "too_often", 503: "unavailable"}
"""What people are told instead of a status; 404 is mostly a link that is no longer good."""

_templates = Environment(
    loader=PackageLoader("alerts.mfa", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def language_of(request: Request) -> str:
    """The language asked for by `?lang=`, else by an earlier choice, else by the browser."""
    for asked in (request.query_params.get("lang", ""), request.cookies.get(LANGUAGE_COOKIE, "")):
        if asked in languages():
            return asked
    return choose(request.headers.get("accept-language", ""))


def part(request: Request, name: str, **values: Any) -> str:
    """A page or a part of one; templates also have `t(key, **values)` for words, `language` and `brand`."""
    language = language_of(request)
    template = _templates.get_template(name)
    return template.render(t=partial(say, language), language=language, brand=request.app.state.name, **values)


def page(
    request: Request, name: str, status: int = 200, headers: Mapping[str, str] | None = None, **values: Any
) -> HTMLResponse:
    """A page as an answer, see `part`; a language asked for by `?lang=` is remembered."""
    response = HTMLResponse(part(request, name, **values), status, headers)
    language = language_of(request)
    if request.query_params.get("lang") == language:
        response.set_cookie(LANGUAGE_COOKIE, language, max_age=31_536_000, httponly=True, samesite="lax")
    return response


def refusal(request: Request, status: int, headers: Mapping[str, str] | None = None) -> HTMLResponse:
    """The page for whoever cannot go on, with one of the statuses of REFUSALS."""
    return page(request, "refusal.html", status, headers, what=REFUSALS[status])
