"""Four eyes: who may decide about whose proposal, and when."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from sqlalchemy import Engine

from access.audit import open_audit, show
from console.changes.proposals import LONGEST_REASON, Proposal, Proposals
from tests.conftest import Dial
from vedette.clock import MINUTE
from vedette.errors import InputError, UnavailableError
from vedette.settings import AuditSettings
from vedette.settings_base import Secret


class Log:
    """An audit log in memory."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, str]] = []

    def record(self, event: str, subject: str, details: object, *, actor: str = "") -> None:
        """Keep a record."""
        del details
        self.events.append((event, subject, actor))


@pytest.fixture
def audit() -> Log:
    """The log."""
    return Log()


@pytest.fixture
def proposals(engine: Engine, audit: Log, dial: Dial) -> Proposals:
    """Proposals on each kind of database."""
    return Proposals(engine, audit, dial, "policy")


def applied(_proposal: Proposal) -> str:
    """Put a change into force."""
    return "before"


def test_a_change_needs_two_people(proposals: Proposals, audit: Log) -> None:
    """The author cannot approve or refuse; nobody else can edit, submit or withdraw; every step is recorded."""
    draft = proposals.draft("ana", "one")
    for act in (
        lambda: proposals.edit(draft.id, "bo", "two", 1), lambda: proposals.submit(draft.id, "bo", "because", 1),
        lambda: proposals.discard(draft.id, "bo", 1),
    ):  # fmt: skip
        with pytest.raises(InputError, match="not your proposal"):
            act()
    with pytest.raises(InputError, match="changed meanwhile"):
        proposals.approve(draft.id, "bo", 1, applied)
    draft = proposals.edit(draft.id, "ana", "two", 1)
    submitted = proposals.submit(draft.id, "ana", " because ", draft.revision)
    assert (submitted.state, submitted.content, submitted.reason) == ("submitted", "two", "because")
    for act in (
        lambda: proposals.approve(draft.id, "ana", submitted.revision, applied),
        lambda: proposals.refuse(draft.id, "ana", "no", submitted.revision),
    ):
        with pytest.raises(InputError, match="somebody else"):
            act()
    done = proposals.approve(draft.id, "bo", submitted.revision, applied)
    assert (done.state, done.decided_by, done.before) == ("in_force", "bo", "before")
    subject = f"proposal:{draft.id}"
    assert audit.events == [
        ("policy.drafted", subject, "ana"), ("policy.edited", subject, "ana"), ("policy.submitted", subject, "ana"),
        ("policy.approved", subject, "bo"), ("policy.in-force", subject, "bo"),
    ]  # fmt: skip
    assert [each.id for each in proposals.latest()] == [draft.id]


def test_what_is_approved_is_what_was_seen(proposals: Proposals) -> None:
    """A proposal that was withdrawn, edited and submitted again is another revision."""
    submitted = proposals.propose("ana", "one", "because")
    draft = proposals.withdraw(submitted.id, "ana", submitted.revision)
    draft = proposals.edit(draft.id, "ana", "two", draft.revision)
    again = proposals.submit(draft.id, "ana", "because", draft.revision)
    with pytest.raises(InputError, match="changed meanwhile"):
        proposals.approve(draft.id, "bo", submitted.revision, applied)
    assert proposals.approve(draft.id, "bo", again.revision, applied).content == "two"


def test_of_two_approvals_one_is_carried_out(proposals: Proposals) -> None:
    """Twenty times, at the same moment."""
    for _ in range(20):
        proposal, start, carried_out = proposals.propose("ana", "one", "because"), Barrier(2), []

        def approve(
            who: str, proposal: Proposal = proposal, start: Barrier = start, done: list[str] = carried_out
        ) -> bool:
            def apply(_taken: Proposal) -> str:
                done.append(who)
                return ""

            start.wait(60)
            try:
                proposals.approve(proposal.id, who, proposal.revision, apply)
            except InputError:
                return False
            return True

        with ThreadPoolExecutor(2) as threads:
            won = list(threads.map(approve, ("bo", "cy")))
        assert sorted(won) == [False, True]
        assert len(carried_out) == 1


