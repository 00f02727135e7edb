"""State blobs: small, unchanged by a round trip, and harmless when damaged."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.account_codec import VERSION as ACCOUNT_VERSION
from features.activity import Activity, of_payments, unusualness
from features.catalogue import ENTITIES, NAMES
from features.engine import advance_accounts, advance_entities, query_entities
from features.entity_codec import VERSION as ENTITY_VERSION
from features.rows import MOST, layout
from tests.features.oracle import Event, Payment
from tests.features.streams import START, columns_of, streams, through_kernel, truth
from vedette.clock import DAY, HOUR, MINUTE
from vedette.errors import StateError

NONE = np.empty(0, np.int64)
_BYTES = NONE.view(np.uint8)
NOTHING = Activity(NONE.view(np.uint64), _BYTES, NONE, NONE, NONE, NONE, _BYTES, _BYTES, NONE.view(np.int8))

_tiled = through_kernel(
    [
        event
        for p in (
            Payment(f"t{i}", "a", START + i * HOUR // 3, 100 + i, merchant_id=f"m{i % 3}", device_id=f"d{i % 2}")
            for i in range(900)
        )
        for event in (p, truth(p, fraud=p.amount % 5 == 0))
    ],
    1000,
)
"""An account with tiles, merchants and devices."""


def account_blobs() -> st.SearchStrategy[bytes]:
    """States of accounts, with tiles and without."""
    few = streams(largest=12).map(lambda events: next(iter(through_kernel(events, 1000).accounts.values())))
    return st.one_of(few, st.just(_tiled.accounts["a"]))


def entity_blobs() -> st.SearchStrategy[bytes]:
    """States of merchants, devices and addresses."""
    few = streams(largest=12).map(lambda events: [*through_kernel(events, 1000).entities.values()])
    return st.one_of(few.filter(bool).flatmap(st.sampled_from), st.sampled_from(list(_tiled.entities.values())))


def read_account(blob: bytes) -> bytes:
    """Return an account's blob after one more payment, whose features have the right form."""
    columns, label = columns_of([Payment("now", "a", START + 50 * DAY, 1234, merchant_id="m", device_id="d")])
    advanced = advance_accounts([blob], np.zeros(1, np.int64), columns, label)
    assert advanced.features.shape == (1, len(NAMES))
    assert advanced.features[0, NAMES.index("amount_major")] == 12.34
    return advanced.blobs[0]


def read_entity(blob: bytes) -> bytes:
    """Return an entity's blob after a query, as merchant and as device, and one more payment."""
    columns, _ = columns_of([Payment("now", "a", START + 50 * DAY, 1234, device_id="d")])
    features = np.zeros((1, len(NAMES)))
    query_entities([blob], np.array([[0, 0, -1, 0, 0]]), columns, features)
    flags = np.zeros((1, len(ENTITIES)), np.uint8)
    return advance_entities([blob], np.zeros(1, np.int64), of_payments(columns, unusualness(features), flags).activity)[
        0
    ]


@settings(deadline=None, max_examples=100)
@given(streams())
def test_round_trip(events: list[Event]) -> None:
    """A state that is read and written without an event in between is the same, byte for byte."""
    result = through_kernel(events, 1000)
    accounts, entities = list(result.accounts.values()), list(result.entities.values())
    nothing, _ = columns_of([])
    assert advance_accounts(accounts, NONE, nothing).blobs == accounts
    assert advance_entities(entities, NONE, NOTHING) == entities


def test_round_trip_with_tiles() -> None:
    """Tiles, too, are the same after a round trip."""
    accounts, entities = list(_tiled.accounts.values()), list(_tiled.entities.values())
    nothing, _ = columns_of([])
    assert accounts[0][3] > 0  # it does have tiles
    assert advance_accounts(accounts, NONE, nothing).blobs == accounts
    assert advance_entities(entities, NONE, NOTHING) == entities


Read = Callable[[bytes], bytes]


def refused_or_read(read: Read, blob: bytes) -> None:
    """A damaged blob is either refused, or read as a state that can be written and read again."""
    try:
        after = read(blob)
    except StateError:
        return
    assert len(after) < 200_000
    read(after)


@pytest.mark.parametrize(("read", "blobs"), [(read_account, account_blobs()), (read_entity, entity_blobs())])
def test_truncated_blobs_are_refused(read: Read, blobs: st.SearchStrategy[bytes]) -> None:
    """A truncated or extended blob is refused."""

    @settings(deadline=None, max_examples=60)
    @given(blobs, st.data())
    def check(blob: bytes, data: st.DataObject) -> None:
        kept = data.draw(st.integers(1, len(blob) - 1))
        with pytest.raises(StateError):
            read(blob[:kept])
        with pytest.raises(StateError):
            read(blob + data.draw(st.binary(min_size=1, max_size=9)))

    check()


