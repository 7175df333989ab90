"""Report pages: the texts, numbers and figures on them are what was given, in files that stand alone."""

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from pandas import DataFrame

from dlcourse import plots
from dlcourse.reports import page
from dlcourse.reports.formats import format_column, format_mean, format_percent, to_grid
from dlcourse.reports.page import Finding, Item, Page, Plot, Table, Text
from dlcourse.reports.render import escape_markdown, inline_html, render_files, write_page
from dlcourse.studies.verdict import answered, beaten, decide, not_run, undecided

EMPTY = {"meta", "img", "br", "hr", "link", "input"}
GOLDEN = """\
# Two networks

*A course, assignment 1*

> **Stand-in data: 5,000 digits.**

Two networks, *three* seeds each.

## Verdicts

| claim | where | verdict | stands on | evidence |
| --- | --- | --- | --- | --- |
| loss &lt;35 & accuracy >75 % | section 2 | **✓ reproduced** | published data | loss 28.0 ± 0.3 (n = 3) |
| When does it stop? |  | **● answered** | published data | After 33 epochs. |

## Where these runs differ

- 10 epochs, not 100: `trainer.max_epochs`.

## Results

### Accuracy \\[%\\]

| network | published | here | runs |
| --- | ---: | ---: | ---: |
| linear | 92 | 92.10 ± 0.20 | 3 |
| a\\|b | – | 98.00 | 1 |

Means over *seeds*.

### Curves

![Curves](figures/curves.png)

## The runs

|  |  |
| --- | --- |
| command | python -m dlcourse.train study=a/b\\_\\* |
"""


def curve() -> Figure:
    return plots.superimposed({"a": ([0, 1], [1.0, 0.5])})


def small(**changes: Any) -> Page:
    networks = [["linear", "92", format_percent(0.921, 0.002), 3], ["a|b", None, format_percent(0.98), 1]]
    items: list[Item] = [
        Table(
            "Accuracy [%]", DataFrame(networks, columns=["network", "published", "here", "runs"]), "Means over *seeds*."
        ),
        Plot("curves", "Curves", curve()),
    ]
    given: dict[str, Any] = {
        "title": "Two networks",
        "source": "A course, assignment 1",
        "lead": "Two networks, *three* seeds each.\n",
        "banner": ["Stand-in data: 5,000 digits."],
        "deviations": ["10 epochs, not 100: `trainer.max_epochs`."],
        "items": items,
        "verdicts": [
            Finding("loss <35 & accuracy >75 %", "section 2", decide(True, "loss 28.0 ± 0.3 (n = 3)"), "loss"),
            Finding("When does it stop?", "", answered("After 33 epochs.")),
        ],
        "facts": [("command", "python -m dlcourse.train study=a/b_*")],
        "runs": DataFrame({"seed": [0, 1], "val/accuracy": [0.9, float("nan")]}),
        "record": {"study": "a/b"},
    }
    return Page(**given | changes)


