"""The size of a measurement: the paper's, or what differs from it, field by field.

The configuration class of an experiment says once what its fields mean for that comparison:

``PARTS``
    names of the fields that choose a part of the experiment, or how often it is noted down. They are free.
``OTHER_DATA``
    field → value → words: values that stand for data which are not the paper's.
``UNSTATED``
    words, where the paper does not say how large its own experiment was: then nothing is at the paper's size.

All other fields must equal those of ``Config.profile("paper")``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from wavemem.checks import nearest
from wavemem.records.experiment import get_experiment
from wavemem.records.store import Record, config_json

_ABSENT = "absent"


@dataclass(frozen=True)
class Size:
    """What a measurement rests on.

    Args:
        exact: mathematics carried out: nothing was trained and nothing has a size.
        differs: what is not as in the paper, e.g. "iterations 20,000 instead of 60,000".
        data: which data stand in the place of the paper's; empty if they are the paper's.
        records: keys of the committed records it was read from; empty if it was measured live.
    """

    exact: bool = False
    differs: tuple[str, ...] = ()
    data: str = ""
    records: tuple[str, ...] = ()

    @property
    def status(self) -> str:
        """The status of a criterion that holds: "reproduced", "at reduced size" or "on other data"."""
        return "on other data" if self.data else "at reduced size" if self.differs else "reproduced"

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Size:
        """The inverse of `dataclasses.asdict`."""
        return cls(bool(data["exact"]), tuple(data["differs"]), str(data["data"]), tuple(data["records"]))

    def words(self) -> str:
        """A word or two: "exact", "paper's size", "reduced", "other data"."""
        return "exact" if self.exact else "other data" if self.data else "reduced" if self.differs else "paper's size"

    def details(self) -> str:
        """What differs, in words; empty if nothing does."""
        return "; ".join(([self.data] if self.data else []) + list(self.differs))


EXACT = Size(exact=True)
"""For what needs no training: an identity, a bound, a construction, evaluated."""


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        parts = [_shown(v) for v in value]
        return f"({', '.join(parts if len(parts) <= 6 else [*parts[:3], '…', parts[-1]])})"
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return str(value).lower() if not isinstance(value, str) else value or "none"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _counts(name: str, depends: Sequence[str]) -> bool:
    """Whether a field is among those that a quantity depends on: patterns, those with "!" in front taken out."""
    wanted = [p for p in depends if not p.startswith("!")]
    return (not wanted or any(fnmatchcase(name, p) for p in wanted)) and not any(
        fnmatchcase(name, p[1:]) for p in depends if p.startswith("!")
    )


def differences(
    cls: type[Any],
    values: Mapping[str, Any],
    profile: str = "paper",
    *,
    depends: Sequence[str] = (),
    parts: bool = False,
) -> dict[str, tuple[Any, Any]]:
    """The fields in which a configuration is not that of a profile.

    Args:
        cls: the experiment's ``Config``.
        values: field → plain value, as `wavemem.records.store.config_json` makes them. A field that is not there was added
            since and has its default.
        profile: what it is compared with.
        depends: names or patterns of the only fields that count; one that starts with "!" takes fields out.
        parts: compare the fields that choose a part as well.

    Returns:
        Field → (value there, value in the profile). A field that the class no longer has differs.
    """
    wanted = config_json(cls.profile(profile))
    defaults = {f.name: f.default for f in dataclasses.fields(cls) if f.default is not dataclasses.MISSING}
    found = {}
    for name in dict.fromkeys((*wanted, *values)):
        have = values.get(name, defaults.get(name, _ABSENT))
        have = list(have) if isinstance(have, tuple) else have
        want = wanted.get(name, _ABSENT)
        if have != want and (parts or name not in cls.PARTS) and _counts(name, depends):
            found[name] = (have, want)
    return found


def _of_configuration(cls: type[Any], values: Mapping[str, Any], depends: Sequence[str]) -> tuple[Any, list[str]]:
    """Differences from the paper, and the other data."""
    found = differences(cls, values, depends=depends)
    data = []
    for name, meanings in cls.OTHER_DATA.items():
        if not _counts(name, depends):
            continue
        given = values.get(name)
        used = [v for v in (given if isinstance(given, list | tuple) else [given]) if v in meanings]
        data += [meanings[v] for v in used]
        if used:
            found.pop(name, None)
    return found, data


def size_of(measured: Any, depends: Sequence[str] = ()) -> Size:
    """The size of what was measured.

    Args:
        measured: the configuration of a live run, a record, a sequence of both (together they are at the paper's size if each
            one is), or a :class:`Size` such as :data:`EXACT`.
        depends: see :func:`differences`.

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(measured, Size):
        return measured
    several = list(measured) if isinstance(measured, Sequence) and not isinstance(measured, str) else [measured]
    have: dict[str, list[str]] = {}
    want: dict[str, str] = {}
    data: list[str] = []
    unstated: list[str] = []
    records = []
    for one in several:
        if isinstance(one, Record):
            cls: type[Any] = get_experiment(one.experiment).Config
            values = one.config
            records.append(one.key)
        elif dataclasses.is_dataclass(one) and hasattr(type(one), "profile"):
            cls, values = type(one), config_json(one)
        else:
            raise ValueError(
                f"measured = {one!r}; allowed: a configuration of an experiment, a record, a list of them, or EXACT. "
                "Say what was measured: the size is computed from it."
            )
        found, other = _of_configuration(cls, values, depends)
        for name, (there, in_paper) in found.items():
            have.setdefault(name, []).append(_shown(there))
            want[name] = _shown(in_paper)
        data += other
        unstated += [cls.UNSTATED] if cls.UNSTATED else []
    if not several:
        raise ValueError("measured is empty; allowed: at least one configuration or record. Report what was measured.")
    differs = [
        f"{name.replace('_', ' ')} {' and '.join(dict.fromkeys(values))} instead of {want[name]}"
        for name, values in have.items()
    ]
    return Size(
        differs=(*differs, *dict.fromkeys(unstated)),
        data="; ".join(dict.fromkeys(data)),
        records=tuple(dict.fromkeys(records)),
    )


def allows(record: Record, profile: str, also: Mapping[str, Any]) -> bool:
    """Whether a record's configuration is that of a profile but for its parts and for other values that are allowed.

    Args:
        record: the record.
        profile: what it is compared with.
        also: field → a value, or a list of values, that the field may have beside the profile's.

    Raises:
        ValueError: ``also`` names no field of the configuration.
    """
    cls = get_experiment(record.experiment).Config
    plain = config_json(cls.profile(profile))
    for name in also:
        if name not in plain:
            raise ValueError(f"also = {name!r}; allowed: {', '.join(plain)}. {nearest(name, plain)}")
    for name, (have, _) in differences(cls, record.config, profile).items():
        if name not in also:
            return False
        given = also[name]
        values = given if isinstance(given, list) else [list(given) if isinstance(given, tuple) else given]
        if have not in values:
            return False
    return True
