"""Report pages: what is on one.

A page is made of texts, tables and figures. It knows nothing of runs or studies: it gets numbers and sentences.
Markdown is what its doc says is Markdown; everything else is plain text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from matplotlib.figure import Figure
from pandas import DataFrame

HTML, MD, CSV, VERDICTS = "report.html", "report.md", "table.csv", "verdicts.json"
SIGNS = {"reproduced": "✓", "beaten": "▲", "refuted": "✗", "undecided": "≈", "answered": "●", "not run": "○"}


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
    @property
    def basis(self) -> tuple[str, ...]: ...  # in what the runs differ from the report's
    @property
    def points(self) -> Sequence[Any]: ...  # (label, published, measured, noise), where a figure is to be met


class Finding(NamedTuple):
    """A claim of a report or a question to it, where it is made, and what was found."""

    text: str
    where: str
    verdict: Verdict
    check: str = ""  # the name of the function that decided
    item: Item | None = None  # of the page, where its figures are

    @property
    def stands_on(self) -> str:
        """What the verdict stands on, in words."""
        return ", ".join(self.bases)

    @property
    def bases(self) -> Sequence[str]:
        return () if self.verdict.kind == "not run" else self.verdict.basis or ("published data",)


@dataclass
class Page:
    title: str
    source: str = ""
    lead: str = ""  # markdown
    opening: Plot | None = None  # above the verdicts
    banner: Sequence[str] = ()  # what nobody may overlook: stand-in data, a quick budget
    deviations: Sequence[str] = ()  # markdown: where the runs differ from the report's
    items: Sequence[Item] = ()
    verdicts: Sequence[Finding] = ()
    facts: Sequence[tuple[str, str]] = ()  # name and text: command, runs, device, data
    runs: DataFrame | None = None  # table.csv
    record: Mapping[str, Any] = field(default_factory=dict)  # what else verdicts.json says, as the study's name

    @property
    def plots(self) -> list[Plot]:
        opening = [self.opening] if self.opening else []
        return opening + [item for item in self.items if isinstance(item, Plot)]
