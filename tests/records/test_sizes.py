"""Sizes: what equals the paper's configuration is at the paper's size, and nothing else is."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from wavemem.elman import table1
from wavemem.records.entries import load_registry
from wavemem.records.experiment import Result, experiment_names, get_experiment
from wavemem.records.registry import verdicts
from wavemem.records.run import write
from wavemem.records.runs import costs, recorded
from wavemem.records.sizes import EXACT, Size, differences, size_of
from wavemem.records.store import Provenance, Record, config_json, open_record
from wavemem.ssm import string_copying
from wavemem.wave_rnn import adding, copying, images, wave_learning


def test_every_experiment_says_which_fields_choose_a_part() -> None:
    for name in experiment_names():
        cls: Any = get_experiment(name).Config
        known = {field.name for field in dataclasses.fields(cls)}
        assert set(cls.PARTS) <= known, name
        assert set(getattr(cls, "OTHER_DATA", {})) <= known, name
        own = size_of(cls.profile("paper"))
        assert (own.status != "reproduced") == bool(getattr(cls, "UNSTATED", "")), name
        assert size_of(cls.profile("quick")).status != "reproduced", name


@pytest.mark.parametrize("name", experiment_names())
def test_each_field_that_chooses_no_part_counts(name: str) -> None:
    """Changing any one field of the paper's configuration costs it the paper's size, unless the field chooses a part."""
    cls: Any = get_experiment(name).Config
    paper = config_json(cls.profile("paper"))
    for field, value in paper.items():
        changed = differences(cls, {**paper, field: [value, "another"]})
        assert set(changed) == (set() if field in cls.PARTS else {field})


def test_what_differs_is_said_in_words() -> None:
    paper = copying.Config.profile("paper")
    part = dataclasses.replace(paper, models=("wRNN",), lengths=(10,), runs=1)
    assert size_of(part) == Size()
    short = dataclasses.replace(part, iterations=20_000)
    assert size_of(short).differs == ("iterations 20,000 instead of 60,000",)
    both = size_of([part, short, dataclasses.replace(part, iterations=30_000)])
    assert both.details() == "iterations 20,000 and 30,000 instead of 60,000"
    assert both.words() == "reduced"
    small = size_of(table1.Config.profile("quick"))
    assert "s 4 instead of 8" in small.differs
    assert "horizons (10, 20, 40, 60) instead of (10, 20, 40, 60, 100)" in small.differs
    assert Size.from_json(dataclasses.asdict(both)) == both


def test_what_a_quantity_does_not_depend_on_does_not_count() -> None:
    config = dataclasses.replace(adding.Config.profile("paper"), iterations=1_500, dense_iterations=20_000)
    assert size_of(config).status == "at reduced size"
    assert size_of(config, ["!iterations", "!dense_*"]).status == "reproduced"
    assert size_of(dataclasses.replace(config, batch=64), ["!iterations", "!dense_*"]).status == "at reduced size"
    assert size_of(dataclasses.replace(config, batch=64), ["units", "channels"]).status == "reproduced"


def test_other_data_and_sizes_that_no_paper_gives() -> None:
    paper = images.Config.profile("paper")
    assert size_of(paper).status == "reproduced"
    for task, words in (("sdigits", "8 × 8"), ("nscifar10-jpeg", "JPEG")):
        size = size_of(dataclasses.replace(paper, tasks=(task,)))
        assert size.status == "on other data"
        assert words in size.details()
    waves = wave_learning.Config.profile("quick")
    assert size_of(waves, ["image*"]).status == "on other data"
    assert size_of(waves, ["!image*"]).status == "at reduced size"
    assert "abstract gives no sizes" in size_of(string_copying.Config.profile("paper")).details()


def test_only_a_configuration_a_record_or_exact_is_accepted() -> None:
    for wrong in ("paper", None, 3, table1.Config, [table1.Config.profile("quick"), "paper"], []):
        with pytest.raises(ValueError, match="measured"):
            size_of(wrong)
    assert size_of(EXACT).words() == "exact"
    exact = load_registry().entry("twm:eq21").quantities[0].name
    with pytest.raises(ValueError, match="EXACT"):
        verdicts("twm:eq21", exact, 1.0, measured=table1.Config.profile("paper"))
    with pytest.raises(ValueError, match="EXACT"):
        verdicts("twm:fig5", load_registry().entry("twm:fig5").quantities[0].name, 1.0, measured=EXACT)
    for pattern in (q.depends for e in load_registry().entries for q in e.quantities if q.depends):
        assert all(isinstance(p, str) and p.strip("!") for p in pattern)


def planted(root: Path, name: str, **changed: Any) -> Record:
    """A record under the paper profile's name whose configuration was changed by hand."""
    config = dataclasses.replace(get_experiment(name).Config.profile("paper"), **changed)
    provenance = Provenance("paper", (0,), "nowhere", started="2026-01-01T00:00:00+00:00")
    rows = Result(pd.DataFrame({"value": [0.6130]}))
    return open_record(write(root, name, config, rows, provenance, seed=0, code="c"))


