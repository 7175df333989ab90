"""Report pages: what is on one, and how it is written as report.html, report.md, table.csv and figures/.

A page is made of texts, tables and figures. It knows nothing of runs or studies: it gets numbers and sentences.
Markdown is what its doc says is Markdown; everything else is plain text, and is escaped.
"""

import base64
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jinja2
import markdown
from markupsafe import Markup
from matplotlib.figure import Figure
from pandas import DataFrame

from dlcourse import plots, runs

HTML, MD, CSV, VERDICTS = "report.html", "report.md", "table.csv", "verdicts.json"
GAP = "–"
SIGNS = {"reproduced": "✓", "beaten": "▲", "refuted": "✗", "not comparable": "≈", "answered": "●", "not run": "○"}
SVG_LIMIT = 60_000  # bytes: above it, an image in report.html is the smaller one of PNG and SVG


@dataclass(frozen=True)
class Text:
    """Markdown; a heading in it starts with ## (or ####, below a table's title)."""

    markdown: str


@dataclass(frozen=True)
class Table:
    """Cells are plain texts, or numbers, which are printed with four significant digits; NaN and None are a gap."""

    title: str
    frame: DataFrame
    note: str = ""  # markdown, below the table


@dataclass(frozen=True)
class Plot:
    """name: the stem of its files, as `optimizers` for figures/optimizers.png."""

    name: str
    title: str
    figure: Figure
    note: str = ""  # markdown, below the figure


Item = Text | Table | Plot


class Verdict(Protocol):
    """What was found about a claim: dlcourse.studies.verdict makes them."""

    @property
    def kind(self) -> str: ...
    @property
    def evidence(self) -> str: ...


class Finding(NamedTuple):
    """A claim of a report or a question to it, where it stands, and what was found."""

    text: str
    where: str
    verdict: Verdict
    check: str = ""  # the name of the function that decided


@dataclass
class Page:
    title: str
    source: str = ""
    lead: str = ""  # markdown
    banner: Sequence[str] = ()  # what nobody may overlook: stand-in data, a quick budget, not comparable
    deviations: Sequence[str] = ()  # markdown: where the runs differ from the report's
    items: Sequence[Item] = ()
    verdicts: Sequence[Finding] = ()
    facts: Sequence[tuple[str, str]] = ()  # name and text: command, runs, device, data
    runs: DataFrame | None = None  # table.csv
    record: Mapping[str, Any] = field(default_factory=dict)  # what else verdicts.json says, as the study's name

    @property
    def plots(self) -> list[Plot]:
        return [item for item in self.items if isinstance(item, Plot)]


# --- numbers as text -------------------------------------------------------------------------------------------------


def format_mean(mean: float | None, sd: float | None = None, digits: int = 4) -> str:
    """`0.9793 ± 0.0012`, digits after the point; without sd (or with NaN: a single run) `0.9793`; a gap is `–`."""
    if mean is None or math.isnan(mean):
        return GAP
    text = f"{mean:.{digits}f}"
    return text if sd is None or math.isnan(sd) else f"{text} ± {sd:.{digits}f}"


def format_percent(mean: float | None, sd: float | None = None, digits: int = 2) -> str:
    """A share in percent, without the sign: 0.9793 and 0.0012 are `97.93 ± 0.12`."""
    return format_mean(mean if mean is None else 100 * mean, sd if sd is None else 100 * sd, digits)


def format_column(values: Sequence[Any]) -> list[str]:
    """A column as texts. Measured floats of about one size have equally many digits after the point: they line up."""
    floats = [v for v in values if isinstance(v, float) and math.isfinite(v)]
    sizes = [abs(v) for v in floats if v]
    whole = all(v.is_integer() for v in floats)
    measured = any(len(f"{v:.4g}".lstrip("0.").replace(".", "")) > 2 for v in sizes)
    digits = max(4 - math.ceil(math.log10(max(sizes))), 0) if sizes else 0
    lined_up = measured and max(sizes) <= 100 * min(sizes) and digits < 8

    def text(value: Any) -> str:
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return GAP
        if not isinstance(value, float) or math.isinf(value):
            return str(value)
        if whole or abs(value) >= 1e4:
            return f"{value:.0f}"
        return f"{value:.{digits}f}" if lined_up else re.sub(r"e([+-])0*", r"e\1", f"{value:.4g}")

    return [text(value) for value in values]