class Read(HTMLParser):
    """What a browser would make of a page; tags that aren't closed in order are an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open) and data.strip():
            self.texts.append(" ".join(data.split()))

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def html(given: Page) -> Read:
    return Read(render_files(given)[page.HTML].decode())


# --- numbers ---------------------------------------------------------------------------------------------------------


def test_means_are_shown_with_their_deviation_and_a_gap_is_no_zero() -> None:
    assert format_mean(0.97934, 0.00121) == "0.9793 ± 0.0012"
    assert format_mean(13.98, float("nan"), digits=2) == "13.98"
    assert format_mean(np.nan, 0.1) == format_mean(None) == format_percent(None) == format_percent(float("nan")) == "–"
    assert format_percent(0.97934, 0.00121) == "97.93 ± 0.12"
    assert format_percent(1 / 3, digits=1) == "33.3"


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([0.97931, 0.9, 1.0], ["0.9793", "0.9000", "1.0000"]),  # measured, of one size: they line up
        ([134.05, 58.153, 0.0], ["134.1", "58.2", "0.0"]),
        ([0.7603, 0.027777], ["0.7603", "0.0278"]),
        ([2.71e-5, 6.6e-6], ["2.71e-5", "6.6e-6"]),
        ([0.1, 0.01, 0.001], ["0.1", "0.01", "0.001"]),  # settings stay as they are typed
        ([0.00001234, 1.5], ["1.234e-5", "1.5"]),
        ([3.0, float("nan"), 60000.0], ["3", "–", "60000"]),  # whole numbers that a gap has made floats
        ([12345.678], ["12346"]),
        ([float("inf"), -0.5], ["inf", "-0.5"]),
        ([7, "x", None, True], ["7", "x", "–", "True"]),
        ([], []),
    ],
)
def test_numbers_in_a_table(values: list[Any], texts: list[str]) -> None:
    assert format_column(values) == texts


def test_columns_of_numbers_stand_at_the_right() -> None:
    columns = {"a": ["92.1 ± 0.2", "–"], "b": ["30,20,10", "10"], "c": [1, 2], "d": ["1,000", "-3e-5"], "e": ["–", "–"]}
    assert to_grid(DataFrame(columns)).numbers == [True, False, True, True, False]


# --- Markdown --------------------------------------------------------------------------------------------------------


def test_the_markdown_of_a_small_page() -> None:
    assert render_files(small())[page.MD].decode() == GOLDEN


@pytest.mark.parametrize(
    "text", ["a_b", "_x_ *y* `z`", "a|b", "<b>&amp;</b>", "~89/~75", "[1](2)", "\\n $x$", "x <y & z", "1 & 2; 3"]
)
def test_plain_text_stays_as_it_is_in_markdown(text: str) -> None:
    (shown,) = Read(f"<p>{inline_html(escape_markdown(text))}</p>").texts
    assert shown.replace("\\~", "~").replace("\\|", "|").replace("\\$", "$") == text  # GitHub's Markdown escapes more


# --- HTML ------------------------------------------------------------------------------------------------------------


def test_the_html_needs_no_other_file_and_says_what_it_is() -> None:
    text = render_files(small())[page.HTML].decode()
    read = Read(text)
    assert text.startswith("<!doctype html>")
    assert read.all("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in read.all("meta")
    assert read.all("script") == [{}] and read.all("link") == []
    references = [value for _, attributes in read.tags for key, value in attributes.items() if key in ("src", "href")]
    assert references and all(value.startswith(("data:image/", "#")) for value in references)
    assert not re.search(r"https?://|@import|url\(", text)
    assert "prefers-color-scheme: dark" in text


def test_the_html_can_be_read_without_eyes() -> None:
    read = html(small())
    assert [image["alt"] for image in read.all("img")] == ["Curves: loss by epoch: a"]  # its title, and what is drawn
    assert all(cell["scope"] in ("col", "row") for cell in read.all("th"))
    assert [name for name, _ in read.tags if name in ("h1", "h2", "h3")] == ["h1", "h2", "h2", "h2", "h3", "h3", "h2"]
    boxes = [box for box in read.all("div") if box.get("class") == "box"]
    figures = [box for box in read.all("div") if box.get("class") == "box figure"]
    assert all(box["tabindex"] == "0" and box["aria-label"] for box in figures) and len(figures) == 1
    identifiers = {attributes["id"] for _, attributes in read.tags if "id" in attributes}
    assert len(boxes) == len(read.all("table")) == 3
    assert all(box["tabindex"] == "0" and box["aria-labelledby"] in identifiers for box in boxes)


def test_the_html_says_the_same_in_the_same_order() -> None:
    words = " ".join(html(small()).texts)
    texts = [
        "Two networks", "A course, assignment 1", "Stand-in data: 5,000 digits.", "three", "loss <35 & accuracy",
        "✓ reproduced published data", "When does it stop?", "10 epochs, not 100:", "Accuracy [%]", "92.10 ± 0.20",
        "Means over", "Curves", "python -m dlcourse.train study=a/b_*",
    ]  # fmt: skip
    at = [words.index(text) for text in texts]
    assert at == sorted(at)


def test_a_verdict_is_a_word_a_sign_and_a_colour() -> None:
    found = [decide(True, ""), decide(False, ""), beaten(""), undecided("", 3), answered(""), not_run("")]
    given = small(verdicts=[Finding("c", "", verdict) for verdict in found], items=[])
    read = html(given)
    shown = [cell["class"].removeprefix("verdict ") for cell in read.all("td") if "verdict" in cell.get("class", "")]
    kinds = [verdict.kind for verdict in found]
    assert shown == [kind.replace(" ", "-") for kind in kinds]
    assert {f"{page.SIGNS[kind]} {kind}" for kind in kinds} <= set(read.texts)
    assert len(set(page.SIGNS.values())) == len(kinds)


@pytest.mark.parametrize(
    "evil", ["<script>alert(1)</script>", '"><img src=x onerror=y>', "</table>&lt;&copy;", "{{ 7 * 7 }}"]
)
def test_nothing_that_is_given_becomes_a_tag(evil: str) -> None:
    frame = DataFrame([[evil]], columns=[evil])
    given = small(
        title=evil, source=evil, lead=evil, banner=[evil], deviations=[evil],
        items=[Text(evil), Table(evil, frame, evil), Plot("p", evil, curve(), evil)],
        verdicts=[Finding(evil, evil, decide(True, evil))], facts=[(evil, evil)],
    )  # fmt: skip
    read = html(given)
    assert len(read.all("script")) == len(read.all("img")) == 1
    assert not any("onerror" in attributes for _, attributes in read.tags)
    assert read.all("img")[0]["alt"] == f"{evil}: loss by epoch: a"
    assert read.texts.count(evil) >= 11


def test_a_page_with_many_large_figures_stays_small() -> None:
    rng = np.random.default_rng(0)
    many = [
        Plot(f"p{i}", "t", plots.superimposed({"a": (np.arange(10_000), rng.random(10_000))})) for i in range(8)
    ] + [Plot("s", "t", plots.scatter(rng.normal(size=(5000, 2)), rng.integers(0, 10, 5000), list("0123456789")))]
    assert len(render_files(small(items=many))[page.HTML]) < 1_000_000


# --- files -----------------------------------------------------------------------------------------------------------


def test_all_files_of_a_page(tmp_path: Path) -> None:
    write_page(small(), tmp_path / "new" / "report")
    folder = tmp_path / "new" / "report"
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names == {
        "report.html",
        "report.md",
        "table.csv",
        "verdicts.json",
        "figures/curves.png",
        "figures/curves.svg",
    }
    assert (folder / "table.csv").read_text() == "seed,val/accuracy\n0,0.9\n1,\n"  # a gap, not a zero
    about = json.loads((folder / "verdicts.json").read_text())
    assert about["study"] == "a/b" and about["banner"] == ["Stand-in data: 5,000 digits."]
    assert about["claims"][0] == {
        "text": "loss <35 & accuracy >75 %", "where": "section 2", "check": "loss", "kind": "reproduced",
        "basis": [], "points": [],
        "evidence": "loss 28.0 ± 0.3 (n = 3)",
    }  # fmt: skip
    (image,) = Read((folder / "report.html").read_text()).all("img")
    kind, data = image["src"].removeprefix("data:image/").split(";base64,")
    assert base64.b64decode(data) == (folder / "figures" / f"curves.{kind.removesuffix('+xml')}").read_bytes()


def test_the_same_page_is_the_same_bytes() -> None:
    assert render_files(small()) == render_files(small())


def test_a_page_that_cant_be_made_leaves_the_old_one(tmp_path: Path) -> None:
    write_page(small(), tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    broken = curve()
    broken.axes[0].set_title("$\\nonsense{$")
    with pytest.raises(ValueError, match="nonsense"):
        write_page(small(title="Other", items=[Plot("other", "t", broken)]), tmp_path)
    with pytest.raises(ValueError, match="one name"):
        write_page(small(items=[Plot("p", "t", curve()), Plot("p", "u", curve())]), tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_figures_that_are_no_longer_made_go_and_other_files_stay(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "mine.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("")
    write_page(small(), tmp_path)
    assert (tmp_path / "figures" / "mine.png").is_file()  # there was no report: it isn't one's
    write_page(small(items=[Plot("other", "t", curve())], runs=None, verdicts=[]), tmp_path)
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert names == {"report.html", "report.md", "notes.txt", "figures/other.png", "figures/other.svg"}
