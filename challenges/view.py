"""Pages from templates, in the reader's language."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from challenges.words import languages, preferred_language, say

LANGUAGE_COOKIE = "language"
REFUSALS = {403: "refused", 404: "gone", 429: "too_often", 503: "unavailable"}
"""Text keys of refusal pages by status; 404 is mostly a link that has been used or has expired."""

_templates = Environment(
    loader=PackageLoader("challenges", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def language_of(request: Request) -> str:
    """Return the language requested by `?lang=`, an earlier choice, or the browser, in this order."""
    for asked in (request.query_params.get("lang", ""), request.cookies.get(LANGUAGE_COOKIE, "")):
        if asked in languages():
            return asked
    return preferred_language(request.headers.get("accept-language", ""))


def part(request: Request, name: str, **values: Any) -> str:
    """Return a page or a part of one; templates also have `t(key, **values)` for words, `language` and `brand`."""
    language = language_of(request)
    template = _templates.get_template(name)
    return template.render(t=partial(say, language), language=language, brand=request.app.state.name, **values)


def page(
    request: Request, name: str, status: int = 200, headers: Mapping[str, str] | None = None, **values: Any
) -> HTMLResponse:
    """Return a page as a response, see `part`; a language requested by `?lang=` is remembered."""
    response = HTMLResponse(part(request, name, **values), status, headers)
    language = language_of(request)
    if request.query_params.get("lang") == language:
        response.set_cookie(LANGUAGE_COOKIE, language, max_age=31_536_000, httponly=True, samesite="lax")
    return response


def refusal(request: Request, status: int, headers: Mapping[str, str] | None = None) -> HTMLResponse:
    """Return the page of a refusal, with one of the statuses of REFUSALS."""
    return page(request, "refusal.html", status, headers, what=REFUSALS[status])
