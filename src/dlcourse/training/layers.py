"""A network's layers as a table: what comes out of each, its parameters, its floating-point operations."""

from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dlcourse.training.loading import build_data, build_task
from dlcourse.training.setup import try_shapes

Row = tuple[str, str, str, int, int, int]  # name, kind, output shape, parameters, trained ones, operations


def describe(plain: dict[str, Any]) -> str:
    """The table of the network that a config describes, for one example; no data and no pretrained weights are read."""
    task, data = build_task(plain), build_data(plain)
    try_shapes(task, data, plain)
    rows, flops = layer_rows(task.net, data.shape)
    own = list(task.net.parameters())
    total = sum(p.numel() for p in own), sum(p.numel() for p in own if p.requires_grad), flops
    inside = (sum(row[3] for row in rows), sum(row[4] for row in rows), sum(row[5] for row in rows))
    if inside != total:  # as the decoder of an autoencoder with tied weights
        rows.append(("elsewhere", "", "", total[0] - inside[0], total[1] - inside[1], total[2] - inside[2]))
    rows.append(("in all", "", "", *total))
    title = f"{plain['name']}: {type(task.net).__name__} of {' × '.join(map(str, data.shape))} numbers"
    return f"{title}\n\n{text_table(rows)}"


def layer_rows(net: nn.Module, shape: tuple[int, ...]) -> tuple[list[Row], int]:
    """A row for each module without modules in it, in the order in which one example [1, *shape] passes them; and the
    operations of the whole network."""
    rows: list[Row] = []

    def look(name: str) -> Any:
        def hook(module: nn.Module, given: Any, output: Any) -> None:
            if not isinstance(output, torch.Tensor):
                return
            weights = list(module.parameters())
            trained = sum(p.numel() for p in weights if p.requires_grad)
            out = " × ".join(map(str, output.shape[1:]))
            rows.append((name, type(module).__name__, out, sum(p.numel() for p in weights), trained, 0))

        return hook

    layers = [(name, module) for name, module in net.named_modules() if not list(module.children())]
    hooks = [module.register_forward_hook(look(name)) for name, module in layers]
    with FlopCounterMode(display=False, depth=99) as counted, torch.no_grad():
        net.eval()(torch.zeros(1, *shape))
    for hook in hooks:
        hook.remove()
    operations = {name.partition(".")[2]: sum(ops.values()) for name, ops in counted.get_flop_counts().items()}
    return [(*row[:5], operations.get(row[0], 0)) for row in rows], counted.get_total_flops()


def text_table(rows: list[Row]) -> str:
    """Rows under their headings, numbers at the right."""
    cells = [("layer", "kind", "output", "parameters", "trained", "FLOPs")]
    cells += [(*row[:3], *(f"{n:,}" for n in row[3:5]), magnitude(row[5])) for row in rows]  # type: ignore[misc]
    widths = [max(len(row[i]) for row in cells) for i in range(6)]
    lines = ["  ".join(f"{c:<{w}}" if i < 3 else f"{c:>{w}}" for i, (c, w) in enumerate(zip(row, widths, strict=True)))
             for row in cells]  # fmt: skip
    rule = "-" * max(map(len, lines))
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def magnitude(number: int) -> str:
    """1234567 as `1.23 M`."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return str(number)
