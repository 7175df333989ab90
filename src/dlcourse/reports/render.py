"""A page's files: report.html and report.md by the templates page.html and page.md, table.csv, verdicts.json, figures/.

Markdown is what its doc says is Markdown; everything else is plain text, and is escaped.
"""

import base64
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import markdown
from markupsafe import Markup
from pandas import DataFrame

from dlcourse import plots, runs
from dlcourse.reports.formats import to_grid
from dlcourse.reports.page import CSV, HTML, MD, SIGNS, VERDICTS, Finding, Item, Page, Plot, Text

SVG_LIMIT = 60_000  # bytes: above it, an image in report.html is the smaller one of PNG and SVG


def render_template(name: str, page: Page, functions: Mapping[str, Callable[..., Any]], **values: Any) -> str:
    """A template with a page, its items and their kinds, and whether those need a heading."""
    environment = jinja2.Environment(
        autoescape=name.endswith(".html"), trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string(Path(__file__).with_name(name).read_text(encoding="utf-8"))
    items = [(type(item).__name__, item) for item in page.items]
    first = page.items[0] if page.items else Text("#")
    titled = not (isinstance(first, Text) and first.markdown.lstrip().startswith("#"))
    return template.render(page=page, items=items, titled=titled, **functions, **values)


def beside_published(findings: Sequence[Finding]) -> list[plots.Beside]:
    """The published figures of claims beside the measured ones: of several of one claim each by its own name."""
    return [
        plots.Beside(
            f.text if len(f.verdict.points) == 1 else point.label,
            point.published,
            point.measured,
            point.noise,
            f.verdict.kind,
        )
        for f in findings
        for point in f.verdict.points
    ]


def label_verdict(kind: str) -> str:
    return f"{SIGNS.get(kind, '?')} {kind}"


# --- Markdown --------------------------------------------------------------------------------------------------------


def escape_markdown(text: str) -> str:
    """Plain text in Markdown, on one line. An underscore within a word means nothing there, so it stays."""
    text = re.sub(r"([\\`*\[\]|~$])", r"\\\1", " ".join(text.split()))
    text = re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)
    return re.sub(r"&(?=#?\w+;)", "&amp;", text).replace("<", "&lt;")


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[bool] = ()) -> str:
    """A table of GitHub's Markdown, of cells that are Markdown already."""
    right = list(numbers) or [False] * len(header)
    lines = [header, ["---:" if r else "---" for r in right], *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)


def render_md(page: Page) -> str:
    md = escape_markdown

    def table(frame: DataFrame) -> str:
        grid = to_grid(frame)
        rows = [list(map(md, row)) for row in grid.rows]
        return markdown_table(list(map(md, grid.header)), rows, grid.numbers)

    verdicts = [
        [md(f.text), md(f.where), f"**{label_verdict(f.verdict.kind)}**", f.stands_on, md(f.verdict.evidence)]
        for f in page.verdicts
    ]
    facts = [list(map(md, fact)) for fact in page.facts]
    functions: dict[str, Callable[..., Any]] = {"md": md, "table": markdown_table, "grid": table}
    text = render_template("page.md", page, functions, verdicts=verdicts, facts=facts)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


# --- HTML ------------------------------------------------------------------------------------------------------------


def to_html(text: str) -> Markup:
    """Markdown as HTML; tags in it are shown, not obeyed."""
    converter = markdown.Markdown(extensions=["tables", "sane_lists", "fenced_code"], output_format="html")
    converter.preprocessors.deregister("html_block")
    converter.inlinePatterns.deregister("html")
    return Markup(converter.convert(text))


def inline_html(text: str) -> Markup:
    """Markdown of one paragraph, without the paragraph: for a list or a cell."""
    html = to_html(" ".join(text.split()))
    return Markup(html.removeprefix("<p>").removesuffix("</p>")) if html.count("<p>") == 1 else html


def render_html(page: Page, images: Mapping[str, bytes]) -> str:
    """images: `figures/NAME.png` and `.svg` of each plot."""

    def source(plot: Plot) -> str:
        svg, png = images[f"figures/{plot.name}.svg"], images[f"figures/{plot.name}.png"]
        vector = len(svg) <= max(SVG_LIMIT, len(png))
        text = base64.b64encode(svg if vector else png).decode()
        return f"data:image/{'svg+xml' if vector else 'png'};base64,{text}"

    def alternative(plot: Plot) -> str:
        shown = plots.describe(plot.figure)
        return f"{plot.title}: {shown}" if shown and shown not in plot.title else plot.title

    def anchor(item: Item) -> str:
        return f"item-{next(i for i, other in enumerate(page.items) if other is item) + 1}"

    def options(values: Iterable[str]) -> list[tuple[str, int]]:
        """What may be chosen among rows, each with how many there are; nothing where all are alike."""
        counts = Counter(values)
        return list(counts.items()) if len(counts) > 1 else []

    functions: tuple[Callable[..., Any], ...] = (
        to_html, inline_html, to_grid, source, label_verdict, alternative, anchor, options,
    )  # fmt: skip
    return render_template("page.html", page, {function.__name__: function for function in functions})


# --- Files -----------------------------------------------------------------------------------------------------------


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
            {
                "text": f.text,
                "where": f.where,
                "check": f.check,
                "kind": f.verdict.kind,
                "basis": list(f.verdict.basis),
                "evidence": f.verdict.evidence,
                "points": [list(point) for point in f.verdict.points],
            }
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