def test_a_change_that_fails_is_submitted_as_before(proposals: Proposals, audit: Log) -> None:
    """The broker was away: the same or another person approves it later."""
    proposal = proposals.propose("ana", "one", "because")

    def fail(_taken: Proposal) -> str:
        raise UnavailableError("the broker is away")

    with pytest.raises(UnavailableError):
        proposals.approve(proposal.id, "bo", proposal.revision, fail)
    found = proposals.find(proposal.id)
    assert (found.state, found.decided_by) == ("submitted", "")
    assert audit.events[-1][0] == "policy.not-applied"
    assert proposals.approve(proposal.id, "cy", found.revision, applied).state == "in_force"


def test_a_process_that_ended_in_between_leaves_nothing_stuck(proposals: Proposals, dial: Dial) -> None:
    """After a minute the change may be carried out again."""
    proposal = proposals.propose("ana", "one", "because")
    proposals._step(
        proposal.id, "bo", "approved", proposal.revision, own=False, was=("submitted",),
        now={"state": "applying", "decided_by": "bo", "decided_at": dial.now_ms()},
    )  # fmt: skip
    stuck = proposals.find(proposal.id)
    with pytest.raises(InputError, match="is applying now"):
        proposals.approve(proposal.id, "cy", stuck.revision, applied)
    dial.now += MINUTE + 1
    assert proposals.approve(proposal.id, "cy", stuck.revision, applied).decided_by == "cy"


def test_refusing_and_discarding(proposals: Proposals) -> None:
    """A refusal needs a reason, which the author reads before editing again; what is discarded is not listed."""
    proposal = proposals.propose("ana", "one", "because")
    with pytest.raises(InputError, match="reason"):
        proposals.refuse(proposal.id, "bo", " \0 ", proposal.revision)
    with pytest.raises(InputError, match="reason"):
        proposals.refuse(proposal.id, "bo", "x" * (LONGEST_REASON + 1), proposal.revision)
    refused = proposals.refuse(proposal.id, "bo", "too broad", proposal.revision)
    assert (refused.state, refused.answer) == ("refused", "too broad")
    draft = proposals.withdraw(proposal.id, "ana", refused.revision)
    assert (draft.state, draft.answer) == ("draft", "")
    proposals.discard(draft.id, "ana", draft.revision)
    assert proposals.latest() == []
    with pytest.raises(InputError, match="changed meanwhile"):
        proposals.submit(draft.id, "ana", "because", draft.revision + 1)


def test_kinds_are_apart(engine: Engine, proposals: Proposals, audit: Log, dial: Dial) -> None:
    """A proposal about models is not found among those about the policy."""
    other = Proposals(engine, audit, dial, "models").propose("ana", "one", "because")
    assert proposals.latest() == []
    with pytest.raises(InputError, match="no proposal"):
        proposals.find(other.id)


def test_a_step_that_cannot_be_recorded_does_not_happen(engine: Engine, dial: Dial, tmp_path: Path) -> None:
    """The audit log is full or was tampered with."""
    settings = AuditSettings(path=str(tmp_path / "audit.jsonl"), key=Secret("k" * 64))
    with open_audit(settings, dial, "console") as log:
        proposal = Proposals(engine, log, dial, "policy").propose("ana", "one", "because")
        assert [record.event for record in show(settings, last=9)] == ["policy.submitted"]

    class Full:
        def record(self, *_given: object, **_more: object) -> None:
            raise UnavailableError("the disk is full")

    full = Proposals(engine, Full(), dial, "policy")
    with pytest.raises(UnavailableError):
        full.withdraw(proposal.id, "ana", proposal.revision)
    assert full.find(proposal.id).state == "submitted"
