"""The one exception for a user's mistake: the entry points print its sentence and leave with exit code 2."""


class InputError(Exception):
    """A mistake in what was given (an option, a file, a directory); its text is one sentence that says what to do."""


def or_list(options: list[str], limit: int = 12) -> str:
    """`a, b or c` for a sentence; a long list ends in `...`."""
    shown = [str(option) for option in options[:limit]]
    if len(options) > limit:
        return ", ".join(shown) + ", ..."
    return " or ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else "".join(shown)
