"""Topics of the live features: what happens at a payment's merchant, device, address and payee, and incoming money.

Each statement takes the shortest window in which a value is unusual. Where the training rows do not say what is usual,
nothing is said.
"""

import math
from collections.abc import Callable

from features.catalogue_live import INCOMING_WINDOWS, LIVE_WINDOWS, PASSED_ON_WINDOWS
from models.reason_topic import ReasonTopic, Statement
from models.statements import Facts, Values, short
from vedette.clock import DAY

_PERCENT = 98
_YOUNG_DAYS = 7.0
_SOME = 5
"""Payments from which on a share says something."""

_SPOKEN = {"merchant": "merchant", "device": "device", "ip": "address", "payee": "payee"}
"""Kind of entity, and how codes name it."""


def live_topics() -> tuple[ReasonTopic, ...]:
    """Return the topics of all live features."""
    return (*(topic for kind, spoken in _SPOKEN.items() for topic in _of_entity(kind, spoken)), *_incoming())


def _of_entity(kind: str, spoken: str) -> tuple[ReasonTopic, ...]:
    def names(*what: str) -> tuple[str, ...]:
        return tuple(f"{kind}_live_{one}_{window}" for one in what for window in LIVE_WINDOWS)

    def shares(what: str, code: str) -> ReasonTopic:
        return ReasonTopic(names(what), (Statement(f"{spoken}-{code}", _share(kind, what)),))

    windows = tuple(LIVE_WINDOWS)
    return (
        ReasonTopic(
            (*names("count", "accounts", "new_accounts"), f"{kind}_live_seconds_since_last"),
            (
                Statement(f"{spoken}-first-payers", _count(f"{kind}_live_new_accounts", windows, 3)),
                Statement(f"{spoken}-busy-now", _count(f"{kind}_live_count", windows, 5)),
            ),
        ),
        ReasonTopic(names("sum", "mean"), (Statement(f"{spoken}-money-now", _sum(f"{kind}_live_sum", windows)),)),
        shares("small_share", "small-now"),
        shares("unusual_share", "unusual-now"),
        shares("flagged_share", "flagged-now"),
        ReasonTopic(
            (*names("frauds"), f"{kind}_live_frauds_known"),
            (
                Statement(f"{spoken}-frauds-now", _frauds(kind)),
                Statement(f"{spoken}-frauds-known", _frauds_known(kind)),
            ),
        ),
        ReasonTopic((f"{kind}_live_age_days",), (Statement(f"{spoken}-appeared", _appeared(kind)),)),
    )


def _incoming() -> tuple[ReasonTopic, ...]:
    def names(*what: str) -> tuple[str, ...]:
        return tuple(f"incoming_{one}_{window}" for one in what for window in INCOMING_WINDOWS)

    return (
        ReasonTopic(
            names("count", "senders", "new_senders"),
            (Statement("incoming-senders", _count("incoming_senders", INCOMING_WINDOWS, 3)),),
        ),
        ReasonTopic(names("sum"), (Statement("incoming-money", _sum("incoming_sum", INCOMING_WINDOWS)),)),
        ReasonTopic(
            ("incoming_seconds_since_last", *(f"incoming_passed_on_{window}" for window in PASSED_ON_WINDOWS)),
            (Statement("incoming-passed-on", _passed_on),),
        ),
    )


def _unusual(f: Facts, name: str, least: float) -> bool:
    """Return whether a value is at least `least` and more than is usual, which must be known."""
    return f.above(name, least, _PERCENT) and not math.isnan(f.usual.at(name, _PERCENT))


def _count(what: str, windows: tuple[str, ...], least: int) -> Callable[[Facts], Values | None]:
    def values(f: Facts) -> Values | None:
        for window in windows:
            name = f"{what}_{window}"
            if _unusual(f, name, least):
                return {"count": int(f[name]), "window": window, "usual": short(f.usual.at(name, _PERCENT))}
        return None

    return values


def _sum(what: str, windows: tuple[str, ...]) -> Callable[[Facts], Values | None]:
    def values(f: Facts) -> Values | None:
        if f.currency != f.usual.currency:  # amounts in several currencies have no quantiles that mean anything
            return None
        for window in windows:
            name = f"{what}_{window}"
            if _unusual(f, name, 0.0):
                return f.money(sum=f[name], usual=f.usual.at(name, _PERCENT)) | {"window": window}
        return None

    return values


def _share(kind: str, what: str) -> Callable[[Facts], Values | None]:
    def values(f: Facts) -> Values | None:
        for window in LIVE_WINDOWS:
            name, of = f"{kind}_live_{what}_{window}", f[f"{kind}_live_count_{window}"]
            if of >= _SOME and _unusual(f, name, 0.3):
                usual = short(f.usual.at(name, _PERCENT))
                return {"share": short(f[name]), "of": int(of), "window": window, "usual": usual}
        return None

    return values


def _frauds(kind: str) -> Callable[[Facts], Values | None]:
    def values(f: Facts) -> Values | None:
        for window in LIVE_WINDOWS:
            if (count := f[f"{kind}_live_frauds_{window}"]) >= 1:
                return {"count": int(count), "window": window}
        return None

    return values


def _frauds_known(kind: str) -> Callable[[Facts], Values | None]:
    name = f"{kind}_live_frauds_known"
    return lambda f: {"count": int(f[name])} if f[name] >= 1 else None


def _appeared(kind: str) -> Callable[[Facts], Values | None]:
    name = f"{kind}_live_age_days"

    def values(f: Facts) -> Values | None:
        usual = f.usual.at(name, 5)
        if f[name] <= _YOUNG_DAYS and f[name] < usual:
            return {"age": short(f[name] * DAY / 1000), "usual": short(usual * DAY / 1000)}
        return None

    return values


def _passed_on(f: Facts) -> Values | None:
    for window in PASSED_ON_WINDOWS:
        if (share := f[f"incoming_passed_on_{window}"]) >= 0.8 and _unusual(f, f"incoming_sum_{window}", 0.0):
            return {"share": short(share), "window": window}
    return None
