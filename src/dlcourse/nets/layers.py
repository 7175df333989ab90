"""What the networks share: activations and initialisations by name, and the checks of their arguments."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from dlcourse.core.errors import did_you_mean, or_list

activations: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "softplus": nn.Softplus,
    "identity": nn.Identity,
}

# Each fills a weight in place; the second argument is the number after the colon, None where none was given.
initialisations: dict[str, Callable[[Tensor, float | None], Tensor]] = {
    "xavier": lambda w, _: nn.init.xavier_uniform_(w),
    "xavier_normal": lambda w, _: nn.init.xavier_normal_(w),
    "he": lambda w, _: nn.init.kaiming_normal_(w, nonlinearity="relu"),
    "zeros": lambda w, _: nn.init.zeros_(w),
    "normal": lambda w, std: nn.init.normal_(w, std=0.05 if std is None else std),
    "uniform": lambda w, bound: nn.init.uniform_(w, *((-0.05, 0.05) if bound is None else (-bound, bound))),
    "positive": lambda w, bound: nn.init.uniform_(w, 0.0, 0.05 if bound is None else bound),
}
SCALED = ("normal", "uniform", "positive")


def initialise(module: nn.Module, init: str = "default") -> None:
    """Set every linear and convolution weight in `module` by name, and their biases to 0.

    default: PyTorch's own, biases included (nothing is changed).
    xavier: Glorot uniform, ±sqrt(6 / (fan in + fan out)), as Keras. xavier_normal: normal, same variance.
    he: normal with variance 2 / fan in. zeros: all 0.
    normal: N(0, 0.05²), or N(0, s²) as `normal:s`. uniform: U(-0.05, 0.05), or U(-b, b) as `uniform:b`.
    positive: U(0, 0.05), or U(0, b) as `positive:b`.
    """
    if init == "default":
        return
    name, colon, text = init.partition(":")
    if name not in initialisations:
        raise ValueError(f"init: {unknown(name, ['default', *initialisations])}")
    scale = None
    if colon:
        if name not in SCALED:
            raise ValueError(f"init: {name} takes no number, as in {init}: only {or_list(list(SCALED))} does")
        try:
            scale = float(text)
        except ValueError:
            scale = math.nan
        if not (0 <= scale < math.inf):
            raise ValueError(f"init: the number after {name}: is its scale, 0 or more, not {text!r}")
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
            with torch.no_grad():
                initialisations[name](layer.weight, scale)
                if layer.bias is not None:
                    layer.bias.zero_()


def activation_named(name: str, argument: str = "activation") -> nn.Module:
    if name not in activations:
        raise ValueError(f"{argument}: {unknown(name, list(activations))}")
    return activations[name]()


def unknown(name: str, options: list[str]) -> str:
    """Why `name` is refused, to follow the argument's name and a colon."""
    hint = did_you_mean(str(name), options).removeprefix("; ")
    return f"no {name!r}{f' ({hint})' if hint else ''}, it is {or_list(options)}"


def whole_numbers(argument: str, values: Sequence[int], what: str, least: int = 1) -> list[int]:
    """`values` as a list, or a ValueError that says what they should have been."""
    given = list(values) if isinstance(values, Sequence) and not isinstance(values, str) else None
    if given is None or any(isinstance(v, bool) or not isinstance(v, int) or v < least for v in given):
        raise ValueError(f"{argument}: {what} are whole numbers of at least {least}, not {values!r}")
    return given


def whole_number(argument: str, value: int, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{argument}: a whole number of at least {least}, not {value!r}")
    return value


def probability(argument: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ValueError(f"{argument}: a probability, at least 0 and less than 1, not {value!r}")
    return value


def input_shape(inputs: int | Sequence[int]) -> tuple[int, ...]:
    """`inputs` as a shape: 784 -> (784,), [1, 28, 28] stays what it is."""
    if isinstance(inputs, int):
        return (whole_number("inputs", inputs),)
    shape = whole_numbers("inputs", inputs, "the sizes")
    if not shape:
        raise ValueError("inputs: a number or a shape like [1, 28, 28], not an empty list")
    return tuple(shape)


def image_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    sizes = whole_numbers("shape", shape, "the sizes of an image [channels, height, width]")
    if len(sizes) != 3:
        raise ValueError(f"shape: images are [channels, height, width], not {sizes}")
    return sizes[0], sizes[1], sizes[2]