class Grid(NamedTuple):
    """A table as texts; numbers are columns of numbers, which stand at the right."""

    header: list[str]
    rows: list[list[str]]
    numbers: list[bool]


def to_grid(frame: DataFrame) -> Grid:
    header = [" ".join(map(str, c)) if isinstance(c, tuple) else str(c) for c in frame.columns]
    columns = [format_column(frame.iloc[:, i].astype(object).tolist()) for i in range(len(header))]
    number = re.compile(r"–|[-+]?(\d+|\d{1,3}(,\d{3})+|(?=\.\d))(\.\d+)?(e[+-]\d+)?( ± [\d.]+)?( ?%)?|-?inf")
    numbers = [any(c != GAP for c in column) and all(number.fullmatch(c) for c in column) for column in columns]
    return Grid(header, [list(row) for row in zip(*columns, strict=True)], numbers)


# --- Markdown --------------------------------------------------------------------------------------------------------


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


def label_verdict(kind: str) -> str:
    return f"{SIGNS.get(kind, '?')} {kind}"


def render_md(page: Page) -> str:
    parts = [f"# {escape_markdown(page.title)}"]
    if page.source:
        parts.append(f"*{escape_markdown(page.source)}*")
    parts += [f"> **{escape_markdown(sentence)}**" for sentence in page.banner]
    if page.lead:
        parts.append(page.lead.strip())
    if page.verdicts:
        rows = [
            [
                escape_markdown(f.text),
                escape_markdown(f.where),
                f"**{label_verdict(f.verdict.kind)}**",
                escape_markdown(f.verdict.evidence),
            ]
            for f in page.verdicts
        ]
        parts += ["## Verdicts", markdown_table(["claim", "where", "verdict", "evidence"], rows)]
    if page.deviations:
        parts += ["## Where these runs differ", "\n".join("- " + " ".join(d.split()) for d in page.deviations)]
    if titled(page):
        parts.append("## Results")
    for item in page.items:
        if isinstance(item, Text):
            parts.append(item.markdown.strip())
            continue
        parts.append(f"### {escape_markdown(item.title)}")
        if isinstance(item, Plot):
            parts.append(f"![{escape_markdown(item.title)}](figures/{item.name}.png)")
        else:
            table = to_grid(item.frame)
            rows = [[escape_markdown(cell) for cell in row] for row in table.rows]
            parts.append(markdown_table([escape_markdown(h) for h in table.header], rows, table.numbers))
        if item.note:
            parts.append(item.note.strip())
    if page.facts:
        parts += [
            "## The runs",
            markdown_table(["", ""], [[escape_markdown(n), escape_markdown(t)] for n, t in page.facts]),
        ]
    return "\n\n".join(parts) + "\n"


def titled(page: Page) -> bool:
    """Whether the items need a heading: not where they bring one."""
    first = page.items[0] if page.items else Text("#")
    return not (isinstance(first, Text) and first.markdown.lstrip().startswith("#"))


# --- HTML ------------------------------------------------------------------------------------------------------------


def render_html(page: Page, images: Mapping[str, bytes]) -> str:
    """images: `figures/NAME.png` and `.svg` of each plot."""
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))

    def source(plot: Plot) -> str:
        svg, png = images[f"figures/{plot.name}.svg"], images[f"figures/{plot.name}.png"]
        vector = len(svg) <= max(SVG_LIMIT, len(png))
        text = base64.b64encode(svg if vector else png).decode()
        return f"data:image/{'svg+xml' if vector else 'png'};base64,{text}"

    return template.render(
        page=page,
        items=[(type(item).__name__, item) for item in page.items],
        titled=titled(page),
        to_html=to_html,
        inline_html=inline_html,
        to_grid=to_grid,
        source=source,
        label_verdict=label_verdict,
    )


# --- files -----------------------------------------------------------------------------------------------------------


def render(page: Page) -> dict[str, bytes]:
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


def write(page: Page, folder: Path) -> None:
    """Write the page's files into a folder, each whole or not at all; a page that can't be made leaves the old one.

    Figures and tables of an older page there that are no longer made are removed; other files are left alone.
    """
    files = render(page)
    older = (folder / MD).is_file()
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        runs.write_bytes(folder / name, data)
    old = [*(folder / "figures").glob("*.png"), *(folder / "figures").glob("*.svg"), folder / CSV, folder / VERDICTS]
    for path in old if older else []:
        if path.relative_to(folder).as_posix() not in files:
            path.unlink(missing_ok=True)
