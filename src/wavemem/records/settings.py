"""Settings of an experiment: other values in its configuration, as they are typed on a command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from wavemem.records.errors import nearest
from wavemem.records.store import config_json

__all__ = ["parse_settings", "with_settings"]


def _scalar(name: str, text: str, like: Any) -> Any:
    """Read one value of the kind of `like`; where that is None, a number if it reads as one."""
    if isinstance(like, bool):
        if text in ("true", "false"):
            return text == "true"
        raise ValueError(f"setting {name}={text!r}; allowed: true or false. Write one of them.")
    if isinstance(like, str):
        return text
    if like is not None and text == "none":
        raise ValueError(f"setting {name}='none'; allowed: a {type(like).__name__} like {like!r}. Leave it out.")
    if text == "none":
        return None
    for kind in (int, float) if like is None else (type(like),):
        try:
            return kind(text)
        except ValueError:
            continue
    allowed = "a number" if like is None else f"a {type(like).__name__} like {like!r}"
    raise ValueError(f"setting {name}={text!r}; allowed: {allowed}. Correct the value.")


def parse_settings(config: Any, settings: Sequence[str]) -> dict[str, Any]:
    """Read FIELD=VALUE and FIELD=VALUE,VALUE,... after the kinds of a configuration's fields.

    Args:
        config: the configuration (a dataclass instance) whose fields may be named.
        settings: as typed.

    Returns:
        Field → value.

    Raises:
        ValueError: a setting has no "=", names no field or one twice, or its value is of the wrong kind.
    """
    fields = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    read: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = (part.strip() for part in setting.partition("="))
        if not equals or name not in fields:
            raise ValueError(
                f"setting {setting!r}; allowed: FIELD=VALUE with a field among {', '.join(fields)}. {nearest(name, fields)}"
            )
        if name in read:
            raise ValueError(f"setting {name} is given twice; allowed: once. Separate several values by commas.")
        now = fields[name]
        if dataclasses.is_dataclass(now):
            raise ValueError(
                f"setting {name}; allowed: fields of plain values. Change it in a configuration of your own."
            )
        if isinstance(now, tuple):
            like = now[0] if now else None
            read[name] = tuple(_scalar(name, part.strip(), like) for part in text.split(",") if part.strip())
        else:
            read[name] = _scalar(name, text, now)
    return read


def with_settings(config: Any, settings: Mapping[str, Any]) -> Any:
    """A configuration with some fields replaced.

    Raises:
        ValueError: there is no such field, or the value is of another kind than the field's.
    """
    plain = config_json(config)
    for name, value in settings.items():
        if name not in plain:
            raise ValueError(f"setting {name!r}; allowed: {', '.join(plain)}. {nearest(name, plain)}")
        now = getattr(config, name)
        fits = type(value) is type(now) or now is None or (isinstance(now, float) and isinstance(value, int))
        if not fits:
            raise ValueError(
                f"setting {name} = {value!r}; allowed: a {type(now).__name__} like {now!r}. Give one of that kind."
            )
    return dataclasses.replace(config, **settings)
