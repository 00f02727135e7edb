"""The key of the hashes, and what happens to state under another key."""

from collections.abc import Iterator

import msgspec
import pyarrow as pa
import pytest

from features.columns import account_hash, entity_hash, from_batch
from features.identity import KINDS, OPEN, Identity, identity_of
from features.store import RedisStore
from tests.features.oracle import Payment
from tests.features.streams import START, batch_of
from vedette import Settings, keys
from vedette.errors import SettingsError, StateError
from vedette.settings import IdentitySettings
from vedette.settings_base import Secret

ONE, OTHER = Identity("1" * 32), Identity("2" * 32)


def test_every_kind_and_every_key_hash_in_their_own_way() -> None:
    """The same text has unrelated hashes as merchant, device and account, and under another key."""
    text = pa.array(["m1"])
    hashes = [
        int(entity_hash(kind, text, key)[0]) for key in (OPEN, ONE, OTHER) for kind in ("merchant_id", "device_id")
    ]
    hashes += [int(account_hash(text, key)[0]) for key in (OPEN, ONE, OTHER)]
    assert len({h & 0xFFFFFFFF for h in hashes}) == len({h >> 32 for h in hashes}) == 9
    assert len({key.keys[kind] for key in (OPEN, ONE, OTHER) for kind in KINDS}) == 3 * len(KINDS)
    assert len({OPEN.fingerprint, ONE.fingerprint, OTHER.fingerprint}) == 3
    assert Identity("1" * 32).fingerprint == ONE.fingerprint
    assert "1" * 32 not in repr(ONE)


def test_what_names_one_thing_has_one_hash() -> None:
    """A payment and its label have one merchant hash, and a reversal names its payment by the payment's own hash."""
    paid = Payment("t1", "a", START, 5, merchant_id="m", device_id="d", ip_address="::1", payee="p")
    back = Payment("t2", "a", START + 1, 5, kind="reversal", original_id="t1")
    columns = from_batch(batch_of([paid, back]), ONE)
    assert columns.original[1] == columns.tx[0]
    named = [entity_hash(field, pa.array([name]), ONE)[0] for field, name in
             (("merchant_id", "m"), ("device_id", "d"), ("ip_address", "::1"), ("payee", "p"))]  # fmt: skip
    assert columns.entities[0].tolist() == named


def test_a_short_key_is_refused() -> None:
    """A key short enough to guess is refused with the way to a better one; an empty key means none."""
    assert identity_of(IdentitySettings()) is OPEN
    assert identity_of(IdentitySettings(key=Secret("k" * 32))).fingerprint == Identity("k" * 32).fingerprint
    with pytest.raises(SettingsError, match=r"fewer than 32.*identity keygen"):
        identity_of(IdentitySettings(key=Secret("k" * 31)))


@pytest.fixture
def store(settings: Settings) -> Iterator[RedisStore]:
    """A store under a prefix of this test's own."""
    made = RedisStore(msgspec.structs.replace(settings.redis, prefix=f"{settings.redis.prefix}id:"))
    yield made
    made.close()


def test_state_under_another_key_is_refused_and_left_alone(store: RedisStore) -> None:
    """A store with the wrong key does not even claim the partition; after the state is cleared, the new key is used."""
    epoch = store.claim(0, ONE.fingerprint).epoch
    store.commit(0, epoch, {}, {"pos:transactions": 5})
    with pytest.raises(StateError, match=r"another key than \[identity\] key.*backfill --load --overwrite"):
        store.claim(0, OTHER.fingerprint)
    store.commit(0, epoch, {}, {"pos:transactions": 6})
    assert store.claim(0, ONE.fingerprint).meta == {"pos:transactions": 6}
    store.clear(1)
    assert store.claim(0, OTHER.fingerprint).meta == {}


def test_state_from_before_there_were_keys_is_refused(store: RedisStore) -> None:
    """Watermarks without a fingerprint are from an earlier release, whose hashes would never be found."""
    epoch = store.claim(0, ONE.fingerprint).epoch
    store.commit(0, epoch, {}, {"pos:transactions": 5})
    store._client.hdel(keys.meta(store.prefix, 0), keys.IDENTITY)
    with pytest.raises(StateError, match=r"a release whose hashes had no key.*backfill --load --overwrite"):
        store.claim(0, ONE.fingerprint)
