"""The registry's contents, its errors, and the statuses that are computed from it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wavemem.elman.gradient_propagation import Config
from wavemem.records import registry
from wavemem.records.entries import Quantity, load_registry
from wavemem.records.registry import judge, report, summary, verdicts
from wavemem.records.sizes import Size

QUICK = Config.profile("quick")
SMALL = Size(differs=("d 4 instead of 8",))
DECAY = "decay rate after crossing, relative to start"


def numbered(paper: str, kind: str) -> set[str]:
    return {e.id.split(":")[1] for e in load_registry().of_paper(paper) if e.kind == kind}


def test_everything_that_the_papers_number_is_listed() -> None:
    assert {f"eq{n}" for n in range(1, 49)} == numbered("twm", "equation")
    assert {f"fig{n}" for n in range(1, 15)} == numbered("twm", "figure")
    assert {"table1", "table2"} == numbered("twm", "table")
    assert numbered("twm", "theorem") == {"thm3.1"}
    assert numbered("twm", "algorithm") == {"alg1"}
    assert {f"eq{n}" for n in range(1, 4)} <= numbered("wrnn", "equation")
    assert {f"fig{n}" for n in range(1, 20)} == numbered("wrnn", "figure")
    assert {f"table{n}" for n in range(1, 8)} == numbered("wrnn", "table")
    assert numbered("vwave", "figure") == {"fig1", "fig2"}


def test_unknown_ids_and_quantities_list_the_nearest() -> None:
    with pytest.raises(ValueError, match="twm:fig5"):
        report("twm:fig05", "x", 1.0, measured=QUICK)
    with pytest.raises(ValueError, match=DECAY):
        report("twm:fig5", "decay rate after", 1.0, measured=QUICK)
    for unknown in ("paper", [], None, 3, {"another": QUICK}):
        with pytest.raises(ValueError, match="measured"):
            report("twm:fig5", DECAY, 1.0, measured=unknown)
    with pytest.raises(ValueError, match="exactly one"):
        report("twm:fig5", measured=QUICK)
    for bad in ("many", [], [[1.0]], [math.inf], None):
        with pytest.raises(ValueError, match="ours"):
            report("twm:fig5", DECAY, bad, measured=QUICK)


@given(values=st.lists(st.floats(-10, 10), min_size=1, max_size=8), bound=st.floats(-10, 10))
def test_status_follows_from_how_many_seeds_pass(values: list[float], bound: float) -> None:
    for size, met in ((SMALL, "at reduced size"), (Size(), "reproduced"), (Size(data="digits"), "on other data")):
        status, passed = judge(Quantity("q", at_most=bound), values, size)
        assert passed == sum(v <= bound for v in values)
        assert status == {len(values): met, 0: "not reproduced"}.get(passed, "partly")


def test_share_mean_and_undetermined_seeds() -> None:
    values = [0.0, 0.0, 0.0, 1.0]
    assert judge(Quantity("q", at_most=0.5, share=0.75), values, Size())[0] == "reproduced"
    assert judge(Quantity("q", at_most=0.5, share=0.76), values, Size())[0] == "partly"
    assert judge(Quantity("q", at_most=0.5, share=0.7), [0.0] * 7 + [1.0] * 3, Size()) == ("reproduced", 7)
    assert judge(Quantity("q", at_most=0.5), values, SMALL)[0] == "partly"
    assert judge(Quantity("q", at_most=0.5, of="mean"), values, Size())[0] == "reproduced"
    assert judge(Quantity("q", at_most=0.5, of="mean"), [*values, math.nan], SMALL)[0] == "partly"
    assert judge(Quantity("q", at_most=0.5), [math.nan], SMALL)[0] == "not reproduced"


def test_bounds_relative_to_the_paper() -> None:
    assert Quantity("q", paper=0.97, within=0.05).holds(0.92)
    assert not Quantity("q", paper=0.97, within=0.05).holds(0.919)
    factor = Quantity("q", paper=1e-9, within_factor=10)
    assert factor.holds(9e-9)
    assert factor.holds(1.1e-10)
    assert not factor.holds(1.1e-8)
    assert not factor.holds(-1e-9)


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ({"at_least": 0.5, "at_most": 2.0, "unit": "rad"}, "every seed: 0.5 to 2 rad"),
        ({"at_least": 16, "at_most": 16, "share": 0.75}, "75% of seeds: 16"),
        ({"at_least": -0.5}, "every seed: ≥ −0.5"),
        ({"at_most": 0.001, "unit": "rad", "of": "mean"}, "mean: ≤ 0.001 rad"),
        ({"paper": 1.0, "within": 0.05, "unit": "rad"}, "every seed: within 0.05 rad of the paper"),
        ({"paper": 1.0, "within_factor": 10}, "every seed: within a factor 10 of the paper"),
        ({"paper": 1.0, "within": 0, "at_least": 0.9}, "every seed: ≥ 0.9, within 0 of the paper"),
    ],
)
def test_a_criterion_in_words(bounds: dict[str, Any], words: str) -> None:
    assert Quantity("q", **bounds).criterion() == words


def test_summary_counts_what_it_averages() -> None:
    assert summary([1.0, 2.0, 3.0]) == "2 ± 1 (n = 3)"
    assert summary([1.0, math.nan]) == "1 (n = 2, 1 undetermined)"
    assert summary([math.nan]) == "— (n = 1, all undetermined)"


def test_report_says_in_a_line_what_it_notes_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WAVEMEM_RESULTS_DIR", str(tmp_path))
    monkeypatch.setenv("WAVEMEM_CHAPTER", "06-gradient-bounds")
    monkeypatch.setattr(registry, "_started", set())
    path = tmp_path / "06-gradient-bounds.json"
    path.write_text("left by an earlier execution")
    report("twm:fig5", DECAY, torch.tensor([0.05, 0.2]), measured=QUICK, note="s = d = 4 & small")
    report("twm:fig5", quantities={DECAY: np.array([0.05, math.nan])}, measured=QUICK)
    shown = capsys.readouterr().out
    assert shown.splitlines()[0].endswith(f": 0 of 1 criteria met (reduced); not met: {DECAY} (1 of 2)")
    rows = json.loads(path.read_text())["results"]
    assert len(rows) == 1
    assert rows[0]["ours"] == [0.05, None]
    assert rows[0]["status"] == "partly"
    report("twm:fig5", DECAY, 0.05, measured=Size(differs=("s 2 instead of 8",)))  # another size replaces nothing
    assert capsys.readouterr().out.endswith(": 1 of 1 criteria met (reduced)\n")
    assert [len(row["ours"]) for row in json.loads(path.read_text())["results"]] == [2, 1]
    monkeypatch.delenv("WAVEMEM_CHAPTER")
    with pytest.raises(ValueError, match="WAVEMEM_CHAPTER"):
        report("twm:fig5", DECAY, 0.0, measured=QUICK)


def test_the_line_is_escaped_and_leads_to_the_report() -> None:
    entry = replace(load_registry().entry("twm:fig5"), title="a < b")
    found = verdicts("twm:fig5", DECAY, [0.05], measured=QUICK)
    shown = registry.Report(entry, tuple(found))._repr_html_()
    assert 'href="../pages/reproduction.html#report-twm-fig5">Fig. 5</a>, a &lt; b: 1 of 1 criteria met' in shown


def test_every_criterion_can_be_stated_and_has_a_reason() -> None:
    for entry in load_registry().entries:
        for quantity in entry.quantities:
            assert quantity.criterion().split(": ", 1)[1], (entry.id, quantity.name)
            assert quantity.why, (entry.id, quantity.name)


HEAD = '[paper]\nkey = "x"\ntitle = "t"\nshort = "s"\ncitation = "c"\n[[entry]]\n'
CLAIM = '[[claim]]\nid = "x:a"\nwords = "w"\nplace = "p"\nwhere = ["01-a"]\nwhy = "y."\n'
ENTRY = 'id = "x:eq1"\nkind = "equation"\ntitle = "t"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[entry", "not TOML"),
        (HEAD + 'id = "x:eq1"\nkind = "equation"\n', "title"),
        (HEAD + ENTRY + 'chaptr = "y"\n', "chaptr"),
        (HEAD + 'id = "y:eq1"\nkind = "equation"\ntitle = "t"\n', r"\['x'\]"),
        (HEAD + 'id = "x:eq1"\nkind = "formula"\ntitle = "t"\n', "equation, theorem"),
        (HEAD + ENTRY + "[[entry]]\n" + ENTRY, "twice"),
        (HEAD + ENTRY + '[[entry.quantity]]\nname = "q"\n', "no criterion"),
        (HEAD + ENTRY + '[[entry.quantity]]\nname = "q"\nwithin = 1\n', "not given"),
        (HEAD + ENTRY + '[[entry.quantity]]\nname = "q"\nat_most = 1\nof = "all"\n', "seeds|mean"),
        (HEAD + ENTRY + '[[entry.quantity]]\nname = "q"\nat_most = 1\n' * 2, "each name once"),
        (HEAD + ENTRY + '[[entry.quantity]]\nname = "q"\nat_most = 1\ntrivial = 0.5\n', "trivial predictor"),
        (HEAD + ENTRY + 'verdict = "corrected"\n', "with the test"),
        (HEAD + ENTRY + 'verdict = "wrong"\n', "corrected, refuted"),
        (CLAIM.replace("words", "quote"), "quote"),
        (CLAIM.replace('place = "p"\n', ""), "place"),
        (CLAIM + 'settled = "true"\ntest = "t"\n', "holds, corrected"),
        (CLAIM + 'settled = "holds"\n', "with the test that shows it"),
        (CLAIM + 'test = "t"\n', "Leave both out"),
        (CLAIM * 2, "occur twice"),
        (CLAIM.replace("x:a", "a"), "ids 'paper:"),
    ],
)
def test_mistakes_in_a_registry_file_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "registry").mkdir()
    (tmp_path / "registry" / "x.toml").write_text(text)
    with pytest.raises(ValueError, match=message.replace("|", r"\|")):
        load_registry(tmp_path)


def test_fingerprint_follows_criteria_of_named_entries_not_links(tmp_path: Path) -> None:
    (tmp_path / "registry").mkdir()
    path = tmp_path / "registry" / "x.toml"

    def mark(extra: str = "", bound: int = 1, other: int = 1) -> str:
        first = ENTRY + f'{extra}[[entry.quantity]]\nname = "q"\nat_most = {bound}\n'
        second = '[[entry]]\nid = "x:eq2"\nkind = "equation"\ntitle = "t"\n'
        second += f'[[entry.quantity]]\nname = "q"\nat_most = {other}\n'
        path.write_text(f"{HEAD}{first}{second}# {extra!r} {bound} {other}\n")
        return registry.fingerprint('report("x:eq1", "q", 1)', tmp_path)

    assert mark() == mark('label = "a label"\n') == mark(other=20)
    assert mark() != mark(bound=20)
    named, quoted, silent = (
        registry.fingerprint(text, tmp_path) for text in ('"x:eq1"', "report('x:eq1', 'q', 1)", "x:eq1")
    )
    assert named == quoted != silent == registry.fingerprint("", tmp_path)


def test_a_verdict_is_said_in_a_sentence_and_takes_its_source_along() -> None:
    verdict = verdicts("twm:fig5", DECAY, [-0.02, 0.25, math.nan], measured=QUICK)[0]
    said = verdict.say("{passed} of {n}, {status}, from {low:.2f} to {high:.2f}")
    assert str(said) == "1 of 3, partly, from −0.02 to 0.25"
    data, metadata = said._repr_mimebundle_()
    assert data == {"text/plain": str(said)}
    assert metadata["wavemem"] == {"entry": "twm:fig5", "quantity": DECAY, "form": said.form}
    with pytest.raises(ValueError, match="median"):
        verdict.say("{median}")
    with pytest.raises(ValueError, match="allowed"):
        verdicts("twm:fig5", DECAY, [math.nan], measured=QUICK)[0].say("{mean:.2f}")
