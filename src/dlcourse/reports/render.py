"""A page as Markdown and as HTML, by the templates page.md and page.html.

Markdown is what its doc says is Markdown; everything else is plain text, and is escaped.
"""

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import markdown
from markupsafe import Markup
from pandas import DataFrame

from dlcourse.reports.formats import to_grid
from dlcourse.reports.page import SIGNS, Page, Plot, Text

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
        [
            *map(escape_markdown, (f.text, f.where)),
            f"**{label_verdict(f.verdict.kind)}**",
            escape_markdown(f.verdict.evidence),
        ]
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

    functions: tuple[Callable[..., Any], ...] = (to_html, inline_html, to_grid, source, label_verdict)
    return render_template("page.html", page, {function.__name__: function for function in functions})
