"""The fields of every experiment: what is not allowed is refused before any work, by the class and by the command line."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from wavemem.cli import main
from wavemem.records.experiment import PROFILES, experiment_names, get_experiment
from wavemem.records.fields import Field, Items, OneOf, Within, fields_of
from wavemem.records.run import describe_settings, parse_settings

NAMES = experiment_names()


def bad_scalars(field: Field) -> Iterator[Any]:
    """Values of the wrong kind, below, above, and no numbers at all."""
    yield from ([1], {}, b"1", object())
    if not field.optional:
        yield None
    if field.names is not None:
        yield from ("nobody", "", field.names[0].upper() + " ", 3)
    elif field.kind is bool:
        yield from (1, 0, "true")
    else:
        yield from (True, "1", float("nan"), float("inf"), -float("inf"), 10**400)
        if field.kind is int:
            yield 1.5
        assert field.within is not None, "every number has a range"
        low, high = field.within.low, field.within.high
        yield from (low - 1, low - 10**20, 10 * high + 1, 10**20)
        if field.within.above:
            yield low


def bad_values(field: Field) -> Iterator[Any]:
    """Values that a field must not take."""
    if field.kind is not tuple:
        yield from bad_scalars(field)
        return
    yield from (None, "", 5, [])
    if field.items is None:
        good = tuple(good_value(part) for part in field.parts)
        yield from ((), (*good, good[0]), tuple(reversed([None, *good[1:]])))
        return
    one = field.parts[0]
    good = good_value(one)
    inner = bad_scalars(one) if one.kind is not tuple else bad_values(one)
    yield from ((bad,) * max(1, field.items.fewest) for bad in inner)
    yield from ((good, 10**20), (good, "nobody"), [good])
    if not field.items.repeat:
        yield (good, good)
    if field.items.fewest > 0:
        yield ()
    if field.items.rise and one.within is not None:
        yield (one.within.low + 2, one.within.low + 1)


def good_value(field: Field) -> Any:
    """A value that a field can take."""
    if field.kind is tuple:
        return tuple(good_value(part) for part in field.parts)
    return field.names[0] if field.names else field.kind(field.within.high) if field.within else True


@pytest.mark.parametrize("name", NAMES)
def test_a_configuration_refuses_every_bad_value(name: str) -> None:
    config = get_experiment(name).Config.profile("quick")
    for field, declared in fields_of(type(config)).items():
        for bad in bad_values(declared):
            with pytest.raises(ValueError, match=rf"^{field} = .*; allowed: .*\. \S") as caught:
                dataclasses.replace(config, **{field: bad})
            assert "\n" not in str(caught.value)
            assert not declared.allows(bad)


def typed(field: Field) -> list[str]:
    """What nobody should get away with typing for a field."""
    found = ["\N{GREEK SMALL LETTER PI}", "1e999", "nan", "[]", "9" * 5000]
    if field.items is None or field.items.fewest > 0:
        found.append("")
    if field.items is not None and not field.items.repeat:
        good = field.parts[0].written(good_value(field.parts[0]))
        found.append(field.separator.join((good, good)))
    return found


@pytest.fixture
def refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, list[str]], str]:
    """What the command line says when it refuses settings of an experiment: in a line, before any work."""

    def said(name: str, settings: list[str]) -> str:
        monkeypatch.setattr(get_experiment(name), "run", lambda *_, **__: pytest.fail("run was entered"))
        chosen = [part for setting in settings for part in ("--set", setting)]
        command = ["run", name, "--device", "cpu", "--records", str(tmp_path / "records"), *chosen]
        monkeypatch.setattr(sys, "argv", ["wavemem", *command])
        with pytest.raises(SystemExit) as stopped:
            main()
        text = capsys.readouterr().err
        assert stopped.value.code == 2, command
        assert text.count("\n") == 1
        assert list(tmp_path.iterdir()) == []
        return text

    return said


@pytest.mark.parametrize("name", NAMES)
def test_the_command_line_refuses_it_before_any_work(name: str, refused: Callable[[str, list[str]], str]) -> None:
    config = get_experiment(name).Config.profile("quick")
    for number, (field, declared) in enumerate(fields_of(type(config)).items()):
        texts = typed(declared)
        for text in texts:
            with pytest.raises(ValueError, match=rf"^{field} = "):
                parse_settings(config, [f"{field}={text}"])
        assert refused(name, [f"{field}={texts[number % len(texts)]}"]).startswith(f"wavemem: {field} = ")


CROSSED = {
    "adding_compared": [["runs=5"], ["updates=7,8"]],
    "adding_grid": [["lengths=7"]],
    "adding_search": [["dense_updates=5"]],
    "copying": [["search=2", "models=iRNN"], ["models=wRNN -V", "ablation_lengths="]],
    "copying_grid": [["lengths=7"], ["units=7"], ["clips=7"]],
    "gradient_propagation": [["iterations=10"]],
    "image_search": [["task=smnist", "models=GRU"]],
    "images": [["models=", "further="], ["tasks=smnist", "models=GRU"]],
    "initialisations": [["s=100"]],
    "string_copying": [
        ["heads=3"],
        ["width=8", "models=RoPE"],
        ["N=3", "models=S6 wave"],
        ["context=5"],
        ["shortest=11"],
    ],
    "string_spans": [["velocities=", "learned_registers="], ["lengths=9x8"], ["context=5"]],
    "wave_learning": [["iterations=10"], ["T=0", "memory=2"]],
}


@pytest.mark.parametrize(("name", "settings"), [(name, own) for name, found in CROSSED.items() for own in found])
def test_fields_that_do_not_fit_each_other_are_refused_as_early(
    name: str, settings: list[str], refused: Callable[[str, list[str]], str]
) -> None:
    assert "; allowed: " in refused(name, settings)


@pytest.mark.parametrize("name", NAMES)
def test_help_lists_every_field_and_what_it_shows_can_be_typed(name: str) -> None:
    cls = get_experiment(name).Config
    shown = describe_settings(cls, PROFILES)
    for field, declared in fields_of(cls).items():
        assert f"\n  {field}: " in f"\n{shown}"
        for profile in PROFILES:
            value = getattr(cls.profile(profile), field)
            assert declared.allows(value)
            assert declared.read(declared.written(value)) == value


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        (Field(int, within=Within(0, 5)), " 5 ", 5),
        (Field(float, within=Within(0, 5)), "1e-3", 1e-3),
        (Field(float, optional=True), "none", None),
        (Field(str, names=OneOf(["none", "all"])), "none", "none"),
        (Field(tuple, parts=(Field(str, names=OneOf(["a, b", "c"])),), items=Items()), "c;a, b", ("c", "a, b")),
        (
            Field(tuple, parts=(Field(tuple, parts=(Field(int), Field(int))),), items=Items()),
            "8x1,2x3",
            ((8, 1), (2, 3)),
        ),
    ],
)
def test_reading(field: Field, text: str, value: Any) -> None:
    assert field.read(text) == value
    assert field.allows(value)
    assert field.read(field.written(value)) == value
