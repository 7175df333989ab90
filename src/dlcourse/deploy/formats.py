"""The files that a network is taken away in: how each is written, and how it is read again to be compared."""

import json
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

Facts = dict[str, Any]
Loaded = Callable[[Tensor], tuple[Tensor, ...]]

METADATA = "metadata.json"  # within torch's files


@dataclass(frozen=True)
class Format:
    """save: a program, examples [N, ...] and facts into a file. load: the file as a function of examples.

    packages: what writing it takes beside torch. use: how it is loaded, for people.
    """

    file: str
    packages: tuple[str, ...]
    save: Callable[[nn.Module, Tensor, Path, Facts], None]
    load: Callable[[Path], Loaded]
    use: str


def traced(program: nn.Module, x: Tensor) -> torch.export.ExportedProgram:
    """The program for any number of examples: two are looked at, since one would be taken for always one."""
    return torch.export.export(program, (x[:2],), dynamic_shapes=({0: torch.export.Dim("N")},), strict=False)


def save_onnx(program: nn.Module, x: Tensor, path: Path, facts: Facts) -> None:
    exported = torch.onnx.export(
        traced(program, x), (x[:2],), dynamo=True, verbose=False, input_names=["images"], output_names=facts["outputs"]
    )
    assert exported is not None
    exported.model.metadata_props.update({key: json.dumps(value) for key, value in facts.items()})
    exported.save(path)


def load_onnx(path: Path) -> Loaded:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda x: tuple(map(torch.from_numpy, session.run(None, {"images": x.numpy()})))


def save_exported(program: nn.Module, x: Tensor, path: Path, facts: Facts) -> None:
    torch.export.save(traced(program, x), path, extra_files={METADATA: json.dumps(facts)})


def load_exported(path: Path) -> Loaded:
    module: Loaded = torch.export.load(path).module()
    return module


def save_script(program: nn.Module, x: Tensor, path: Path, facts: Facts) -> None:
    script = torch.jit.trace(program, x[:2], check_trace=False)
    torch.jit.save(script, str(path), _extra_files={METADATA: json.dumps(facts)})


def load_script(path: Path) -> Loaded:
    module: Loaded = torch.jit.load(str(path))
    return module


def quietly(function: Callable[..., Any], *arguments: Any) -> Any:
    """Without what torch's exporters say of their own age and insides."""
    for name in ("onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments)


FORMATS = {
    "onnx": Format(
        "model.onnx", ("onnx", "onnxruntime", "onnxscript"), partial(quietly, save_onnx), load_onnx,
        "import onnxruntime\n\nonnxruntime.InferenceSession('model.onnx').run(None, {'images': x})",
    ),
    "torch_export": Format(
        "model.pt2", (), partial(quietly, save_exported), partial(quietly, load_exported),
        "import torch\n\ntorch.export.load('model.pt2').module()(x)",
    ),
    "torchscript": Format(
        "model.pt", (), partial(quietly, save_script), partial(quietly, load_script),
        "import torch\n\ntorch.jit.load('model.pt')(x)",
    ),
}  # fmt: skip
