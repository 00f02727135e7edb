"""Links to an account's pages, which the institution gives to identified customers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import msgspec

from access.keyring import Entropy, Keyring
from challenges.codes import new_token
from challenges.sessions import Session
from challenges.store import ChallengeStore
from vedette.clock import MINUTE

LIFETIME = 10 * MINUTE

LinkKind = Literal["enrolment", "call"]


@dataclass(frozen=True, slots=True)
class AccountLinks:
    """Links of one kind: valid once, for ten minutes, in the account's current epoch, while their maker is authorised.

    Args:
        kind: Kind of the pages they open.
        store: Store of the links.
        keys: The keyring.
        entropy: Source of unpredictable bytes.
        in_force: Whether a credential is in force, by its id; checked for the maker of a used link.
        one_live: Whether a new link voids the account's previous one.
    """

    kind: LinkKind
    store: ChallengeStore
    keys: Keyring
    entropy: Entropy
    in_force: Callable[[str], bool]
    one_live: bool

    def make(self, account_id: str, maker: str) -> str:
        """Return the token of a new link; `maker` is a credential's id, or empty."""
        token = new_token(self.entropy)
        name = self.keys.hash(self._purpose, token)
        session = Session(account_id, epoch=self.store.account(account_id).epoch, maker=maker)
        self.store.remember(self.kind, name, msgspec.json.encode(session).decode(), LIFETIME)
        self.store.remember(f"latest {self.kind}", account_id, name, LIFETIME)
        return token

    def follow(self, token: str) -> Session | None:
        """Consume a link: return the session it begins, or None if it is unknown, used, expired, or void."""
        for name in self.keys.fingerprints(self._purpose, token):
            if (found := self.store.drop(self.kind, name)) is None:
                continue
            session = msgspec.json.decode(found, type=Session)
            replaced = self.one_live and self.store.recall(f"latest {self.kind}", session.subject) != name
            return None if replaced or not self.good(session) else session
        return None

    def good(self, session: Session) -> bool:
        """Return whether the link's authority is still valid: no reset, lost factor or revoked maker since."""
        if self.store.account(session.subject).epoch != session.epoch:
            return False
        return not session.maker or self.in_force(session.maker)

    @property
    def _purpose(self) -> str:
        return f"{self.kind} link"
