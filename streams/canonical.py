"""Checks of canonical spelling for a whole batch at once; `vedette.events.canonical` checks one event.

msgspec checks types, lengths, currencies and countries during decoding. A pattern for each of the other fields would
double the decoding time, so they are checked here as Arrow columns.
"""

from socket import AF_INET6, inet_ntop, inet_pton

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.texts import truth
from vedette.codes import ip_address
from vedette.errors import InputError
from vedette.events import EXACT_FIELDS

_BYTE = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = rf"^(?:{_BYTE}\.){{3}}{_BYTE}$"
_CATEGORY = r"^[0-9]{4}$"


def misspelt(batch: pa.RecordBatch) -> NDArray[np.bool_]:
    """Return bool [n], whether `vedette.events.canonical` refuses an id or the category of each payment."""
    wrong = np.zeros(len(batch), np.bool_)
    for name in EXACT_FIELDS:
        ids = batch.column(name)
        if ids.null_count < len(ids):
            wrong |= truth(pc.not_equal(pc.utf8_trim_whitespace(ids), ids))
    category = batch.column("mcc")
    if category.null_count < len(category):
        wrong |= truth(pc.invert(pc.match_substring_regex(category, _CATEGORY)))
    return wrong


def canonical_addresses(addresses: pa.Array) -> tuple[pa.Array, NDArray[np.bool_]]:
    """Return the addresses in canonical text, and bool [n], which of them are not valid; these become null."""
    refused = np.zeros(len(addresses), np.bool_)
    if addresses.null_count == len(addresses):
        return addresses, refused
    other = np.flatnonzero(truth(pc.invert(pc.match_substring_regex(addresses, _IPV4))))
    if not len(other):
        return addresses, refused
    spelt = addresses.take(pa.array(other)).to_pylist()
    texts = _plain_ipv6(spelt) or [_canonical(text) for text in spelt]
    refused[other] = [text is None for text in texts]
    replaced = np.zeros(len(addresses), np.bool_)
    replaced[other] = True
    return pc.replace_with_mask(addresses, pa.array(replaced), pa.array(texts, pa.string())), refused


def _plain_ipv6(addresses: list[str]) -> list[str | None] | None:
    """Return RFC 5952 text if all are IPv6 and none is IPv4 in IPv6 form, else None; faster than one by one."""
    try:
        texts: list[str | None] = [inet_ntop(AF_INET6, inet_pton(AF_INET6, text)) for text in addresses]
    except (OSError, ValueError):
        return None
    return None if any(text.startswith("::ffff:") for text in texts if text) else texts


def _canonical(text: str) -> str | None:
    try:
        return ip_address(text)
    except InputError:
        return None
