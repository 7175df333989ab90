"""A page's files: report.html, report.md, table.csv, verdicts.json and figures/."""

import json
from pathlib import Path

from dlcourse import plots, runs
from dlcourse.reports.page import CSV, HTML, MD, VERDICTS, Page
from dlcourse.reports.render import render_html, render_md


def render_files(page: Page) -> dict[str, bytes]:
    """All files of a page by their path in its folder."""
    names = [plot.name for plot in page.plots]
    if len(set(names)) < len(names):
        raise ValueError(f"two figures of {page.title!r} have one name: {sorted(names)}")
    files = {}
    for plot in page.plots:
        files[f"figures/{plot.name}.png"] = plots.png(plot.figure)
        files[f"figures/{plot.name}.svg"] = plots.svg(plot.figure)
    if page.runs is not None:
        files[CSV] = page.runs.to_csv(index=False, lineterminator="\n").encode()
    if page.verdicts:
        about = {"title": page.title, "source": page.source, "banner": list(page.banner), **page.record}
        about["claims"] = [
            {"text": f.text, "where": f.where, "check": f.check, "kind": f.verdict.kind, "evidence": f.verdict.evidence}
            for f in page.verdicts
        ]
        files[VERDICTS] = (json.dumps(about, indent=2, ensure_ascii=False) + "\n").encode()
    files[MD] = render_md(page).encode()
    files[HTML] = render_html(page, files).encode()
    return files


def write_page(page: Page, folder: Path) -> None:
    """Write the page's files into a folder, each whole or not at all; a page that can't be made leaves the old one.

    Figures and tables of an older page there that are no longer made are removed; other files are left alone.
    """
    files = render_files(page)
    older = (folder / MD).is_file()
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        runs.write_bytes(folder / name, data)
    old = [*(folder / "figures").glob("*.png"), *(folder / "figures").glob("*.svg"), folder / CSV, folder / VERDICTS]
    for path in old if older else []:
        if path.relative_to(folder).as_posix() not in files:
            path.unlink(missing_ok=True)
