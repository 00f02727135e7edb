"""Card numbers that reach the topics of transactions and labels, in the worker and in what operators see of it."""

from collections.abc import Callable

import msgspec
import pyarrow as pa
import pytest

from adapters.dead_letters import ENCRYPTED, MASKED
from archive.tables import tables_of
from features.hashing import hash_strings
from features.identity import OPEN
from features.store import RedisStore
from streams.decode import RawMessage
from streams.history.dead_letters import find, letters, replay, replayable
from streams.history.run_output import Topics
from tests.streams.conftest import MakePipeline, NewDeployment
from tests.streams.feed import Record
from tests.streams.test_pipeline import ALL, finish
from vedette import keys
from vedette.card_numbers import CardNumbers, CardTokens
from vedette.errors import SettingsError
from vedette.events import Decision, Label, Transaction
from vedette.settings import Settings
from vedette.settings_base import Secret
from vedette.settings_cards import CardSettings
from vedette.topics import Name

CARD, OTHER = "4111111111111111", "5555555555554444"
KEY, LETTERS = Secret(text="the key of card numbers of this test"), Secret(text="the key of dead letters of this test")
TOKENISE = CardSettings(numbers="tokenise", key=KEY, dead_letter_key=LETTERS)
NOW = 1_600_000_000_000

OpenTopics = Callable[[Settings], Topics]


def paid(number: str, **fields: object) -> bytes:
    """Return a payment as a message."""
    given = {
        "transaction_id": f"t-{number}", "account_id": f"a-{number}", "amount": 90_000, "currency": "EUR",
        "event_time": NOW, "merchant_id": "m-1",
    }  # fmt: skip
    return msgspec.json.encode(given | fields)


PAYMENTS = (
    paid("1"),
    paid("2", account_id=CARD, payee=f"iban of {OTHER}"),  # in the form that compiled code reads
    paid("3", account_id=CARD).replace(b"4111", b"\\u0034111"),
    paid("4", extra={"pan": float(CARD)}),
    paid("5", account_id=int(CARD)),
    paid("6", transaction_id=OTHER, device_id="4111 1111 1111 1111"),
)
LABEL = Label(transaction_id="t-2", account_id=CARD, fraud=True, source="bank", event_time=NOW, labelled_at=NOW)


def records(*values: bytes) -> dict[int, list[Record]]:
    """Return messages of partition 0, whose keys are a card number."""
    return {0: [Record(CARD.encode(), value, 0, offset) for offset, value in enumerate(values)]}


@pytest.fixture
def process(
    deployment: NewDeployment, pipeline: MakePipeline, topics: OpenTopics
) -> Callable[[CardSettings], tuple[Settings, Topics]]:
    """Has a worker's stages process PAYMENTS and LABEL under these settings."""

    def run(cards: CardSettings) -> tuple[Settings, Topics]:
        settings = msgspec.structs.replace(deployment(cards.numbers), cards=cards)
        worker = pipeline(settings)
        worker.assign(ALL)
        for topic, values in ((Name.TRANSACTIONS, PAYMENTS), (Name.LABELS, [msgspec.json.encode(LABEL)])):
            computed = worker.compute(topic, records(*values))
            assert computed
            finish(worker, computed)
        return settings, topics(settings)

    return run


def published(found: Topics) -> list[bytes]:
    """Return keys, values and headers of everything that was published."""
    messages = [message for name in Name for message in found.messages(name)]
    headers = [value for message in messages for _, value in message.headers() or ()]
    return [part for message in messages for part in (message.key(), message.value()) if part] + headers


def reasons(settings: Settings, *, decrypt: bool = False) -> dict[str, str]:
    """Return the reasons of dead letters by their offset in the source topic."""
    return {f"{one.topic[-6:]} {one.source}": one.reason for one in letters(settings, decrypt=decrypt)}


def test_the_worker_makes_tokens(process: Callable[[CardSettings], tuple[Settings, Topics]]) -> None:
    """However a card number is written, state, decisions, features and activity have its token; none is published."""
    settings, found = process(TOKENISE)
    decisions = [msgspec.json.decode(m.value(), type=Decision) for m in found.messages(Name.DECISIONS)]
    token, other = map(CardTokens(KEY).account_of, (CARD, OTHER))
    assert {one.transaction_id: one.account_id for one in decisions} == {
        "t-1": "a-1", "t-2": token, "t-3": token, other: "a-6",
    }  # fmt: skip
    assert {one.transaction_id: one.payee for one in decisions}["t-2"] == f"iban of {other}"
    store = RedisStore(settings.redis)
    (hashed,) = hash_strings(pa.array([token]), OPEN.keys["account_id"]).tolist()
    assert store.load([keys.hashed(keys.account(settings.redis.prefix, 0), hashed)])[0] is not None
    store.close()
    assert not any(number.encode() in part for part in published(found) for number in (CARD, OTHER))


