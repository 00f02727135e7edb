"""The ranges that vedette.events allows for each field, applied to whole columns at once."""

from collections.abc import Iterator, Mapping

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import inspect

from producers.parse import Bools, mask
from vedette.errors import VedetteError
from vedette.events import Label, Transaction


class FieldRange(msgspec.Struct, frozen=True):
    """Range of one field; None and () mean no restriction."""

    minimum: float | None = None
    maximum: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    choices: tuple[str, ...] = ()

    def check(self, values: pa.Array) -> Iterator[tuple[Bools, str]]:
        """Yield the values that violate each restriction, with the reason; null violates none."""
        if self.minimum is not None:
            yield mask(pc.less(values, self.minimum)), f"is less than {self.minimum}"
        if self.maximum is not None:
            yield mask(pc.greater(values, self.maximum)), f"is more than {self.maximum}"
        if self.min_length is not None and self.max_length is not None:
            length = pc.utf8_length(values)
            wrong = pc.or_(pc.less(length, self.min_length), pc.greater(length, self.max_length))
            span = (
                str(self.max_length)
                if self.min_length == self.max_length
                else f"{self.min_length} to {self.max_length}"
            )
            yield mask(wrong), f"does not have {span} characters"
        if self.choices:
            strange = pc.and_(values.is_valid(), pc.invert(pc.is_in(values, pa.array(self.choices))))
            yield mask(strange), f"is not one of {', '.join(self.choices)}"


def field_ranges() -> Mapping[str, FieldRange]:
    """Return the range of every canonical field that has one."""
    events = {**_fields(Label), **_fields(Transaction)}
    return {name: allowed for name, kind in events.items() if (allowed := _range(kind)) != FieldRange()}


def _fields(event: type[msgspec.Struct]) -> dict[str, inspect.Type]:
    info = inspect.type_info(event)
    if not isinstance(info, inspect.StructType):
        raise VedetteError(f"{event.__name__} is not a struct")
    return {field.name: field.type for field in info.fields}


def _range(kind: inspect.Type) -> FieldRange:
    if isinstance(kind, inspect.Metadata):
        return _range(kind.type)
    if isinstance(kind, inspect.UnionType):
        return next((_range(part) for part in kind.types if not isinstance(part, inspect.NoneType)), FieldRange())
    if isinstance(kind, inspect.IntType | inspect.FloatType):
        return FieldRange(minimum=kind.ge, maximum=kind.le)
    if isinstance(kind, inspect.StrType):
        return FieldRange(min_length=kind.min_length, max_length=kind.max_length)
    if isinstance(kind, inspect.LiteralType):
        return FieldRange(choices=tuple(str(value) for value in kind.values))
    return FieldRange()
