"""The models: versions with their figures and cards, what is in service, the trial, drift; changes by four eyes."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from markupsafe import Markup

from console.computed import FigureJobs
from console.guard import visit_of
from console.model_desk import OF_VERSION, Act, ModelChange, ModelDesk, change_of
from console.pages.case import Number
from console.step_up import StepUp
from console.view import page, refusal
from models.folder import Contract
from models.registry.mlflow import metrics
from models.registry.store import Standing, Version
from vedette.control import RolloutGuardrail
from vedette.errors import InputError, ModelError, UnavailableError, VedetteError

KINDS = ("trial", "drift")
_DRIFT_SHOWN = 15
_FIGURES = ("average_precision", "auc", "recall_at_fpr", "card_precision_100", "calibration_error")
"""Figures of the list; the page of a version has all."""

Text = Annotated[str, Form(max_length=2048)]
Revision = Annotated[int, Form(ge=0, lt=2**31)]
Chosen = Annotated[int, Query(ge=1, lt=2**62)]


class ModelPages:
    """The pages under /models.

    Args:
        desk: The models.
        computed: Figures of trial and drift.
        step_up: Asks for a code before models change.
    """

    def __init__(self, desk: ModelDesk, computed: FigureJobs, step_up: StepUp) -> None:
        self._desk, self._computed, self._step_up = desk, computed, step_up

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter()
        router.get("/models")(self.show)
        router.get("/models/compare")(self.compare)
        router.post("/models/publish")(self.publish)
        router.post("/models/proposals")(self.propose)
        router.get("/models/proposals/{number}")(self.proposal)
        for act in (self.discard, self.approve, self.refuse):
            router.post(f"/models/proposals/{{number}}/{act.__name__}")(act)
        router.post("/models/figures/{kind}")(self.compute)
        router.get("/models/figures/{kind}")(self.figures)
        router.get("/models/{number}")(self.version)
        router.get("/models/{number}/card")(self.card)
        return router

    def show(self, request: Request) -> HTMLResponse:
        """Show versions, what is in service, and proposals."""
        return self._page(request)

    def version(self, request: Request, number: Number) -> HTMLResponse:
        """Show a version."""
        return self._version(request, number)

    def card(self, request: Request, number: Number) -> HTMLResponse:
        """Show the card of a version."""
        from models.registry.card import rendered  # noqa: PLC0415, brings LightGBM, and its extra may not be installed
        from models.registry.model_card_store import CARD_MARKDOWN  # noqa: PLC0415

        try:
            registry = self._desk.registry()
            found = registry.find(str(number))
            text = registry.attached(found, CARD_MARKDOWN) or ""
        except UnavailableError as error:
            return refusal(request, 503, reason=str(error))
        card = Markup(rendered(text))  # noqa: S704, its HTML is that of the renderer, which escapes what is in the text
        return page(request, "model_card.html", version=found, card=card)

    def compare(self, request: Request, first: Chosen, second: Chosen) -> HTMLResponse:
        """Show the figures of two versions side by side, and how their making differs."""
        from models.registry.card import differences  # noqa: PLC0415, as in card

        try:
            sides = [self._desk.version(number) for number in (first, second)]
        except (UnavailableError, ModelError) as error:
            return refusal(request, 503, reason=str(error))
        old, new = (metrics(contract) for _, contract, _ in sides)
        rows = [(name, old[name], new[name]) for name in old if name in new]
        return page(
            request, "model_compare.html", versions=[version for version, _, _ in sides], rows=rows,
            differences=differences(sides[0][1], sides[1][1]), better=better,
        )  # fmt: skip

    def propose(
        self, request: Request, act: Text = "", version: Text = "", fraction: Annotated[float, Form(ge=0, le=1)] = 0.0,
        reason: Text = "",
    ) -> Response:  # fmt: skip
        """Propose a change."""
        wanted: Act | None = next((each for each in (*OF_VERSION, "end_trial", "rollback") if each == act), None)
        if wanted is None:
            return self._page(request, 422, why="")
        change = ModelChange(
            act=wanted, version=version if wanted in OF_VERSION else "",
            fraction=fraction if wanted == "start_trial" else 0.0, guardrail=RolloutGuardrail(),
        )  # fmt: skip
        try:
            made = self._desk.propose(visit_of(request).user.name, change, reason)
        except VedetteError as error:
            return self._page(request, 503 if isinstance(error, UnavailableError) else 409, why=str(error))
        return RedirectResponse(f"/models/proposals/{made.id}", 303)

    def proposal(self, request: Request, number: Number) -> HTMLResponse:
        """Show a proposal."""
        return self._proposal(request, number)

    def discard(self, request: Request, number: Number, revision: Revision = 0) -> Response:
        """Discard one's own proposal."""
        who = visit_of(request).user.name
        return self._stepped(request, number, lambda: self._desk.proposals.discard(number, who, revision), "/models")

    def refuse(self, request: Request, number: Number, reason: Text = "", revision: Revision = 0) -> Response:
        """Refuse somebody else's proposal."""
        who = visit_of(request).user.name
        return self._stepped(request, number, lambda: self._desk.proposals.refuse(number, who, reason, revision))

    def approve(
        self, request: Request, number: Number, seen: Text = "", code: Text = "", revision: Revision = 0
    ) -> Response:
        """Carry out somebody else's proposal."""
        visit = visit_of(request)
        if not self._step_up.passed(visit, code):
            return self._proposal(request, number, 422, wrong=self._step_up.wrong(visit_of(request)))
        return self._stepped(
            request, number, lambda: self._desk.approve(number, visit.user.name, revision, seen)
        )  # fmt: skip

    def publish(self, request: Request, code: Text = "") -> Response:
        """Make the workers follow the registry."""
        visit = visit_of(request)
        if not self._step_up.passed(visit, code):
            return self._page(request, 422, wrong=self._step_up.wrong(visit_of(request)))
        try:
            self._desk.publish_again(visit.user.name)
        except VedetteError as error:
            return self._page(request, 503 if isinstance(error, UnavailableError) else 409, why=str(error))
        return RedirectResponse("/models", 303)

    def compute(self, request: Request, kind: str) -> Response:
        """Have the figures of the trial or of drift computed."""
        if kind not in KINDS:
            return refusal(request, 404)
        self._computed.ask(kind)
        return RedirectResponse(f"/models#{kind}", 303)

    def figures(self, request: Request, kind: str) -> HTMLResponse:
        """Show figures as far as they are; the page follows them by itself."""
        if kind not in KINDS:
            return refusal(request, 404)
        return page(request, f"model_{kind}.html", **self._computed_values())

    def _stepped(self, request: Request, number: int, act: Callable[[], Any], after: str = "") -> Response:
        try:
            act()
        except VedetteError as error:
            status = 503 if isinstance(error, UnavailableError) else 409
            return self._proposal(request, number, status, why=str(error))
        return RedirectResponse(after or f"/models/proposals/{number}", 303)

    def _page(self, request: Request, status: int = 200, *, wrong: str = "", why: str = "") -> HTMLResponse:
        view, problem = None, ""
        try:
            view = self._desk.view()
        except (UnavailableError, ModelError, InputError) as error:
            problem = str(error)
        return page(
            request, "models.html", status, view=view, problem=problem, wrong=wrong, why=why, figure_names=_FIGURES,
            proposals=self._desk.proposals.latest(), change_of=change_of, figures_of=figures_of, acts_for=acts_for,
            needs_code=self._step_up.needed(visit_of(request)), **self._computed_values(),
        )  # fmt: skip

    def _version(self, request: Request, number: int) -> HTMLResponse:
        try:
            version, contract, changes = self._desk.version(number)
        except (UnavailableError, ModelError) as error:
            return refusal(request, 503, reason=str(error))
        return page(
            request, "model_version.html", version=version, contract=contract, changes=changes,
            metrics=metrics(contract), acts=acts_for(version), why="",
        )  # fmt: skip

    def _proposal(
        self, request: Request, number: int, status: int = 200, *, wrong: str = "", why: str = ""
    ) -> HTMLResponse:
        proposal, visit = self._desk.proposals.find(number), visit_of(request)
        seen = problem = ""
        try:
            seen = self._desk.digest()
        except (UnavailableError, InputError) as error:
            problem = str(error)
        return page(
            request, "model_proposal.html", status, proposal=proposal, change=change_of(proposal), wrong=wrong, why=why,
            own=proposal.author == visit.user.name, seen=seen, problem=problem, needs_code=self._step_up.needed(visit),
        )  # fmt: skip

    def _computed_values(self) -> dict[str, Any]:
        return {**{kind: self._computed.of(kind) for kind in KINDS}, "drift_shown": _DRIFT_SHOWN}


def acts_for(version: Version) -> tuple[Act, ...]:
    """Return the changes that can be proposed for a version of this standing."""
    possible: dict[Standing, tuple[Act, ...]] = {
        "champion": (), "challenger": ("promote",), "archived": (),
        "previous": ("start_trial", "promote", "archive"), "registered": ("start_trial", "promote", "archive"),
    }  # fmt: skip
    return possible[version.standing]


def figures_of(contract: Contract) -> dict[str, float]:
    """Return the figures of a version: on held-out weeks if there are some, else on validation."""
    found = metrics(contract)
    return {name: found.get(f"test_{name}", found.get(f"validation_{name}", float("nan"))) for name in _FIGURES}


def better(name: str, before: float, after: float) -> bool | None:
    """Return whether a figure is better than before; None if it is the same, or neither."""
    if before == after or name.endswith(("rows", "frauds", "threshold", "cost_without")):
        return None
    lower = name.endswith(("calibration_error", "_cost"))
    return (after < before) == lower