@pytest.mark.parametrize(("read", "blobs"), [(read_account, account_blobs()), (read_entity, entity_blobs())])
def test_mutated_blobs_are_harmless(read: Read, blobs: st.SearchStrategy[bytes]) -> None:
    """Whatever bytes of a blob are changed, it is refused or read, and what is then written can be read again."""

    @settings(deadline=None, max_examples=150)
    @given(blobs, st.lists(st.tuples(st.integers(0), st.one_of(st.integers(0, 255), st.just(255))), min_size=1))
    def check(blob: bytes, changes: list[tuple[int, int]]) -> None:
        mutated = bytearray(blob)
        for at, byte in changes:
            mutated[at % len(blob)] = byte
        refused_or_read(read, bytes(mutated))

    check()


@pytest.mark.parametrize("read", [read_account, read_entity])
def test_random_bytes_are_harmless(read: Read) -> None:
    """Any bytes after a valid version are refused or read."""

    @settings(deadline=None, max_examples=150)
    @given(st.binary(max_size=3), st.lists(st.binary(max_size=400), max_size=20))
    def check(rows: bytes, body: list[bytes]) -> None:
        refused_or_read(read, bytes([1]) + rows + b"".join(body))

    check()


def test_more_identifiers_than_any_state_has_are_refused() -> None:
    """A blob that claims 65,535 events, each with different identifiers, does not fill the kernel's table forever."""
    first = varint(START + 50 * DAY - 65_535)
    head = bytes([ACCOUNT_VERSION]) + (65_535).to_bytes(2, "little") + bytes(5)
    flags, known = 0b11111, 1
    rows = []
    for i in range(65_535):
        row = (bytes([1]) if i else first) + bytes([1, 0, 0, 0, flags])
        for _ in range(5):
            row += varint(known) + known.to_bytes(4, "little")
            known += 1
        rows.append(row)
    with pytest.raises(StateError):
        read_account(head + b"".join(rows))


def varint(value: int) -> bytes:
    """LEB128."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def test_a_lying_row_count_allocates_little() -> None:
    """However many rows a blob claims to have, memory is allocated for no more than a state can hold."""
    claims = bytes([1, 255, 255])
    starts = np.array([0, 3, 6], np.int64)
    assert layout(np.frombuffer(claims * 2, np.uint8), starts, NONE).tolist() == [0, MOST, 2 * MOST]


@pytest.mark.parametrize(
    ("read", "version", "what"),
    [(read_account, ACCOUNT_VERSION, "account"), (read_entity, ENTITY_VERSION, "entity")],
)
def test_unknown_version_is_refused(read: Read, version: int, what: str) -> None:
    """A blob of another release is refused, and the error gives the key, its first bytes and the remedy."""
    blob = bytearray(_tiled.accounts["a"] if what == "account" else next(iter(_tiled.entities.values())))
    for other in (version - 1, version + 1):
        blob[0] = other
        with pytest.raises(StateError, match=f"{what} cannot be read .it begins with 0{other}.*backfill --load"):
            read(bytes(blob))


def test_size_of_a_typical_account() -> None:
    """Twenty payments within 31 days, typical of a card, take at most 480 bytes."""
    dice = np.random.default_rng(5)
    sizes = []
    for card in range(200):
        times = START + np.sort(dice.integers(0, 31 * DAY, 20) // MINUTE * MINUTE) + dice.integers(0, MINUTE, 20)
        shops = dice.integers(0, 10, 20)
        payments = [
            Payment(
                f"c{card}-{i}",
                "a",
                int(times[i]),
                int(dice.lognormal(8, 1)),
                merchant_id=f"m{shops[i]}",
                mcc=f"{5000 + shops[i] % 5}",
                device_id=str(dice.choice(["phone", "phone", "laptop"])),
                country=str(dice.choice(["DE", "DE", "DE", "DE", "AT"])),
                payee=None,
                lat=float(dice.normal(52.5, 0.1)),
                lon=float(dice.normal(13.4, 0.1)),
                balance=100_000,
            )
            for i in range(20)
        ]
        sizes.append(len(through_kernel(payments, 20).accounts["a"]))
    assert max(sizes) <= 480
