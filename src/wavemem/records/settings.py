"""Settings of an experiment: other values in its configuration, as they are typed on a command line."""

from __future__ import annotations

import dataclasses
import inspect
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from wavemem.checks import nearest
from wavemem.records.fields import fields_of

__all__ = ["describe_settings", "parse_settings", "with_settings"]


def parse_settings(config: Any, settings: Sequence[str]) -> dict[str, Any]:
    """Read FIELD=VALUE and FIELD=VALUE,VALUE,... as a configuration's fields declare them.

    Args:
        config: the configuration (a dataclass instance) whose fields may be named.
        settings: as typed.

    Returns:
        Field → value.

    Raises:
        ValueError: a setting has no "=", names no field or one twice, or its value is not allowed.
    """
    fields = fields_of(type(config))
    read: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = (part.strip() for part in setting.partition("="))
        if not equals or name not in fields:
            raise ValueError(
                f"setting {setting!r}; allowed: FIELD=VALUE with a field among {', '.join(fields)}. {nearest(name, fields)}"
            )
        if name in read:
            raise ValueError(f"setting {name} is given twice; allowed: once. Separate several values by commas.")
        read[name] = fields[name].read(text)
        fields[name].check(name, read[name])
    return read


def with_settings(config: Any, settings: Mapping[str, Any]) -> Any:
    """A configuration with some fields replaced.

    Raises:
        ValueError: there is no such field, or a value is not allowed.
    """
    fields = fields_of(type(config))
    for name, value in settings.items():
        if name not in fields:
            raise ValueError(f"setting {name!r}; allowed: {', '.join(fields)}. {nearest(name, fields)}")
        fields[name].check(name, value)
    return dataclasses.replace(config, **settings)


def describe_settings(cls: type[Any], profiles: Sequence[str]) -> str:
    """The fields of a configuration class: what each may be, its value in every profile, and what the class says of it."""
    columns = {profile: cls.profile(profile) for profile in profiles}
    lines: list[str] = []
    for name, field in fields_of(cls).items():
        shown: dict[str, str] = {}
        for profile, config in columns.items():
            value = field.written(getattr(config, name))
            shown[value] = f"{shown[value]}, {profile}" if value in shown else profile
        lines += _wrapped(f"{name}: {field.words()}", 2)
        for value, where in shown.items():
            lines += _wrapped(f"{where}: {value or '(empty)'}", 6)
    return "\n".join([*lines, "", *(f"  {line}".rstrip() for line in (inspect.getdoc(cls) or "").splitlines())])


def _wrapped(text: str, indent: int) -> list[str]:
    first = " " * indent
    return textwrap.wrap(text, 110, initial_indent=first, subsequent_indent=first + "    ", break_on_hyphens=False)
