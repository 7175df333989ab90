"""`python notebooks/run.py [1_by_hand ...]`: run notebooks at their own size, write the .ipynb with what came out.

The .py is what one edits. The .ipynb gets its cells, the outputs, and nothing of the machine: no times, no random ids,
no paths.
"""

import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def executed(source: Path) -> Any:
    """The notebook of a .py with its outputs. Raises nbclient's CellExecutionError where a cell fails."""
    notebook = jupytext.read(source)
    notebook.metadata = nbformat.from_dict(METADATA)
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = str(number), nbformat.from_dict({})
    NotebookClient(notebook, timeout=600, record_timing=False, coalesce_streams=True).execute(cwd=str(source.parent))
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        for output in (output for output in cell.outputs if output.output_type == "stream"):
            output.text = as_seen(output.text)
        cell.outputs = [output for output in cell.outputs if output.get("text") != ""]
    return notebook


def as_seen(text: str) -> str:
    """What a terminal shows in the end: progress lines are overwritten; and the data folder by its variable."""
    text = re.sub(r"[^\n]*\r(?!\n)", "", text.replace("\r\n", "\n"))
    folder = os.environ.get("DLCOURSE_DATA")
    return text.replace(str(Path(folder).expanduser()), "$DLCOURSE_DATA") if folder else text


def main(names: list[str]) -> None:
    for source in [HERE / f"{name}.py" for name in names] or sorted(HERE.glob("[0-9]_*.py")):
        began = time.monotonic()
        nbformat.write(executed(source), source.with_suffix(".ipynb"))
        print(f"{source.stem}: {(time.monotonic() - began) / 60:.1f} minutes")


if __name__ == "__main__":
    main(sys.argv[1:])
