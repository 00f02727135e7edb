"""The console: web pages where the fraud team, auditors and operators work.

The entry points: `bootstrap.run` for `vedette console run`, `accounts.admin` for its users, and `routes.ROUTES`, which
says for every page who may open it.
"""
