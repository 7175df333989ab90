"""A report in a browser: at a phone's and a desk's width, light and dark, by keyboard, sorted and filtered."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from pandas import DataFrame

from dlcourse import plots
from dlcourse.reports.page import HTML, Finding, Page, Plot, Table, Text
from dlcourse.reports.render import write_page
from dlcourse.studies.report import shown_in
from dlcourse.studies.study import Claim
from dlcourse.studies.verdict import OTHER_DATA, REDUCED, answered, decide, not_run, undecided

WIDTHS = (390, 1280)


def wide_page() -> Page:
    """Wide in all ways: a table of many columns, a large figure, a word and a command that can't be broken."""
    names = ["linear", "mlp", "cnn", "a network with a long name"]
    scores = [["9.5", "10.25 ± 0.1", "–", "1,000"]] * 12
    columns = {f"val/metric {i}": column for i, column in enumerate(scores)}
    table = Table("All metrics", DataFrame({"network": names, **columns}))
    curves = {name: ([0, 1, 2], [1.0, 0.5, 0.2]) for name in names[:3]}
    plot = Plot("curves", "Training", plots.superimposed(curves, "", "epoch", "loss"))
    return Page(
        "x" * 120,
        lead="A `word" + "_without_a_break" * 9 + "`.",
        items=[table, plot, Plot("wide", "Wide", Figure(figsize=(14, 2))), Table("Few", DataFrame({"a": [1, 2]}))],
        verdicts=[
            Finding("the convnet is better", "2", decide(True, "by 2 points"), item=table),
            Finding("it learns faster", "2", decide(False, "").standing_on(OTHER_DATA)),
            Finding("noise helps", "3", undecided("0.1 ± 0.2", 3).standing_on(OTHER_DATA, REDUCED)),
            Finding("When does it stop?", "", answered("after 33 epochs"), item=plot),
            Finding("ImageNet helps", "4", not_run("no weights")),
        ],
        facts=[("command", "python -m dlcourse.train data.root=" + "/a/long/path" * 30)],
    )


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_page(wide_page(), folder)
    return folder / HTML


@pytest.fixture
def opened(browser: Any, report: Path) -> Iterator[Callable[..., Any]]:
    """Opens the report in a window of a width; what goes wrong in it, or asks for anything else, is an error."""
    wrong: list[str] = []
    pages: list[Any] = []

    def look(width: int = 1280, scheme: str = "light") -> Any:
        page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        pages.append(page)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda r: None if r.url.startswith(("data:", report.as_uri())) else wrong.append(r.url))
        page.goto(report.as_uri())
        return page

    yield look
    for page in pages:
        page.close()
    assert wrong == []


def texts(page: Any, selector: str) -> list[str]:
    return [text.strip() for text in page.locator(selector).all_inner_texts()]


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_window(opened: Callable[..., Any], width: int) -> None:
    """What has no room scrolls in its own box; small figures are shrunk, none to where its words can't be read."""
    page = opened(width)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    overflow = "boxes.filter(box => box.scrollWidth > box.clientWidth + 1).map(box => getComputedStyle(box).overflowX)"
    scrolled = page.eval_on_selector_all("main *", f"boxes => {overflow}")
    assert scrolled and set(scrolled) == {"auto"}
    shown = page.eval_on_selector_all(
        "img", "all => all.map(i => i.width / parseInt(i.parentNode.style.getPropertyValue('--wide')))"
    )
    assert len(shown) == 2 and min(shown) > (0.4 if width == 390 else 0.65)


def test_light_and_dark(opened: Callable[..., Any]) -> None:
    def contrast(scheme: str) -> tuple[float, list[str]]:
        page = opened(390, scheme)
        colours = page.evaluate(
            "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
        )
        lights = [sum(int(v) for v in c.removeprefix("rgb(").rstrip(")").split(",")) / 765 for c in colours]
        return lights[0] - lights[1], page.eval_on_selector_all(
            ".figure", "all => all.map(box => getComputedStyle(box).backgroundColor)"
        )

    (light, white), (dark, card) = contrast("light"), contrast("dark")
    assert light < -0.7 and dark > 0.7
    assert white == card == ["rgb(255, 255, 255)"] * 2  # figures are drawn on white


