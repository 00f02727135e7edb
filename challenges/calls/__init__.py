"""Call checks: bank and customer prove their identity to each other on the phone.

The representative reads out code A, which the customer's page also shows; once the customer has heard it, the page
shows code B to read back, which the representative enters. `state_machine` defines the transitions (pure), `store`
applies them atomically, `checks` is the entry point; `desk_pages` and `pages` are the screens of both sides, `api` is
for the institution's own programs, `outbox_relay` publishes how checks ended.
"""