def test_dead_letters_are_encrypted(process: Callable[[CardSettings], tuple[Settings, Topics]]) -> None:
    """Those with card numbers are read with key and flag alone, and replayed as tokens; what is refused again stays."""
    settings, found = process(TOKENISE)
    assert reasons(settings) == {
        "ctions 0:3": "`extra.pan` is a card number, which is not accepted here: send a token in its place, or set "
        '[cards] numbers = "tokenise" with a key; docs/security.md says more',
        "ctions 0:4": "Expected `str`, got `int` - at `$.account_id`",
    }
    chosen = list(letters(settings))
    assert all(one.encrypted and one.key is one.value is None for one in chosen)
    assert all(ENCRYPTED in dict(message.headers()) for message in found.messages(Name.DLQ))
    opened = {one.source: one for one in letters(settings, decrypt=True)}
    assert (opened["0:4"].key, opened["0:4"].value) == (CARD.encode(), PAYMENTS[4])
    assert find(settings, chosen[0].id, decrypt=True).value in PAYMENTS
    assert replayable(settings, chosen).sent == []
    assert sorted(one.source for one in replayable(settings, list(opened.values())).left) == ["0:3", "0:4"]
    accepting = msgspec.structs.replace(settings, cards=CardSettings(numbers="accept"))
    with pytest.raises(SettingsError, match="dead_letter_key is not set"):
        list(letters(accepting, decrypt=True))
    wrong = msgspec.structs.replace(settings, cards=CardSettings(dead_letter_key=KEY))
    with pytest.raises(SettingsError, match="dead_letter_key is another one"):
        list(letters(wrong, decrypt=True))


def test_what_was_refused_is_replayed_as_tokens(process: Callable[[CardSettings], tuple[Settings, Topics]]) -> None:
    """Refused payments are dead letters, encrypted; once tokens are made, a replay sends them under their tokens."""
    settings, found = process(CardSettings(dead_letter_key=LETTERS))
    assert {msgspec.json.decode(m.value(), type=Decision).transaction_id for m in found.messages(Name.DECISIONS)} == {
        "t-1"
    }
    assert len(reasons(settings)) == 6
    assert not any(number.encode() in part for part in published(found) for number in (CARD, OTHER))
    later = msgspec.structs.replace(settings, cards=TOKENISE)
    sent, left = replayable(later, list(letters(later, decrypt=True)))
    assert (len(sent), len(left)) == (4, 2)
    replay(later, sent, remember=False)
    token = CardTokens(KEY).account_of(CARD)
    again = [msgspec.json.decode(m.value(), type=Transaction) for m in found.messages(Name.TRANSACTIONS)]
    assert sorted(event.account_id for event in again) == ["a-6", token, token]
    (label,) = found.messages(Name.LABELS)
    assert (label.key(), msgspec.json.decode(label.value(), type=Label).account_id) == (token.encode(), token)


def test_without_a_key_only_a_masked_copy_is_kept(
    process: Callable[[CardSettings], tuple[Settings, Topics]],
) -> None:
    """It shows ten digits at most, and is never replayed."""
    settings, found = process(CardSettings())
    kept = {message.value() for message in found.messages(Name.DLQ) if MASKED in dict(message.headers())}
    assert len(kept) == 6
    assert PAYMENTS[4].replace(CARD.encode(), b"411111******1111") in kept
    assert not any(number.encode() in part for part in published(found) for number in (CARD, OTHER))
    assert b"\\u0034" not in b"".join(published(found))
    assert replayable(msgspec.structs.replace(settings, cards=TOKENISE), list(letters(settings))).sent == []


def test_ids_that_only_look_like_card_numbers_can_be_accepted(
    process: Callable[[CardSettings], tuple[Settings, Topics]],
) -> None:
    """Then they are kept as they are."""
    settings, found = process(CardSettings(numbers="accept"))
    decided = {msgspec.json.decode(m.value(), type=Decision).account_id for m in found.messages(Name.DECISIONS)}
    assert decided == {"a-1", CARD, "a-4", "a-6"}
    assert reasons(settings).keys() == {"ctions 0:4"}


def test_the_archive_keeps_tokens() -> None:
    """Its tables of transactions and labels have tokens, or leave the message out, as the worker does."""
    messages = [RawMessage(None, value, 0, offset, NOW) for offset, value in enumerate(PAYMENTS)]
    table = next(table for table in tables_of(CardNumbers(TOKENISE)) if table.topic == Name.TRANSACTIONS)
    rows, rejected = table.rows(messages)
    token = CardTokens(KEY).account_of(CARD)
    assert rows.column("account_id").to_pylist() == ["a-1", token, token, "a-6"]
    assert [message.offset for message in rejected] == [3, 4]
