"""What a figure shows, in a sentence."""

from matplotlib.figure import Figure

MOST = 8  # names that are listed


def describe(fig: Figure) -> str:
    """A figure's axes and the names in it, for those who don't see it: `accuracy by epoch: mlp, cnn`."""
    axes = [ax for ax in fig.axes if ax.get_label() != "<colorbar>"]
    pairs = [" by ".join(filter(None, (ax.get_ylabel(), ax.get_xlabel()))) or ax.get_title() for ax in axes]
    legends = [text.get_text() for ax in axes if (box := ax.get_legend()) for text in box.get_texts()]
    ends = [text.get_text() for ax in axes for text in ax.texts if text.get_fontweight() == "bold"]
    names = list(dict.fromkeys(name for name in (*legends, *ends) if any(map(str.isalpha, name))))
    listed = ", ".join(names[:MOST]) + (f" and {len(names) - MOST} more" if len(names) > MOST else "")
    what = "; ".join(dict.fromkeys(filter(None, pairs))) or ("pictures" if any(ax.images for ax in axes) else "")
    return " ".join(": ".join(filter(None, (what, listed))).split())
