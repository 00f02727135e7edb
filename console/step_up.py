"""A fresh proof of who it is before steps that concern many payments: a code here, or a confirmation on /me/confirm."""

from console.accounts.staff_sessions import StaffSessions, StaffVisit
from console.accounts.users import Users


class StepUp:
    """Asks for a proof unless one was given in the last minutes.

    Args:
        users: The accounts.
        sessions: The sessions.
    """

    def __init__(self, users: Users, sessions: StaffSessions) -> None:
        self._users, self._sessions = users, sessions

    def needed(self, visit: StaffVisit) -> bool:
        """Return whether a proof is needed."""
        return not self._sessions.proven(visit)

    def wrong(self, visit: StaffVisit) -> str:
        """Return the key of the text for somebody who has not passed."""
        return "code_wrong" if visit.user.app else "confirm_missing"

    def passed(self, visit: StaffVisit, code: str) -> bool:
        """Return whether a person may go on, given the code that they gave."""
        if self._sessions.proven(visit):
            return True
        if not visit.user.app or not self._users.prove(visit.user, code):
            return False
        self._sessions.prove(visit)
        return True