def test_records_are_chosen_by_protocol_not_by_name(tmp_path: Path) -> None:
    toy = {"s": 4, "d": 2, "iterations": 20, "hidden_size": 16}
    planted(tmp_path, "repeat_copy", **toy)
    assert recorded("repeat_copy", root=tmp_path) == []
    whole = planted(tmp_path, "repeat_copy", runs=2)
    assert [r.key for r in recorded("repeat_copy", root=tmp_path)] == [whole.key]
    planted(tmp_path, "table1", s=4, d=4, iterations=20, tasks=("T1",))
    part = planted(tmp_path, "table1", tasks=("T1",))
    assert [r.key for r in recorded("table1", root=tmp_path)] == [part.key]
    assert size_of(part) == Size(records=(part.key,))


def test_costs_name_every_record_and_all_in_which_it_differs(tmp_path: Path) -> None:
    planted(tmp_path, "copying", lengths=(10,), runs=2)
    planted(tmp_path, "repeat_copy", s=4, iterations=20)
    planted(tmp_path, "repeat_copy")
    table = costs(root=tmp_path)
    assert table["experiment"].tolist() == ["copying", "repeat_copy", "repeat_copy"]
    assert {"lengths": [10], "runs": 2} in table["differs"].tolist()
    assert {"s": 4, "iterations": 20} in table["differs"].tolist()
    assert {} in table["differs"].tolist()
    assert set(table["machine"]) == {"nowhere"}
    assert costs("quick", tmp_path).empty


def test_other_protocols_are_returned_where_they_are_asked_for(tmp_path: Path) -> None:
    whole = planted(tmp_path, "copying", lengths=(0,))
    third = planted(tmp_path, "copying", lengths=(10,), iterations=20_000)
    planted(tmp_path, "copying", lengths=(10,), iterations=20)
    planted(tmp_path, "copying", lengths=(10,), iterations=20_000, batch=4)

    def keys(**also: Any) -> set[str]:
        return {record.key for record in recorded("copying", root=tmp_path, also=also)}

    assert keys() == {whole.key}
    assert keys(iterations=20_000) == keys(iterations=[20_000, 30_000]) == {whole.key, third.key}
    assert keys(iterations=30_000) == {whole.key}
    with pytest.raises(ValueError, match="iterations"):
        recorded("copying", root=tmp_path, also={"iteration": 20_000})
    assert size_of([third]).details() == "iterations 20,000 instead of 60,000"


def test_fields_added_since_have_their_default_and_fields_removed_count(tmp_path: Path) -> None:
    record = planted(tmp_path, "copying", lengths=(0,))
    without = dict(record.config)
    del without["large_units"]
    assert size_of(dataclasses.replace(record, config=without)) == Size(records=(record.key,))
    assert "momentum" in size_of(dataclasses.replace(record, config={**record.config, "momentum": 0.9})).details()


def test_chapters_and_experiments_meet_records_only_through_their_protocol() -> None:
    """What reads a record by its name alone would show a planted toy as the paper's size: take `recorded`."""
    root = Path(__file__).resolve().parents[2]
    for path in (*(root / "notebooks").glob("*.md"), *(root / "src" / "wavemem").glob("[ews]*/*.py")):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"records\.store import [^\n]*\b(find|load|open_record)\b", text), path.name
        if path.suffix == ".md":
            code = "\n".join(re.findall(r"^```\{code-cell\}.*?^```", text, re.MULTILINE | re.DOTALL))
            assert not re.search(r"open_record|records_root|record\.json|rows\.csv|\brecords/", code), path.name
