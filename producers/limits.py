"""What vedette.events allows in each field, applied to whole columns at once."""

from collections.abc import Iterator, Mapping

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import inspect

from producers.parse import Bools, mask
from vedette.errors import VedetteError
from vedette.events import Label, Transaction


class Limits(msgspec.Struct, frozen=True):
    """Bounds of one field; None where there is none."""

    least: float | None = None
    most: float | None = None
    shortest: int | None = None
    longest: int | None = None
    words: tuple[str, ...] = ()

    def check(self, values: pa.Array) -> Iterator[tuple[Bools, str]]:
        """Which values break which bound; null breaks none."""
        if self.least is not None:
            yield mask(pc.less(values, self.least)), f"is less than {self.least}"
        if self.most is not None:
            yield mask(pc.greater(values, self.most)), f"is more than {self.most}"
        if self.shortest is not None and self.longest is not None:
            length = pc.utf8_length(values)
            wrong = pc.or_(pc.less(length, self.shortest), pc.greater(length, self.longest))
            span = str(self.longest) if self.shortest == self.longest else f"{self.shortest} to {self.longest}"
            yield mask(wrong), f"does not have {span} characters"
        if self.words:
            strange = pc.and_(values.is_valid(), pc.invert(pc.is_in(values, pa.array(self.words))))
            yield mask(strange), f"is not one of {', '.join(self.words)}"


def canonical_limits() -> Mapping[str, Limits]:
    """The limits of every canonical field that has any."""
    events = {**_fields(Label), **_fields(Transaction)}
    return {name: limits for name, kind in events.items() if (limits := _limits(kind)) != Limits()}


def _fields(event: type[msgspec.Struct]) -> dict[str, inspect.Type]:
    info = inspect.type_info(event)
    if not isinstance(info, inspect.StructType):
        raise VedetteError(f"{event.__name__} is no struct")
    return {field.name: field.type for field in info.fields}


def _limits(kind: inspect.Type) -> Limits:
    if isinstance(kind, inspect.Metadata):
        return _limits(kind.type)
    if isinstance(kind, inspect.UnionType):
        return next((_limits(part) for part in kind.types if not isinstance(part, inspect.NoneType)), Limits())
    if isinstance(kind, inspect.IntType | inspect.FloatType):
        return Limits(least=kind.ge, most=kind.le)
    if isinstance(kind, inspect.StrType):
        return Limits(shortest=kind.min_length, longest=kind.max_length)
    if isinstance(kind, inspect.LiteralType):
        return Limits(words=tuple(str(value) for value in kind.values))
    return Limits()
