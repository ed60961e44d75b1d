"""What each field of a configuration may be, declared once, in its annotation.

The declaration refuses a value when the configuration is made, reads one from the command line, and prints as help::

    @dataclass(frozen=True)
    class Config:
        models: Annotated[tuple[Annotated[str, OneOf(MODELS)], ...], Items()] = MODELS
        units: Size = 100
        lr: Rate | None = 1e-3

        def __post_init__(self) -> None:
            check_fields(self)
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import reprlib
import types
import typing
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from wavemem.checks import nearest
from wavemem.streams import MOST_RUNS


@dataclass(frozen=True)
class Within:
    """Numbers from `low` to `high`; where `above`, without `low` itself."""

    low: float
    high: float
    above: bool = False


class OneOf(tuple[str, ...]):
    """Names to choose from."""


@dataclass(frozen=True)
class Items:
    """How many entries a tuple has at least, and whether they may repeat or have to rise. Without it: one, each once."""

    fewest: int = 1
    repeat: bool = False
    rise: bool = False


Size = Annotated[int, Within(1, 10_000)]
"""Neurons, channels, vectors, letters: whatever has weights or a state of its own."""
Steps = Annotated[int, Within(1, 100_000)]
"""Time steps."""
Batch = Annotated[int, Within(1, 1_000_000)]
"""Sequences, of an update or of a test."""
Count = Annotated[int, Within(1, 1_000_000_000)]
"""Updates, and what is counted in them."""
Runs = Annotated[int, Within(1, MOST_RUNS)]
"""Networks of one kind, see `wavemem.streams.run_seeds`."""
Rate = Annotated[float, Within(1e-7, 100)]
"""A learning rate."""
Decay = Annotated[float, Within(0, 100)]
"""A weight decay."""
Clip = Annotated[float, Within(0, 1e9, above=True)]
"""A largest gradient norm."""
Share = Annotated[float, Within(0, 1)]
"""A share, an accuracy or a modulus."""
Scale = Annotated[float, Within(0, 1000)]
"""A size of input weights."""
Velocity = Annotated[float, Within(0, 1, above=True)]
"""Of a register, in neurons per step."""
Blanks = Annotated[int, Within(0, 100_000)]
"""Time steps of the copy task between showing and asking."""
Updates = Annotated[int, Within(0, 1_000_000_000)]
"""A number of updates after which something is measured; 0 is before training."""
Rungs = Annotated[tuple[Steps, ...], Items(rise=True)]
"""Horizons that a curriculum climbs."""


@dataclass(frozen=True)
class Field:
    """The declaration of one field.

    Args:
        kind: bool, int, float, str or tuple.
        optional: None is allowed too.
        within: of a number.
        names: of a string.
        parts: of a tuple: of its entries one by one, or of them all where there are `items`.
        items: of a tuple of any length.
    """

    kind: type[Any]
    optional: bool = False
    within: Within | None = None
    names: OneOf | None = None
    parts: tuple[Field, ...] = ()
    items: Items | None = None

    @classmethod
    def of(cls, hint: Any, *rules: Any) -> Field:
        """Read an annotation."""
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if origin is Annotated:
            return cls.of(arguments[0], *rules, *arguments[1:])
        if origin in (typing.Union, types.UnionType):
            (inner,) = (argument for argument in arguments if argument is not types.NoneType)
            return dataclasses.replace(cls.of(inner, *rules), optional=True)
        if origin is Literal:
            return cls(str, names=OneOf(arguments))

        def rule(kind: type[Any]) -> Any:
            return next((found for found in rules if isinstance(found, kind)), None)

        if origin is tuple and arguments[-1] is ...:
            return cls(tuple, parts=(cls.of(arguments[0]),), items=rule(Items) or Items())
        if origin is tuple:
            return cls(tuple, parts=tuple(cls.of(argument) for argument in arguments))
        return cls(hint, within=rule(Within), names=rule(OneOf))

    def allows(self, value: Any) -> bool:
        """Whether a value is of the kind and in the range."""
        if value is None:
            return self.optional
        if self.kind is float and type(value) is int:
            value = float(value) if abs(value) < 2**1000 else math.inf
        if type(value) is not self.kind:
            return False
        if self.kind is tuple and self.items is None:
            return len(value) == len(self.parts) and all(
                part.allows(entry) for part, entry in zip(self.parts, value, strict=True)
            )
        if self.items is not None:
            if len(value) < self.items.fewest or not all(map(self.parts[0].allows, value)):
                return False
            if self.items.rise:
                return all(a < b for a, b in itertools.pairwise(value))
            return self.items.repeat or len(set(value)) == len(value)
        if self.names is not None:
            return value in self.names
        if self.within is not None:
            low, high, above = self.within.low, self.within.high, self.within.above
            return low <= value <= high and not (above and value == low)  # false for NaN
        return self.kind is not float or math.isfinite(value)

    def words(self) -> str:
        """What is allowed, e.g. "a whole number from 1 to 1,000"."""
        if self.items is not None:
            how = ", rising" if self.items.rise else "" if self.items.repeat else ", each once"
            return f"{self.items.fewest} or more, joined by {self.separator!r}{how}: {self.parts[0].words()}"
        if self.kind is tuple:
            found = " x ".join(part.words() for part in self.parts)
        elif self.names is not None:
            found = f"{self.separator} ".join(self.names)
        elif self.kind is bool:
            found = "true or false"
        else:
            found = {int: "a whole number", float: "a number"}.get(self.kind, self.kind.__name__)
            if self.within is not None:
                low, high = (
                    f"{end:,}" if 1e-6 < end < 1e6 else f"{end:g}" for end in (self.within.low, self.within.high)
                )
                found += f" above {low}, up to {high}" if self.within.above else f" from {low} to {high}"
        return found + (", or none" if self.optional else "")

    @property
    def separator(self) -> str:
        """What stands between the entries of a tuple where it is typed; a comma unless their names hold one."""
        if self.kind is tuple and self.items is None:
            return "x"
        names = (self.parts[0].names if self.parts else self.names) or ()
        return ";" if any("," in name for name in names) else ","

    def read(self, text: str) -> Any:
        """A value as it is typed; one that cannot be read is returned as it is, and not allowed."""
        text = text.strip()
        if self.optional and text.lower() == "none":
            return None
        if self.kind is tuple:
            parts = [part for part in text.split(self.separator) if part.strip()]
            each = self.parts * len(parts) if self.items is not None else self.parts
            return tuple(field.read(part) for field, part in zip(each, parts, strict=False)) + tuple(parts[len(each) :])
        if self.kind is bool:
            return {"true": True, "false": False}.get(text, text)
        if self.kind in (int, float):
            try:
                return self.kind(text)
            except ValueError:
                return text
        return text

    def written(self, value: Any) -> str:
        """A value as `read` takes it."""
        if isinstance(value, tuple):
            each = self.parts * len(value) if self.items is not None else self.parts
            return self.separator.join(part.written(entry) for part, entry in zip(each, value, strict=True))
        return str(value) if isinstance(value, str | float) else str(value).lower()

    def check(self, name: str, value: Any) -> None:
        """Refuse what is not allowed.

        Raises:
            ValueError: the message says what was given and what may be.
        """
        if self.allows(value):
            return
        odd: Any = value
        if self.items is not None and type(value) is tuple:
            odd = next((entry for entry in value if not self.parts[0].allows(entry)), value)
        names = self.parts[0].names if self.parts else self.names
        close = nearest(odd, names) if names and isinstance(odd, str) else "Give another value."
        raise ValueError(f"{name} = {reprlib.repr(odd)}; allowed: {self.words()}. {close}")


def fields_of(cls: Any) -> dict[str, Field]:
    """The declarations of a configuration class, in its order."""
    return _fields_of(cls)


@functools.cache
def _fields_of(cls: Any) -> dict[str, Field]:
    hints = typing.get_type_hints(cls, include_extras=True)
    return {field.name: Field.of(hints[field.name]) for field in dataclasses.fields(cls)}


def check_fields(config: Any) -> None:
    """Refuse a configuration with a value that its class does not allow.

    Raises:
        ValueError: the message names the field, what it was given and what may be.
    """
    for name, field in fields_of(type(config)).items():
        field.check(name, getattr(config, name))
