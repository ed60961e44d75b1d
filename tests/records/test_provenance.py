"""Which source files a module uses, and the hash of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from wavemem.records import provenance
from wavemem.records.experiment import experiment_names, get_experiment


def test_code_version_changes_exactly_with_used_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "wavemem"
    (package / "sub").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "sub" / "__init__.py").write_text("")
    (package / "used.py").write_text("x = 1\n")
    (package / "unused.py").write_text("x = 1\n")
    (package / "sub" / "start.py").write_text("def f():\n    from wavemem import used\n")
    monkeypatch.setattr(provenance, "_PACKAGE", package)
    before = provenance.code_version("wavemem.sub.start")
    (package / "unused.py").write_text("x = 2\n")
    assert provenance.code_version("wavemem.sub.start") == before
    (package / "used.py").write_text("x = 2\n")
    assert provenance.code_version("wavemem.sub.start") != before


def test_modules_outside_the_library_are_refused() -> None:
    with pytest.raises(ValueError, match="module of wavemem"):
        provenance.code_version("numpy")
    with pytest.raises(ValueError, match="module of wavemem"):
        provenance.code_version("wavemem.no_such_module")


def test_git_state_is_the_project_s_own_or_unknown(tmp_path: Path) -> None:
    assert provenance.git_state(tmp_path) == ("unknown", True)
    outer, inner = tmp_path / "outer", tmp_path / "outer" / "book"
    inner.mkdir(parents=True)
    git = ["git", "-C", str(outer), "-c", "user.name=a", "-c", "user.email=b", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "of another project"]):
        subprocess.run([*git, *command], check=True)
    commit, dirty = provenance.git_state(outer)
    assert len(commit) == 40
    assert not dirty
    assert provenance.git_state(inner) == ("unknown", True)  # a tree without .git inside another repository
    (outer / "new").touch()
    assert provenance.git_state(outer) == (commit, True)


def test_every_experiment_has_the_three_names_and_both_profiles() -> None:
    for name in experiment_names():
        experiment = get_experiment(name)
        for profile in ("quick", "paper"):
            experiment.Config.profile(profile)
        with pytest.raises(ValueError, match="quick"):
            experiment.Config.profile("no such profile")


def test_unknown_experiment_lists_what_exists() -> None:
    with pytest.raises(ValueError, match="does not exist"):
        get_experiment("no_such_experiment")
