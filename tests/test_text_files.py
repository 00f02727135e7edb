"""Every text file that a person hands in may start with a byte order mark, as Windows editors and Excel write one."""

import codecs
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from adapters.yaml_document import Document
from challenges.admin import _opened
from cli.models import _answers
from decisions.policy_file import load_policy
from decisions.policy_record import policy_files, policy_record
from features.history import _READERS
from models.compare import spec
from producers.files import read_batches
from producers.mapping import load_mapping
from vedette.errors import InputError, VedetteError
from vedette.settings_base import Secret
from vedette.settings_file import load_settings
from vedette.text import decode_text, read_text

MAPPING = """
name = "mine"
description = ""
fields.transaction_id = {column = "id"}
fields.account_id = {column = "account"}
fields.amount = {column = "amount"}
fields.currency = {constant = "EUR"}
fields.event_time = {column = "time"}
fields.merchant_id = {column = "shop"}
"""
POLICY = """format: 1
name: p
version: 1
lists:
  block:
    - {name: mules, column: payee, file: mules.txt, reason: mule}
"""


def policy(path: Path) -> Any:
    """Return the policy, and what a worker would be sent."""
    path.with_name("mules.txt").write_text("m1\nm2\n", encoding="utf-8")
    return load_policy(path).form, policy_record(policy_files(path), approver="a", reason="r", at=0).files


def list_file(path: Path) -> Any:
    """Return the entries of a list beside a policy."""
    path.with_name("policy.yaml").write_text(POLICY, encoding="utf-8")
    path.rename(path.with_name("mules.txt"))
    return load_policy(path.with_name("policy.yaml")).listed["mules"]


def payments(path: Path) -> Any:
    """Return the rows of a CSV file."""
    mapping = path.with_name("mapping.toml")
    mapping.write_text(MAPPING, encoding="utf-8")
    return [batch.to_pylist() for batch in read_batches(path, load_mapping(str(mapping)), on_reject=pytest.fail)]


def contacts(path: Path) -> Any:
    """Return the rows of a file of contacts."""
    with _opened(path) as rows:
        return list(rows)


def labels(path: Path) -> Any:
    """Return the rows of a file of labels, as a backfill reads it."""
    with duckdb.connect() as database:
        return _READERS[path.suffix](database, str(path)).fetchall()


FILES: list[tuple[str, str, Callable[[Path], Any]]] = [
    ("policy.yaml", POLICY, policy),
    ("list.txt", "m1\nm2\n", list_file),
    ("mapping.toml", MAPPING, lambda path: load_mapping(str(path))),
    ("payments.csv", "id,account,amount,time,shop\n1,a,5,2020-01-01,s\n", payments),
    ("vedette.toml", "[topics]\npartitions = 7\n", lambda path: load_settings(path, {})),
    ("secret", "hunter2\n", lambda path: Secret(file=str(path), key="k").value),
    ("routing.yaml", "a: b\n", lambda path: Document(path).read(dict)),
    ("contacts.csv", "account_id\na1\n", contacts),
    ("answers.toml", 'owner = "Jane"\n', _answers),
    ("comparison.toml", (Path(spec.__file__).parent / "handbook.toml").read_text(), lambda p: spec.load(str(p))),
    ("labels.csv", "transaction_id,fraud,labelled_at\nt,true,5\n", labels),
    ("labels.jsonl", '{"transaction_id":"t","fraud":true,"labelled_at":5}\n', labels),
]


@pytest.mark.parametrize(("name", "text", "read"), FILES, ids=[name for name, *_ in FILES])
def test_a_byte_order_mark_changes_nothing(tmp_path: Path, name: str, text: str, read: Callable[[Path], Any]) -> None:
    """With a mark at its start a file has the same content as without."""
    found = []
    for start in (b"", codecs.BOM_UTF8):
        path = tmp_path / name
        path.write_bytes(start + text.encode())
        found.append(read(path))
    assert found[0] == found[1]
    assert found[0]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32", "latin-1"])
@pytest.mark.parametrize(("name", "text", "read"), FILES[:-2], ids=[name for name, *_ in FILES[:-2]])
def test_another_encoding_is_refused(
    tmp_path: Path, name: str, text: str, read: Callable[[Path], Any], encoding: str
) -> None:
    """A file that is not UTF-8 is refused with a remedy, never read in another encoding."""
    if name == "payments.csv" and encoding != "latin-1":
        pytest.skip("files of payments may be UTF-16 and UTF-32, see tests/producers/test_dialects.py")
    path = tmp_path / name
    mark = codecs.BOM_UTF16_BE if encoding == "utf-16-be" else b""
    path.write_bytes(mark + f"é{text}".encode(encoding, "replace"))
    with pytest.raises(VedetteError, match="UTF-8"):
        read(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The error contains the path; a folder is not a file."""
    with pytest.raises(InputError, match="gone cannot be read: No such file"):
        read_text(tmp_path / "gone")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_text(tmp_path)


def test_a_mark_within_the_text_stays() -> None:
    """Only the first character of a file is a mark."""
    assert decode_text(codecs.BOM_UTF8 + "a\ufeffb".encode(), "x") == "a\ufeffb"
