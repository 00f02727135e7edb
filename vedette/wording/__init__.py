"""The catalogue of words for reasons: every code with its text in each language.

`reason` words a statement when a payment is decided; `text_of` gives it again in the language of whoever reads it.
"""

from vedette.wording.catalogue import DEFAULT_LANGUAGE, codes, languages, templates
from vedette.wording.reason import Value, reason, text_of

__all__ = ["DEFAULT_LANGUAGE", "Value", "codes", "languages", "reason", "templates", "text_of"]
