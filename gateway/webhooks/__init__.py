"""Webhooks: events of the log, signed and posted to the institution's own addresses until they are taken.

Entry points: `bootstrap.run` relays and sends, `admin` is for the command line, `api.WebhookApi` for programs.
"""
