"""Drafts of the policy: edited with a check as one types, priced, submitted, approved by somebody else."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from console.changes.proposals import Proposal
from console.changes.whatif_runs import WhatifRuns
from console.guard import visit_of
from console.pages.case import Number
from console.pages.policy import in_force, words
from console.policy_desk import (
    Files,
    PolicyComparison,
    PolicyDesk,
    PolicyInForce,
    compared,
    files_of,
    parsed,
    replaced_by,
)
from console.roles import Permission
from console.step_up import StepUp
from console.view import page
from decisions.policy_entries import with_entry, without_entry
from vedette.control import POLICY_FILE
from vedette.errors import PolicyError, UnavailableError, VedetteError

_MOST_FILES = 50
_LARGEST = 100_000
"""Characters of a list's file that a page shows."""

SPANS = (1, 7, 30, 0)
"""Days that a what-if may look back; 0: everything that the topics hold."""

Revision = Annotated[int, Form(ge=0, lt=2**31)]
Names = Annotated[list[str], Form(default_factory=list, max_length=_MOST_FILES)]
Text = Annotated[str, Form(max_length=4096)]


class DraftPages:
    """The pages under /policy/drafts and /policy/whatif.

    Args:
        desk: The policy.
        runs: What-if runs.
        step_up: Asks for a code before a policy is put into force.
    """

    def __init__(self, desk: PolicyDesk, runs: WhatifRuns, step_up: StepUp) -> None:
        self._desk, self._runs, self._step_up = desk, runs, step_up

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter()
        router.get("/policy/drafts/{number}")(self.show)
        router.post("/policy/drafts/{number}")(self.save)
        router.post("/policy/drafts/{number}/check")(self.check)
        router.post("/policy/drafts/{number}/entries")(self.entries)
        for act in (self.submit, self.withdraw, self.discard, self.approve, self.refuse, self.whatif):
            router.post(f"/policy/drafts/{{number}}/{act.__name__}")(act)
        router.get("/policy/whatif/{number}")(self.run)
        router.post("/policy/whatif/{number}/cancel")(self.cancel)
        return router

    def show(self, request: Request, number: Number) -> HTMLResponse:
        """Show a draft."""
        return self._page(request, self._desk.drafts.find(number))

    def save(self, request: Request, number: Number, name: Names, text: Names, revision: Revision = 0) -> Response:
        """Save one's own draft, valid or not."""
        files = self._files(number, name, text)
        return self._stepped(request, number, lambda who: self._desk.save(number, who, files, revision), files)

    def check(self, request: Request, number: Number, name: Names, text: Names) -> HTMLResponse:
        """Check a text as it is being typed, and say what it changes."""
        return page(request, "policy_check.html", **self._checked(self._files(number, name, text)))

    def entries(
        self, request: Request, number: Number, name: Text = "", value: Text = "", note: Text = "", act: Text = "",
        revision: Revision = 0,
    ) -> Response:  # fmt: skip
        """Add an entry to a list of one's own draft, or remove one."""

        def change(who: str) -> Proposal:
            files = files_of(self._desk.drafts.find(number))
            changed = (
                without_entry(files, name, value) if act == "remove" else with_entry(files, name, value, note[:200])
            )
            return self._desk.save(number, who, changed, revision)

        return self._stepped(request, number, change)

    def submit(self, request: Request, number: Number, reason: Text = "", revision: Revision = 0) -> Response:
        """Ask for somebody else's approval."""
        return self._stepped(request, number, lambda who: self._desk.submit(number, who, reason, revision))

    def withdraw(self, request: Request, number: Number, revision: Revision = 0) -> Response:
        """Make a draft of a submitted or refused one again."""
        return self._stepped(request, number, lambda who: self._desk.drafts.withdraw(number, who, revision))

    def discard(self, request: Request, number: Number, revision: Revision = 0) -> Response:
        """Discard one's own draft."""
        answer = self._stepped(request, number, lambda who: self._desk.drafts.discard(number, who, revision))
        return RedirectResponse("/policy", 303) if isinstance(answer, RedirectResponse) else answer

    def approve(
        self, request: Request, number: Number, seen: Text = "", code: Text = "", revision: Revision = 0
    ) -> Response:
        """Put somebody else's draft into force."""
        if not self._step_up.passed(visit_of(request), code):
            return self._page(
                request, self._desk.drafts.find(number), 422, wrong=self._step_up.wrong(visit_of(request))
            )
        return self._stepped(request, number, lambda who: self._desk.approve(number, who, revision, seen))

    def refuse(self, request: Request, number: Number, reason: Text = "", revision: Revision = 0) -> Response:
        """Refuse somebody else's draft."""
        return self._stepped(request, number, lambda who: self._desk.drafts.refuse(number, who, reason, revision))

    def whatif(self, request: Request, number: Number, days: Text = "") -> Response:
        """Begin to compute what a draft would have changed."""
        span = next((each for each in SPANS if str(each) == days), 7)

        def start(who: str) -> Proposal:
            draft = self._desk.drafts.find(number)
            parsed(files_of(draft))
            self._runs.start(number, draft.revision, files_of(draft), span, who)
            return draft

        return self._stepped(request, number, start)

    def run(self, request: Request, number: Number) -> HTMLResponse:
        """Show how far a what-if has come, or its result; the page follows it by itself."""
        return page(request, "policy_whatif.html", **_run_values(request, self._runs.find(number)))

    def cancel(self, request: Request, number: Number) -> RedirectResponse:
        """Ask for the end of a what-if."""
        run = self._runs.find(number)
        self._runs.cancel(number, visit_of(request).user.name)
        return RedirectResponse(f"/policy/drafts/{run.proposal_id}#whatif", 303)

    def _stepped(
        self, request: Request, number: int, act: Callable[[str], Proposal], files: Files | None = None
    ) -> Response:
        """Do a step and show the draft again; if it cannot be done, with the reason, and what was typed."""
        try:
            act(visit_of(request).user.name)
        except UnavailableError as error:
            return self._page(request, self._desk.drafts.find(number), 503, why=str(error), files=files)
        except VedetteError as error:
            return self._page(request, self._desk.drafts.find(number), 409, why=str(error), files=files)
        return RedirectResponse(f"/policy/drafts/{number}", 303)

    def _page(
        self, request: Request, draft: Proposal, status: int = 200, *, wrong: str = "", why: str = "",
        files: Files | None = None,
    ) -> HTMLResponse:  # fmt: skip
        visit, run = visit_of(request), self._runs.latest(draft.id)
        own = draft.author == visit.user.name
        files = files or files_of(draft)
        checked = self._checked(files, replaced_by(draft))
        return page(
            request, "policy_draft.html", status, draft=draft, own=own, wrong=wrong, why=why, files=files,
            editable=own and draft.state == "draft" and visit.user.may(Permission.POLICY_DRAFT),
            needs_code=self._step_up.needed(visit), policy_file=POLICY_FILE, largest=_LARGEST, spans=SPANS,
            lists=_lists(checked), **checked, **_run_values(request, run),
        )  # fmt: skip

    def _files(self, number: int, names: list[str], texts: list[str]) -> Files:
        """Return the files of a draft as they are being edited; large ones are not sent, and stay as they are."""
        pairs = zip(names, texts, strict=False)  # a browser sends as many of one as of the other
        given = {name.strip()[:128]: text.replace("\r\n", "\n") for name, text in pairs if name.strip()}
        return files_of(self._desk.drafts.find(number)) | given

    def _checked(self, files: Files, before: PolicyInForce | None = None) -> dict[str, Any]:
        """Return the verdict on some files, and what they change in a policy; without one, in that in force."""
        values: dict[str, Any] = dict.fromkeys(("mistake", "place", "line", "difference", "readable"))
        now, _, problem = (before, None, "") if before else in_force(self._desk)
        values |= {"in_force": now, "problem": problem}
        try:
            values["readable"] = parsed(files)
        except PolicyError as error:
            lines = files.get(POLICY_FILE, "").splitlines()
            place = error.place
            line = lines[place[0] - 1] if place and place[0] <= len(lines) else ""
            return values | {"mistake": error, "place": place, "line": line}
        difference: PolicyComparison | None = compared(now.files, files) if now else None
        return values | {"difference": difference} | words(values["readable"])


def _lists(checked: dict[str, Any]) -> list[Any]:
    policy = checked["readable"]
    return [*policy.form.lists.allow, *policy.form.lists.block] if policy else []


def _run_values(request: Request, run: Any) -> dict[str, Any]:
    may_find = visit_of(request).user.may(Permission.PAYMENTS_READ)
    return {"run": run, "price": run.price if run else None, "may_find": may_find}
