"""The policy in force: in words and as text, its lists, how its rules have done, and the drafts beside it."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from access.ports import AuditSink
from console.archive_reader import ArchiveReader
from console.guard import looked, visit_of
from console.policy_desk import PolicyDesk, PolicyInForce, parsed
from console.policy_words import column_meanings, limit_words, reason_words, threshold_words
from console.view import page, refusal
from decisions.policy import Policy
from decisions.policy_form import AllowList, Limit, SqlRule
from decisions.strategy import EVENT_COLUMNS
from features.catalogue import CATALOGUE
from vedette.clock import DAY, Clock
from vedette.control import POLICY_FILE
from vedette.errors import UnavailableError, VedetteError

_SPANS = (7, 30, 90)
_SHOWN = 200
_COLUMNS = 12


class PolicyPages:
    """The pages under /policy but drafts.

    Args:
        desk: The policy.
        archive: The archive.
        audit: The audit log.
        clock: The clock.
    """

    def __init__(self, desk: PolicyDesk, archive: ArchiveReader, audit: AuditSink, clock: Clock) -> None:
        self._desk, self._archive, self._audit, self._clock = desk, archive, audit, clock

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter()
        router.get("/policy")(self.show)
        router.get("/policy/rules")(self.rules)
        router.get("/policy/lists/{name}")(self.list)
        router.get("/policy/columns")(self.columns)
        router.post("/policy/drafts")(self.begin)
        return router

    def show(self, request: Request) -> HTMLResponse:
        """Show the policy in force, and the drafts."""
        now, policy, problem = in_force(self._desk)
        return page(
            request, "policy.html", in_force=now, policy=policy, problem=problem, drafts=self._desk.drafts.latest(),
            policy_file=POLICY_FILE, **words(policy),
        )  # fmt: skip

    def rules(self, request: Request, days: str = "") -> HTMLResponse:
        """Show how rules, limits and lists have done in the last days, as far as the archive knows."""
        from archive.rule_figures import rule_figures  # noqa: PLC0415, its extra may not be installed

        span = next((each for each in _SPANS if str(each) == days), 30)
        values: dict[str, Any] = {"days": span, "spans": _SPANS, "missing": "", "figures": {}}
        try:
            with self._archive.opened() as archive:
                values["figures"] = rule_figures(archive, self._clock.now_ms() - span * DAY)
        except UnavailableError as error:
            values["missing"] = str(error)
        _, policy, _ = in_force(self._desk)
        names = [entry.name for entry in acting(policy)] if policy else []
        return page(request, "policy_rules.html", names=names, **values)

    def list(self, request: Request, name: str, q: str = "") -> HTMLResponse:
        """Show the entries of a list of the policy in force."""
        _, policy, problem = in_force(self._desk)
        if policy is None:
            return refusal(request, 503, reason=problem)
        lists = policy.form.lists
        found = next((entry for entry in (*lists.allow, *lists.block) if entry.name == name), None)
        if found is None:
            return refusal(request, 404)
        wanted = q.strip()[:128].lower()
        looked(self._audit, request, f"list:{name[:64]}", {"search": wanted})
        entries = sorted(value for value in policy.listed[name] if wanted in value.lower())
        return page(
            request, "policy_list.html", entry=found, block=found in lists.block, q=wanted, entries=entries[:_SHOWN],
            count=len(entries), total=len(policy.listed[name]), reason_words=reason_words, shown=_SHOWN,
        )  # fmt: skip

    def columns(self, request: Request, q: str = "") -> HTMLResponse:
        """Show the columns that rules may use, each with its meaning."""
        wanted = q.strip()[:64].lower()
        rows = [(each.name, each.unit, each.meaning) for each in CATALOGUE]
        rows += [(name, "", "") for name in EVENT_COLUMNS]
        found = [row for row in rows if wanted in row[0].lower() or wanted in row[2].lower()]
        found.sort(key=lambda row: (not row[0].startswith(wanted), wanted not in row[0]))
        return page(request, "policy_columns.html", columns=found[:_COLUMNS], more=max(len(found) - _COLUMNS, 0))

    def begin(
        self, request: Request, copied: Annotated[int | None, Form(ge=1, lt=2**62)] = None,
        before: Annotated[bool, Form()] = False,
    ) -> RedirectResponse:  # fmt: skip
        """Begin a draft: of the policy in force, of another draft, or of what was in force before that one."""
        draft = self._desk.begin(visit_of(request).user.name, copy=copied, before=before)
        return RedirectResponse(f"/policy/drafts/{draft.id}", 303)


def in_force(desk: PolicyDesk) -> tuple[PolicyInForce | None, Policy | None, str]:
    """Return the policy in force, as it stands and parsed, or why it is not known."""
    try:
        now = desk.in_force()
        return now, parsed(now.files), ""
    except VedetteError as error:
        return None, None, str(error)


def acting(policy: Policy) -> tuple[SqlRule | Limit | AllowList, ...]:
    """Return the rules, limits and lists of a policy in the order of the file, without rules in shadow."""
    form = policy.form
    rules = [rule for rule in form.rules if not rule.shadow]
    return (*rules, *form.limits, *form.lists.allow, *form.lists.block)


def words(policy: Policy | None) -> dict[str, Any]:
    """Return what templates need to say a policy in words."""
    return {
        "threshold_words": threshold_words, "limit_words": limit_words, "reason_words": reason_words,
        "column_meanings": column_meanings, "readable": policy,
    }  # fmt: skip
