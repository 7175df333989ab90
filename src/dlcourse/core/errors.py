"""The one exception for a user's mistake: the entry points print its sentence and leave with exit code 2."""

import difflib
from collections.abc import Iterable


class InputError(Exception):
    """A mistake in what was given (an option, a file, a directory); its text is one sentence that says what to do."""

    def __init__(self, sentence: str = "") -> None:
        super().__init__(" ".join(sentence.splitlines()))  # parts of it may be another library's words


def or_list(options: list[str], limit: int = 12) -> str:
    """`a, b or c` for a sentence; a long list ends in `...`."""
    shown = [str(option) for option in options[:limit]]
    if len(options) > limit:
        return ", ".join(shown) + ", ..."
    return " or ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else "".join(shown)


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """`; did you mean lr?` for a sentence about a name that isn't there; nothing where no option is like it."""
    options = list(dict.fromkeys(options))
    close = difflib.get_close_matches(name, options, n=3, cutoff=0.6)
    if not close:  # optimizer.rate, or lr for optimizer.lr: the same last or first part
        last = name.rsplit(".", 1)[-1]
        close = [o for o in options if o.rsplit(".", 1)[-1] == last][:3]
        if not close and "." in name:
            close = [o for o in options if o.startswith(name.split(".")[0] + ".")][:6]
    return f"; did you mean {or_list(close)}?" if close else ""


def first_line(error: BaseException) -> str:
    """What an error of another library says, without the rest of its text."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def memory_mistake(error: BaseException) -> InputError | None:
    """The sentence for an error that says that there is too little memory, a CPU's or a GPU's; None for any other."""
    texts = (
        "out of memory",
        "can't allocate memory",
        "Unable to allocate",
        "Invalid buffer size",
        "Storage size calculation overflowed",
    )
    if isinstance(error, MemoryError) or any(text in str(error) for text in texts):
        return InputError("out of memory: a smaller data.batch_size, data.eval_batch_size or network helps")
    return None