def test_by_keyboard_to_the_verdicts_and_a_sorted_table(opened: Callable[..., Any]) -> None:
    page = opened()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the verdicts"
    assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0  # seen when it is reached
    page.keyboard.press("Enter")
    assert page.url.endswith("#verdicts")
    head = page.locator("th", has_text="val/metric 0")
    head.locator("button").focus()
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    for order, wanted in (
        ("ascending", ["9.5", "10.25 ± 0.1", "1,000", "–"]),
        ("descending", ["1,000", "10.25 ± 0.1", "9.5", "–"]),
        (None, ["9.5", "10.25 ± 0.1", "–", "1,000"]),
    ):
        page.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == order
        assert texts(page, "[aria-labelledby=item-1] td:nth-child(2)") == wanted
    page.click("th:has-text('network') button")
    assert texts(page, "[aria-labelledby=item-1] td:first-child")[0] == "a network with a long name"
    assert page.locator("[aria-labelledby=item-4] button").count() == 0  # two rows are seen at once


@pytest.mark.parametrize("width", WIDTHS)
def test_verdicts_are_filtered_by_outcome_and_by_what_they_stand_on(opened: Callable[..., Any], width: int) -> None:
    page = opened(width)
    claims = ".verdicts tbody tr:visible td:first-child"
    assert len(texts(page, claims)) == 5
    page.click("label:has-text('other data (2)')")
    assert texts(page, claims) == ["it learns faster", "noise helps"]
    page.click("label:has-text('refuted (1)')")
    assert texts(page, claims) == ["it learns faster"]
    assert page.inner_text(".filter output") == "1 of 5 shown"
    page.locator("input[value=answered]").focus()
    page.keyboard.press("Space")
    page.click("label:has-text('other data')")
    assert texts(page, claims) == ["it learns faster", "When does it stop?"]


def test_a_claim_leads_to_its_figures(opened: Callable[..., Any]) -> None:
    page = opened()
    page.click("a:has-text('→ Training')")
    assert page.inner_text(":target") == "Training"
    assert page.locator("img").first.get_attribute("alt") == "Training: loss by epoch: linear, mlp, cnn"


def test_which_table_or_figure_has_a_claims_metric() -> None:
    table, plot = Table("t", DataFrame()), Plot("p", "p", Figure())
    made: Any = [({"val/loss"}, [Text("")]), ({"val/loss", "cnn"}, [plot]), ({"val/loss", "mlp"}, [table]), (set(), [])]
    better = Claim("", "", "better", {"metric": "val/loss", "first": {"block": "mlp"}, "second": {"block": "fcn"}})
    assert shown_in(better, made) is table
    assert shown_in(Claim("", "", "agrees", {"metric": "val/loss"}), made) is plot
    assert shown_in(Claim("", "", "better", {"metric": ["test/loss", "val/loss"]}), made) is plot
    assert shown_in(Claim("", "", "agrees", {"metric": "test/loss"}), made) is None
    assert shown_in(Claim("", "", "own"), made) is None


@pytest.mark.parametrize(
    ("figure", "said"),
    [
        (lambda: plots.confusion_matrix(np.eye(3, dtype=int), ["a", "b", "c"]), "true by predicted"),
        (lambda: plots.weight_images(np.ones((4, 5, 5))), "pictures"),
        (lambda: plots.superimposed({f"n{i}": ([0, 1], [1.0, i]) for i in range(9)}), "and 1 more"),
    ],
)  # fmt: skip
def test_what_a_figure_shows_in_a_sentence(figure: Callable[[], Figure], said: str) -> None:
    assert said in plots.describe(figure())
