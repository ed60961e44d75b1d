"""Which code a chapter or an experiment uses, read from import lines without running anything, and what else its digits hang on.

The closure is followed through functions, classes and ``try`` blocks: an import that may happen counts. A package's
``__init__.py`` runs when a module inside is imported, so it belongs to the closure; the package's other modules do not. Files
that are no Python modules, such as a kernel's C source, belong to it where a module beside them names them in quotes.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from wavemem.kernels.compiled import in_use

_PACKAGE = Path(__file__).resolve().parents[1]  # src/wavemem
_MAGIC = re.compile(r"^(\s*)[%!?].*$", re.MULTILINE)


def _parsed(source: str) -> ast.Module | None:
    """The code as it is or, if it does not parse so, without the lines that look like magics."""
    for code in (source, _MAGIC.sub(r"\1pass", source)):
        try:
            return ast.parse(code)
        except SyntaxError:
            continue
    return None


@functools.lru_cache(maxsize=1024)  # chapters share most of their modules; parsing dominates the search
def imported_names(source: str, package: str = "") -> frozenset[str]:
    """Dotted names that a piece of code may import.

    ``from a.b import c`` yields both ``a.b`` and ``a.b.c``, since ``c`` may be a module or an attribute; the caller
    knows which names are files. Calls of ``import_module`` with a literal name count too.

    Args:
        source: Python code; lines with IPython magics are skipped. Code that does not parse is searched for names
            under ``wavemem`` and for words that may be modules there, so that a chapter with a broken cell still
            depends on what it names.
        package: The package that relative imports start from.
    """
    tree = _parsed(source)
    if tree is None:
        found = set(re.findall(r"\bwavemem(?:\.\w+)*", source))
        return frozenset(found | {f"{base}.{word}" for base in found for word in re.findall(r"\w+", source)})
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                kept = parents[: len(parents) - node.level + 1]
                base = ".".join([*kept, base] if base else kept)
            names.add(base)
            names.update(f"{base}.{alias.name}" for alias in node.names if alias.name != "*")
        elif isinstance(node, ast.Call):
            function = node.func
            called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            first = node.args[0] if node.args else None
            if called == "import_module" and isinstance(first, ast.Constant) and isinstance(first.value, str):
                names.add(first.value)
    return frozenset(names)


def module_file(root: Path, name: str) -> Path | None:
    """File of a module or package below ``root``, or None if there is no such module."""
    path = root.joinpath(*name.split("."))
    if (path / "__init__.py").is_file():
        return path / "__init__.py"
    file = path.with_name(f"{path.name}.py")
    return file if file.is_file() else None


def _companions(file: Path, text: str) -> list[Path]:
    """Files beside a module, or in the folder `data` beside it, whose name (with or without ending) it quotes."""
    others = [*file.parent.glob("*"), *file.parent.glob("data/*")]
    return [
        path
        for path in others
        if path.is_file()
        and path.suffix not in (".py", ".pyc", ".typed")
        and any(f"{quote}{name}{quote}" in text for name in (path.name, path.stem) for quote in "\"'")
    ]


def closure(sources: Iterable[str], root: Path) -> dict[str, Path]:
    """Modules of wavemem under ``root`` that the given pieces of code import, directly or through one another.

    Args:
        sources: Pieces of code, e.g. a chapter's cells.
        root: The folder that holds the package.

    Returns:
        Module name to file, in the order of names, packages on the way to a module included; "module:file" names a file
        that belongs to a module.
    """
    files: dict[str, Path] = {}
    waiting: list[str] = []

    def add(names: Iterable[str]) -> None:
        for name in names:
            if name.partition(".")[0] == "wavemem":
                parts = name.split(".")
                waiting.extend(".".join(parts[: count + 1]) for count in range(len(parts)))

    for source in sources:
        add(imported_names(source))
    while waiting:
        name = waiting.pop()
        if name in files:
            continue
        file = module_file(root, name)
        if file is None:
            continue
        files[name] = file
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        text = file.read_text(encoding="utf-8")
        add(imported_names(text, package))
        files.update({f"{name}:{path.name}": path for path in _companions(file, text)})
    return dict(sorted(files.items()))


def code_version(*modules: str) -> str:
    """Hash (16 hexadecimal digits) of the sources of modules and of all of wavemem that they import, directly or not.

    The search is static: files are parsed, not run. Hashed are each file's path inside wavemem and its content.

    Args:
        modules: dotted names such as ``wavemem.elman.table1``.

    Raises:
        ValueError: a module is not part of wavemem.
    """
    root = _PACKAGE.parent
    for name in modules:
        if name.partition(".")[0] != "wavemem" or module_file(root, name) is None:
            raise ValueError(f"module {name!r}; allowed: a module of wavemem. Give its dotted name.")
    digest = hashlib.sha256()
    for path in sorted(closure((f"import {name}" for name in modules), root).values()):
        digest.update(path.relative_to(_PACKAGE).as_posix().encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def computing(device: torch.device | str) -> dict[str, Any]:
    """What can change a measurement's digits on one machine: kind of device, threads, compiled kernels or not."""
    return {"device": torch.device(device).type, "threads": torch.get_num_threads(), "compiled": bool(in_use())}
