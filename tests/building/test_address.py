"""Where the book is on the web: variables, settings, the checkout's remote."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from wavemem.building.address import online, repository
from wavemem.building.layout import BuildError, UsageError


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty checkout without a remote."""
    for name in ("REPOSITORY", "BOOK_URL", "GIT_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, "/dev/null")
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    return tmp_path


def remote(root: Path, address: str) -> None:
    subprocess.run(["git", "-C", str(root), "remote", "add", "origin", address], check=True)


@pytest.mark.parametrize(
    "address",
    [
        "https://github.com/Some-One/waves.git",
        "https://github.com/Some-One/waves/",
        "https://x-access-token:secret@github.com/Some-One/waves",
        "git@github.com:Some-One/waves.git",
        "github.com:Some-One/waves",
        "ssh://git@github.com/Some-One/waves.git",
        "ssh://git@ssh.github.com:443/Some-One/waves.git",
    ],
)
def test_the_remote_of_a_checkout(root: Path, address: str) -> None:
    assert repository(root) == online(root) == ""
    remote(root, address)
    assert repository(root) == "https://github.com/Some-One/waves"
    assert online(root) == "https://some-one.github.io/waves/"
    inner = root / "inside"
    inner.mkdir()
    assert repository(inner) == ""


@pytest.mark.parametrize(
    "address",
    [
        "/srv/git/waves.git",
        "https://gitlab.com/someone/waves.git",
        "https://github.com.example.org/someone/waves",
        "https://example.org/github.com/someone/waves",
        "git@github-work:someone/waves.git",
        "https://github.com/someone",
        "https://github.com/someone/..",
        "https://github.com/someone/waves/tree/main",
    ],
)
def test_other_remotes_are_no_address(root: Path, address: str) -> None:
    remote(root, address)
    assert repository(root) == online(root) == ""


def test_no_git(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remote(root, "git@github.com:someone/waves.git")
    monkeypatch.setenv("PATH", "/nowhere")
    assert repository(root) == ""


def test_names_that_github_treats_apart(root: Path) -> None:
    remote(root, "git@github.com:someone/Someone.github.io.git")
    assert repository(root) == "https://github.com/someone/Someone.github.io"
    assert online(root) == "https://someone.github.io/"


def test_the_variable_comes_before_the_settings_and_these_before_the_remote(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote(root, "git@github.com:a/remote.git")
    settings = root / "_config.yml"
    settings.write_text("repository: {url: ''}\nhtml: {baseurl: ''}\n")
    assert (repository(root), online(root)) == ("https://github.com/a/remote", "https://a.github.io/remote/")
    settings.write_text("repository: {url: 'https://github.com/b/settings'}\n")
    assert (repository(root), online(root)) == ("https://github.com/b/settings", "https://b.github.io/settings/")
    settings.write_text("html: {baseurl: 'https://waves.example.org'}\n")
    assert (repository(root), online(root)) == ("https://github.com/a/remote", "https://waves.example.org/")
    monkeypatch.setenv("REPOSITORY", "https://github.com/c/variable")
    monkeypatch.setenv("BOOK_URL", "http://localhost:8000/waves/")
    assert (repository(root), online(root)) == ("https://github.com/c/variable", "http://localhost:8000/waves/")
    monkeypatch.setenv("REPOSITORY", "")
    monkeypatch.setenv("BOOK_URL", "")
    assert (repository(root), online(root)) == ("", "")


@pytest.mark.parametrize("wrong", ["someone/waves", "https://gitlab.com/someone/waves", "https://github.com/someone"])
def test_what_is_said_and_is_no_repository(root: Path, monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    (root / "_config.yml").write_text(f"repository: {{url: '{wrong}'}}\n")
    with pytest.raises(UsageError, match=f"repository: url: of _config.yml is '{wrong}'; allowed: https://github.com/"):
        repository(root)
    monkeypatch.setenv("REPOSITORY", wrong)
    with pytest.raises(UsageError, match=f"variable REPOSITORY is '{wrong}'; allowed: https://github.com/OWNER/NAME"):
        online(root)


@pytest.mark.parametrize(
    "wrong", ["waves.example.org", "ftp://a.org/", "https://", "https://[", "https://a.org/?b", "https://a.org/ b"]
)
def test_what_is_said_and_is_no_book(root: Path, monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("BOOK_URL", wrong)
    with pytest.raises(UsageError, match=r"variable BOOK_URL is '.*'; allowed: where the book is published"):
        online(root)


def test_settings_that_are_none(root: Path) -> None:
    for text in ("[]\n", "repository: none\n", ""):
        (root / "_config.yml").write_text(text)
        assert repository(root) == ""
    (root / "_config.yml").write_text("a: [\n")
    with pytest.raises(BuildError, match=r"_config.yml is no YAML"):
        repository(root)


def test_the_files_that_cannot_ask_are_written(root: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    book = Path(__file__).resolve().parents[2]
    files = [root / name for name in ("pyproject.toml", "CITATION.cff")]
    for file in files:
        shutil.copy(book / file.name, file)
    write = runpy.run_path(str(book / "tools" / "address"))["main"]
    write(root)  # a fork that has written its own begins without
    bare = [file.read_bytes() for file in files]
    for owner in ("one", "another"):
        monkeypatch.setenv("REPOSITORY", f"https://github.com/{owner}/waves")
        for _ in range(2):
            write(root)
            project, citation = tomllib.loads(files[0].read_text()), yaml.safe_load(files[1].read_text())
            code, pages = f"https://github.com/{owner}/waves", f"https://{owner}.github.io/waves/"
            assert project["project"]["urls"] == {"Repository": code, "Documentation": pages}
            assert (citation["repository-code"], citation["url"]) == (code, pages)
            assert f"repository: {code}\nbook:       {pages}\n" in capsys.readouterr().out
    monkeypatch.delenv("REPOSITORY")
    write(root)
    assert [file.read_bytes() for file in files] == bare
    assert "urls" not in tomllib.loads(files[0].read_text())["project"]
