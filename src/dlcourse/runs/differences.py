"""What tells runs from each other: the KEY=VALUE words that they were started with, and short names made of them."""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence

LONGEST = 80  # characters of a directory's name


def typed_values(command: str) -> dict[str, str]:
    """`python -m dlcourse.train model=mlp seed=1` as `{"model": "mlp", "seed": "1"}`; without Hydra's own keys."""
    try:
        words = shlex.split(command)
    except ValueError:  # a quote that is not closed
        words = command.split()
    return split_words(word for word in words if not word.startswith("-"))


def split_words(words: Iterable[str]) -> dict[str, str]:
    """`["model=mlp", "+extra=1"]` as `{"model": "mlp", "extra": "1"}`."""
    pairs = (word.lstrip("+~").partition("=") for word in words)
    return {key: value for key, equals, value in pairs if equals and not key.startswith(("hydra.", "hydra/"))}


def different_keys(several: Sequence[Mapping[str, str]]) -> list[str]:
    """The keys that don't have one value in all of these, the seed last."""
    keys = dict.fromkeys(key for values in several for key in values)
    changing = [key for key in keys if len({values.get(key) for values in several}) > 1]
    return sorted(changing, key=lambda key: key == "seed")


def short_keys(keys: Sequence[str]) -> list[str]:
    """`optimizer.lr` as `lr`, where no other key ends so."""
    whole = [key.removesuffix("._target_") for key in keys]
    lasts = [key.rpartition(".")[2] for key in whole]
    return [last if lasts.count(last) == 1 else key for key, last in zip(whole, lasts, strict=True)]


def short_value(text: str) -> str:
    """A number with many digits with four of them; anything else as it is."""
    try:
        return f"{float(text):.4g}" if len(text) > 7 else text
    except ValueError:
        return text


def describe(values: Mapping[str, str], keys: Sequence[str]) -> str:
    """`model=cnn seed=1`."""
    named = zip(short_keys(keys), keys, strict=True)
    return " ".join(f"{name}={short_value(values[key])}" for name, key in named if key in values)


def directory_name(number: int, values: Mapping[str, str]) -> str:
    """`3_model=cnn,seed=1`: what a job of a sweep is called, of signs that any file system and TensorBoard take."""
    told = describe({key: re.sub(r"[\[\]{}()'\"\\ ]", "", value) for key, value in values.items()}, list(values))
    safe = re.sub(r"[^A-Za-z0-9_.,=+-]+", "-", told.replace(" ", ","))
    return f"{number}_{safe}"[:LONGEST].rstrip("_.,=+-")
