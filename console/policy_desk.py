"""The policy for people: what is in force, drafts with their differences, and putting one into force by four eyes."""

import hashlib
from functools import lru_cache

import msgspec

from console.changes.proposals import Proposal, Proposals
from console.control_topic import ControlTopic
from decisions.policy import Policy
from decisions.policy_difference import PolicyChange, TextLine, difference, text_difference
from decisions.policy_record import policy_files, policy_of, policy_record
from vedette.clock import Clock
from vedette.control import POLICY_FILE
from vedette.errors import InputError
from vedette.settings import DecisionSettings

Files = dict[str, str]


class PolicyInForce(msgspec.Struct, frozen=True, kw_only=True):
    """The policy that decides now.

    Attributes:
        name: Name and version.
        files: The policy and the files of its lists, by name.
        at: Since when, milliseconds since 1970 UTC; None: it is that of the settings.
        approver: Who approved it.
        reason: Why.
    """

    name: str
    files: Files
    at: int | None = None
    approver: str = ""
    reason: str = ""

    @property
    def digest(self) -> str:
        """Return a hash of name and files."""
        return hashlib.sha256(msgspec.json.encode((self.name, sorted(self.files.items())))).hexdigest()


class DraftContent(msgspec.Struct, frozen=True):
    """The content of a draft: the policy and the files of its lists."""

    files: Files


class PolicyComparison(msgspec.Struct, frozen=True):
    """What a draft changes: part by part, and as text by file."""

    changes: list[PolicyChange]
    texts: dict[str, list[TextLine]]


class PolicyDesk:
    """Reading and changing the policy in force.

    Args:
        control: The control topic.
        settings: The policy that decides until there is a record.
        drafts: Proposals of policies.
        clock: The clock.
    """

    def __init__(self, control: ControlTopic, settings: DecisionSettings, drafts: Proposals, clock: Clock) -> None:
        self._control, self._settings, self.drafts, self._clock = control, settings, drafts, clock

    def in_force(self, *, fresh: bool = False) -> PolicyInForce:
        """Return the policy in force.

        Raises:
            UnavailableError: The broker does not answer, so that it is unknown.
            InputError: The record in force cannot be read.
            PolicyError: The policy of the settings is not valid.
        """
        record = self._control.state(fresh=fresh).policy
        if record:
            return PolicyInForce(
                name=record.name, files=record.files, at=record.at, approver=record.approver, reason=record.reason
            )
        files = policy_files(self._settings.policy_file)
        return PolicyInForce(name=parsed(files).name, files=files)

    def begin(self, who: str, *, copy: int | None = None, before: bool = False) -> Proposal:
        """Begin a draft.

        Args:
            who: Who drafts.
            copy: Another draft to start from; None: the policy in force.
            before: Start from what was in force before that draft was, which is how one goes back.

        Raises:
            InputError: There is no such draft, or nothing from before it.
            UnavailableError: The policy in force is unknown.
        """
        if copy is None:
            files = self.in_force(fresh=True).files
        else:
            other = self.drafts.find(copy)
            replaced = replaced_by(other)
            if before and replaced is None:
                raise InputError(f"draft {copy} was never in force, so there is nothing from before it")
            files = replaced.files if before and replaced else files_of(other)
        return self.drafts.draft(who, _encoded(files))

    def save(self, number: int, who: str, files: Files, revision: int) -> Proposal:
        """Save one's own draft, valid or not.

        Raises:
            InputError: It is not a draft of this person, or has been changed meanwhile.
        """
        return self.drafts.edit(number, who, _encoded(files), revision)

    def submit(self, number: int, who: str, reason: str, revision: int) -> Proposal:
        """Ask for approval of a valid draft with a version of its own.

        Raises:
            PolicyError: It is not valid.
            InputError: It changes nothing, keeps the version of what is in force, or cannot be submitted.
            UnavailableError: The policy in force is unknown.
        """
        files = files_of(self.drafts.find(number))
        name, now = parsed(files).name, self.in_force(fresh=True)
        if files == now.files:
            raise InputError("the draft changes nothing")
        if name == now.name:
            raise InputError(f"{name} is in force with another content", remedy="raise `version`")
        return self.drafts.submit(number, who, reason, revision)

    def approve(self, number: int, who: str, revision: int, seen: str) -> Proposal:
        """Put somebody else's draft into force.

        Args:
            number: The draft.
            who: Who approves.
            revision: The revision that this person has seen.
            seen: Digest of the policy in force with which this person has compared it.

        Raises:
            InputError: It cannot be approved, or something else has come into force meanwhile.
            PolicyError: It is not valid.
            UnavailableError: The broker does not answer.
        """

        def apply(draft: Proposal) -> str:
            now = self.in_force(fresh=True)
            if now.digest != seen:
                raise InputError(f"{now.name} has come into force meanwhile", remedy="look at the difference again")
            at = self._clock.now_ms()
            self._control.publish(policy_record(files_of(draft), approver=who, reason=draft.reason, at=at))
            return msgspec.json.encode(now).decode()

        return self.drafts.approve(number, who, revision, apply)


def files_of(draft: Proposal) -> Files:
    """Return the files of a draft."""
    return msgspec.json.decode(draft.content, type=DraftContent).files


def replaced_by(draft: Proposal) -> PolicyInForce | None:
    """Return the policy whose place a draft has taken, if it has come into force."""
    return msgspec.json.decode(draft.before, type=PolicyInForce) if draft.before else None


def compared(before: Files, after: Files) -> PolicyComparison:
    """Return what differs.

    Raises:
        PolicyError: One of them is not valid.
    """
    return PolicyComparison(difference(parsed(before), parsed(after)), text_difference(before, after))


def parsed(files: Files) -> Policy:
    """Return the policy of some files.

    Raises:
        PolicyError: It is not valid.
    """
    return _parsed(tuple(sorted(files.items())))


@lru_cache(16)
def _parsed(files: tuple[tuple[str, str], ...]) -> Policy:
    return policy_of(dict(files))


def _encoded(files: Files) -> str:
    plain = {name: text.replace("\r\n", "\n") for name, text in files.items()}
    plain.setdefault(POLICY_FILE, "")
    return msgspec.json.encode(DraftContent(plain)).decode()
