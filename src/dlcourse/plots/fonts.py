"""Names whose letters the usual font lacks: written in another one that is installed, or numbered."""

import re
from collections.abc import Iterator
from functools import cache

from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.text import Text

MOST = 12  # names that are spelt out below a figure
WORD = re.compile(r"[^\s,:;()=→]+")
PLACEHOLDERS = "Last Resort"  # matplotlib's own font of boxes, which has every letter


def fit_fonts(fig: Figure) -> str:
    """Have every text of a figure drawn without gaps; returns what has to be said below it, mostly nothing.

    Where no installed font has the letters of a name, a number stands in its place, and the note says its code points.
    """
    words = dict.fromkeys(word for text in texts(fig) for word in WORD.findall(text) if missing_letters(word))
    if not words:
        return ""
    family = font_with(frozenset().union(*map(missing_letters, words)))
    numbers = {} if family else {word: f"[{i}]" for i, word in enumerate(words, 1)}
    families = [*FontProperties().get_family(), *([family] if family else [])]

    def numbered(text: str) -> str:
        return WORD.sub(lambda match: numbers.get(match[0], match[0]), text)

    for ax in fig.axes:
        for axis in (ax.xaxis, ax.yaxis):
            labels = [label.get_text() for label in axis.get_ticklabels()]
            if any(map(missing_letters, labels)):
                axis.set_ticks(axis.get_ticklocs(), labels=list(map(numbered, labels)), fontfamily=families)
    for artist in fig.findobj(Text):
        if isinstance(artist, Text) and missing_letters(artist.get_text()):
            artist.set_text(numbered(artist.get_text()))
            artist.set_fontfamily(families)
    spelt = [f"{number} {ascii(word)[1:-1]}" for word, number in list(numbers.items())[:MOST]]
    more = ", ..." if len(numbers) > MOST else ""
    return f"no installed font has the letters of {', '.join(spelt)}{more}" if numbers else ""


def texts(fig: Figure) -> Iterator[str]:
    """Every text of a figure, in the order in which it was made."""
    for ax in fig.axes:
        for axis in (ax.xaxis, ax.yaxis):
            yield from (label.get_text() for label in axis.get_ticklabels())
    for artist in fig.findobj(Text):
        if isinstance(artist, Text):
            yield artist.get_text()


def missing_letters(text: str) -> frozenset[str]:
    """The letters of a text that the usual font lacks."""
    if text.isascii():
        return frozenset()
    usual = letters_of(findfont(FontProperties()))
    return frozenset(c for c in text if not c.isspace() and ord(c) not in usual)


@cache
def font_with(letters: frozenset[str]) -> str | None:
    """The family of an installed font that has all these letters; None where there is none."""
    wanted = set(map(ord, letters))
    for family in sorted({font.name for font in fontManager.ttflist if not font.name.startswith(PLACEHOLDERS)}):
        faces = {findfont(FontProperties(family=family, weight=weight)) for weight in ("normal", "bold")}
        if all(wanted <= letters_of(face) for face in faces):
            return family
    return None


@cache
def letters_of(path: str) -> frozenset[int]:
    """The code points that a font file has; none for a file that can't be read."""
    try:
        return frozenset(get_font(path).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()
