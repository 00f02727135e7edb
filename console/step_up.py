"""A fresh code of the authenticator app before steps that concern many payments."""

from console.accounts.staff_sessions import StaffSessions, StaffVisit
from console.accounts.users import Users


class StepUp:
    """Asks for a code unless one was given in the last minutes.

    Args:
        users: The accounts.
        sessions: The sessions.
    """

    def __init__(self, users: Users, sessions: StaffSessions) -> None:
        self._users, self._sessions = users, sessions

    def needed(self, visit: StaffVisit) -> bool:
        """Return whether a code is needed."""
        return not self._sessions.proven(visit)

    def passed(self, visit: StaffVisit, code: str) -> bool:
        """Return whether a person may go on, given the code that they gave."""
        if self._sessions.proven(visit):
            return True
        if not self._users.prove(visit.user, code):
            return False
        self._sessions.prove(visit)
        return True
