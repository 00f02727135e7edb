"""Pages from templates, in the reader's language and theme."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from adapters.channels.message import printable
from adapters.locales import Locales
from console.roles import Permission
from vedette.clock import DAY, HOUR, MINUTE, format_time
from vedette.money import format_amount

if TYPE_CHECKING:
    from console.accounts.staff_sessions import StaffVisit

LANGUAGE_COOKIE, THEME_COOKIE = "language", "theme"
THEMES = ("system", "light", "dark")
LOCALES = Locales(Path(__file__).with_name("locales"))

_LARGE = 100
"""From here on, places after the point say nothing."""

REFUSALS = {400: "invalid", 403: "refused", 404: "gone", 405: "gone", 422: "invalid", 429: "too_often", 503: "away"}
"""Keys of the texts of refusals by status."""


def language_of(request: Request) -> str:
    """Return the language chosen earlier, or by the browser."""
    chosen = request.cookies.get(LANGUAGE_COOKIE, "")
    return chosen if chosen in LOCALES.languages else LOCALES.preferred(request.headers.get("accept-language", ""))


def theme_of(request: Request) -> str:
    """Return the theme chosen earlier; by default that of the system."""
    chosen = request.cookies.get(THEME_COOKIE, "")
    return chosen if chosen in THEMES else "system"


def words_of(request: Request) -> "Words":
    """Return the words in the language of a request."""
    return Words(language_of(request))


class Words:
    """The texts of one language, as `t(key, **values)`."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._texts = LOCALES.languages[language]

    def __call__(self, key: str, **values: object) -> str:
        """Return a text with values filled in."""
        return LOCALES.say(self.language, key, **values)

    def known(self, key: str) -> bool:
        """Return whether there is a text under a key."""
        return key in self._texts


def part(request: Request, template: str, /, **values: Any) -> str:
    """Return a page or a part of one. Templates also have words, visitor, permissions and filters, see _common."""
    return _templates.get_template(template).render(**_common(request), **values)


def page(
    request: Request, template: str, status: int = 200, headers: Mapping[str, str] | None = None, /, **values: Any
) -> HTMLResponse:
    """Return a page as a response, see `part`."""
    return HTMLResponse(part(request, template, **values), status, headers)


def refusal(request: Request, status: int, headers: Mapping[str, str] | None = None, reason: str = "") -> HTMLResponse:
    """Return the page of a refusal, with a reason in English where there is one."""
    key = REFUSALS.get(status, "gone")
    return page(request, "refusal.html", status, headers, key=key, reason=reason)


def money(minor: int | None, currency: str | None) -> str:
    """Return an amount; minor units as they are while no currency is known."""
    if minor is None:
        return ""
    return format_amount(minor, currency) if currency else f"{minor:,}"


def figure(value: float, sign: str = "") -> str:
    """Return a figure with four places, or as a whole number if it is large."""
    return f"{value:{sign},.4f}" if abs(value) < _LARGE else f"{value:{sign},.0f}"


def moment(ms: int | None) -> str:
    """Return a time in UTC, to the second."""
    return "" if ms is None else format_time(ms)[:19].replace("T", " ")


def span(ms: int) -> str:
    """Return a length of time in its two largest units at most, such as 3 h 20 min or 2 d."""
    ms = max(ms, 0)
    if ms < MINUTE:
        return f"{ms // 1000} s"
    if ms < HOUR:
        return f"{ms // MINUTE} min"
    if ms < DAY:
        hours, rest = divmod(ms, HOUR)
        return f"{hours} h {rest // MINUTE} min" if hours < 10 and rest >= MINUTE else f"{hours} h"
    days, rest = divmod(ms, DAY)
    return f"{days} d {rest // HOUR} h" if days < 10 and rest >= HOUR else f"{days} d"


def _plain(value: object) -> str:
    """Return text from outside without characters that turn lines around or cannot be seen."""
    return "" if value is None else printable(str(value))


def _common(request: Request) -> dict[str, Any]:
    visit: StaffVisit | None = getattr(request.state, "visit", None)
    permissions = {p for p in Permission if visit and visit.user.may(p)}
    return {
        "t": words_of(request),
        "language": language_of(request),
        "theme": theme_of(request),
        "brand": request.app.state.name,
        "visit": visit,
        "csrf": Markup(f'<input type="hidden" name="csrf" value="{visit.csrf}">') if visit else "",  # noqa: S704, hex
        "may": {permission.value for permission in permissions},
        "here": request.url.path,
        "now": request.app.state.clock.now_ms(),
        "static": partial(_static, request),
    }


def _static(request: Request, name: str) -> str:
    """Return the address of a file, which changes with the version so that browsers may keep it."""
    return f"/static/{name}?{request.app.version}"


_templates = Environment(
    loader=PackageLoader("console", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters |= {"money": money, "moment": moment, "span": span, "figure": figure, "plain": _plain}
