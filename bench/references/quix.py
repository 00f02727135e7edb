"""The same features and the same model as a Quix Streams application, written as its documentation recommends.

The choices and their reasons:

- State is in the library's RocksDB store with changelog topics, which are the defaults, with the default commit
  interval of 5 s and the default guarantee, at least once. The state of an account or merchant is the same blob as in
  Vedette, read and written as bytes, so no time is spent on JSON.
- State is only accessible under the key of the current message. So the account's features are computed where the
  payment arrives, and the payment is sent with them through `group_by` to its merchant, where the merchant's are added.
- The library has no batches across keys: its windows collect per key, its sinks end a stream. So the kernel and the
  model are called per event, without the conversion to Arrow that pays off only for batches.
- It does not do everything that Vedette does: devices and addresses, which would need two more `group_by`, labels, the
  policy's rules, reasons, alerts, the feature log and dead letters are left out.

Run as a module with the arguments: broker, redis URL (not used), topic prefix, model file, number of events, all of
which must be on the topic and no more.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from quixstreams import Application, State

from features.activity import of_payments, unusualness
from features.catalogue import ENTITIES
from features.columns import Columns
from features.engine import advance_accounts, advance_entities, query_entities
from features.hashing import hash_strings, narrow
from features.identity import OPEN
from features.kernel_account import DUPLICATE, MISSING, PAYS
from models.scorer import load_scorer
from vedette.events import Decision, Transaction
from vedette.money import exponent
from vedette.topics import Name

STATE = "state"
CHALLENGE_FROM = 0.5
_SLOT = np.zeros(1, np.int64)
_NO_ACCOUNT = np.zeros(1, np.int64)
_PAYMENT = np.full(1, PAYS, np.int8)
_NOTHING = np.array([MISSING])
_NO_FLAGS = np.zeros((1, len(ENTITIES)), np.uint8)
_MERCHANT_ONLY = np.array([[0, -1, -1, -1, -1]])


class Enriched(msgspec.Struct, array_like=True, gc=False):
    """A payment on its way from its account to its merchant, with the account's features as float64 bytes."""

    payment: Transaction
    features: bytes


def main(broker: str, _redis_url: str, prefix: str, model_file: str, events: str) -> None:
    """Process this number of events, print their rate as JSON, and exit."""
    wanted = int(events)
    scorer = load_scorer(Path(model_file).parent)
    decode = msgspec.json.Decoder(Transaction).decode
    encode = msgspec.json.Encoder().encode
    pack = msgspec.msgpack.Encoder().encode
    unpack = msgspec.msgpack.Decoder(Enriched).decode
    done, started = 0, 0.0

    def at_account(value: bytes, state: State) -> bytes | None:
        nonlocal started
        started = started or time.perf_counter()
        payment = decode(value)
        advanced = advance_accounts([state.get_bytes(STATE)], _SLOT, _columns(payment))
        state.set_bytes(STATE, advanced.blobs[0])
        if advanced.status[0] == DUPLICATE:
            return None
        return pack(Enriched(payment, advanced.features.tobytes()))

    def at_merchant(value: bytes, state: State) -> bytes:
        enriched = unpack(value)
        payment = enriched.payment
        features = np.frombuffer(bytearray(enriched.features), np.float64).reshape(1, -1)
        if payment.merchant_id is not None:
            blob = state.get_bytes(STATE)
            columns = _columns(payment)
            query_entities([blob], _MERCHANT_ONLY, columns, features)
            activity = of_payments(columns, unusualness(features), _NO_FLAGS).activity
            state.set_bytes(STATE, advance_entities([blob], _SLOT, activity)[0])
        return encode(_decision(payment, float(scorer.predict(features)[0]), scorer.version, scorer.features_hash))

    with tempfile.TemporaryDirectory() as directory:
        app = Application(
            broker,
            consumer_group=f"{prefix}quix",
            auto_offset_reset="earliest",
            state_dir=directory,
            loglevel="WARNING",
        )

        def count(_: Any) -> None:
            nonlocal done
            done += 1
            if done == wanted:
                print(json.dumps({"rate_per_s": done / (time.perf_counter() - started)}), flush=True)
                app.stop()

        stream = app.dataframe(app.topic(prefix + Name.TRANSACTIONS, value_deserializer="bytes"))
        stream = stream.apply(at_account, stateful=True).filter(lambda value: value is not None)
        stream = stream.group_by(
            lambda value: unpack(value).payment.merchant_id or "",
            "merchant",
            value_deserializer="bytes",
            key_deserializer="string",
            value_serializer="bytes",
            key_serializer="string",
        )
        stream = stream.apply(at_merchant, stateful=True)
        stream = stream.to_topic(
            app.topic(prefix + Name.DECISIONS, value_serializer="bytes", key_serializer="string"),
            key=lambda value: msgspec.json.decode(value, type=_Keyed).account_id,
        )
        stream.update(count)
        app.run()


class _Keyed(msgspec.Struct, gc=False):
    account_id: str


def _columns(payment: Transaction) -> Columns:
    """Return one payment in the form of the kernel's input."""
    hashes = hash_strings(
        pa.array(
            [payment.merchant_id, payment.mcc, payment.device_id, payment.country, payment.payee,
             payment.ip_address, payment.transaction_id],
            pa.string(),
        ),
        OPEN.keys["merchant_id"],
    )  # fmt: skip
    return Columns(
        time=np.array([payment.event_time]),
        amount=np.array([payment.amount]),
        scale=np.array([10.0 ** exponent(payment.currency)]),
        tx=hashes[6:].view(np.int64),
        identifiers=narrow(hashes[:6]).reshape(1, 6),
        entities=hashes[:1].reshape(1, 1),  # merchants only
        recipient=np.zeros(1, np.uint64),
        account=_NO_ACCOUNT,
        lat=_millionths(payment.lat),
        lon=_millionths(payment.lon),
        balance=np.array([MISSING if payment.balance is None else payment.balance]),
        opened_at=np.array([MISSING if payment.account_opened_at is None else payment.account_opened_at]),
        kind=_PAYMENT,
        original=_NOTHING,
    )


def _millionths(degrees: float | None) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array([MISSING if degrees is None else round(degrees * 1e6)])


def _decision(payment: Transaction, score: float, model: str, features_hash: str) -> Decision:
    return Decision(
        transaction_id=payment.transaction_id,
        account_id=payment.account_id,
        event_time=payment.event_time,
        amount=payment.amount,
        currency=payment.currency,
        action="challenge" if score >= CHALLENGE_FROM else "approve",
        score=score,
        expected_loss=round(score * payment.amount),
        reasons=[],
        rules=[],
        model=model,
        policy="",
        features_hash=features_hash,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
