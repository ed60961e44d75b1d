"""What nbgrader lacks: a judge that a student's code cannot reach, and feedback that does not show hidden tests.

Runs in nbgrader's environment; `nbgrader_config.py`, which `wavemem course release` writes, names these classes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
from nbgrader.preprocessors import NbGraderPreprocessor
from traitlets import Unicode

from wavemem.course.judge import judge
from wavemem.course.source import kind, name


class Judge(NbGraderPreprocessor):
    """In the place of nbgrader's Execute: a test that fails leaves its error as the output of its cell."""

    kernel = Unicode("wavemem", help="Name of the book's kernel.").tag(config=True)

    def preprocess(self, nb: Any, resources: Any) -> tuple[Any, Any]:
        """Judge a submission."""
        known = resources["nbgrader"]
        source = nbformat.read(Path("source", known["assignment"], f"{known['notebook']}.ipynb"), as_version=4)
        found = judge(nb, source, known["student"], self.kernel)
        for cell in nb.cells:
            if cell.cell_type == "code":
                test = cell.metadata.get("nbgrader", {}).get("grade_id")
                cell.execution_count, cell.outputs = None, []
                if error := found.get(test, ""):
                    ename, _, evalue = error.partition(": ")
                    cell.outputs = [nbformat.v4.new_output("error", ename=ename, evalue=evalue, traceback=[error])]
        return nb, resources


class Conceal(NbGraderPreprocessor):
    """Before feedback is written: of a hidden test, what came of it."""

    def preprocess_cell(self, cell: Any, resources: Any, index: int) -> tuple[Any, Any]:
        """Cut a hidden test's code."""
        if kind(cell) == "hidden":
            cell.source = f"# hidden test: {name(cell)}"
        return cell, resources
