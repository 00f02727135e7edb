"""Call checks: bank and customer prove to each other on the phone who they are.

The representative reads out code A, which the customer's page shows too; once the customer has heard it, the page gives
code B to read back, which the representative types in. `engine` says what may happen (pure), `store` does it in one
atomic step, `checks` is the door; `desk_pages` and `pages` are the screens of both sides, `api` is for the
institution's own, `clerk` publishes how checks ended.
"""
