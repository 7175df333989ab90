"""Runs taken away: each format gives what the run gives, and so does a script without us; a pushed folder is a run."""

import ast
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import numpy as np
import pytest
import torch
from PIL import Image

from dlcourse import evaluate, export, predict, resume, runs
from dlcourse.core.errors import InputError
from dlcourse.deploy import FORMATS
from dlcourse.deploy import export as exporting
from dlcourse.deploy.program import open_run, outputs_of

pytest.importorskip("safetensors")
SMALL = ("data.limit=100", "data.limit_eval=50", "trainer.accelerator=cpu", "trainer.figures=false", "logger=none",
         "trainer.max_epochs=1")  # fmt: skip
DIGITS = ("data.source=stand-in", *SMALL)


@pytest.fixture(scope="module")
def fitted(config: Callable[..., dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    from dlcourse.training import fit

    def run(*words: str) -> Path:
        folder = tmp_path_factory.mktemp("run")
        fit.train(config(*words), folder, "")
        return folder

    return run


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of pictures in colour, oblong ones of all kinds among them."""
    root, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for k, name in enumerate(("dark", "light")):
        (root / name).mkdir()
        for i in range(12):
            pixels = rng.integers(100 * k, 100 * k + 120, (20 + i, 24, 3), np.uint8)
            Image.fromarray(pixels).convert(("RGB", "L", "RGBA", "P")[i % 4]).save(root / name / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def cnn(fitted: Callable[..., Path], photos: Path) -> Path:
    """A run whose pictures are enlarged and normalised on their way into the network."""
    words = ("data=folder", f"data.root={photos}", "data.size=12", "data.resize=16", "data.normalize=standardize",
             "model=cnn", "model.net.channels=[4,8]", "model.net.hidden=[8]")  # fmt: skip
    return fitted(*words, *SMALL)


@pytest.fixture(scope="module")
def onnx(cnn: Path) -> Path:
    """The run, exported as ONNX to where that goes by itself."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    export.main([f"run={cnn}", "format=onnx"])
    return cnn / "export" / "onnx"


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_has_all_inside(form: str, cnn: Path, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """From the bytes of pictures, of any number, to probabilities, as the run itself gives them."""
    folder = request.getfixturevalue("onnx") if form == "onnx" else tmp_path / "a"
    if form != "onnx":
        export.main([f"run={cnn}", f"format={form}", f"to={folder}"])
    about = json.loads((folder / "model.json").read_text())
    assert about["max_difference"] < 1e-5
    assert (about["dtype"], about["shape"], about["classes"]) == ("uint8", [3, 12, 12], ["dark", "light"])
    assert about["compared"] == "4 test examples of folder"
    assert about["config_hash"] == runs.read_result(cnn)["config_hash"]
    loaded, task_and_data = FORMATS[form].load(folder / FORMATS[form].file), open_run(cnn)
    for n in (1, 5):
        x = torch.randint(0, 256, (n, 3, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(n))
        (p,) = loaded(x)
        torch.testing.assert_close(p, outputs_of(*task_and_data, x)["probabilities"], atol=1e-5, rtol=0)
    assert (folder / "classify.py").exists() == (form == "onnx")


def test_a_script_that_needs_nothing_of_ours(onnx: Path, cnn: Path, photos: Path, tmp_path: Path) -> None:
    """Pictures of 8 and 16 bits, grey, with a palette, transparent: classified as predict does."""
    parts = {name.split(".")[0] for node in ast.walk(ast.parse((onnx / "classify.py").read_text()))
             for name in imported(node)}  # fmt: skip
    assert parts <= {"json", "sys", "pathlib", "numpy", "onnxruntime", "PIL"}
    clear = np.zeros((30, 20, 4), np.uint8)
    clear[:10] = 255
    Image.fromarray(clear).save(tmp_path / "clear.png")
    Image.fromarray((np.arange(600).reshape(20, 30) * 100).astype(np.uint16)).save(tmp_path / "deep.png")
    files = [*sorted(photos.glob("*/?.png")), tmp_path / "clear.png", tmp_path / "deep.png"]
    done = subprocess.run(
        [sys.executable, "-I", "classify.py", *map(str, files)], cwd=onnx, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    predict.main([f"run={cnn}", f"images={','.join(map(str, files))}", f"out={tmp_path}/out.csv"])
    table = [line.split(",")[:3] for line in (tmp_path / "out.csv").read_text().splitlines()[1:]]
    said = [re.split(r": |, ", line) for line in done.stdout.splitlines()]
    assert [row[:2] for row in said] == [row[:2] for row in table]
    assert max(abs(float(a[2]) - float(b[2])) for a, b in zip(said, table, strict=True)) < 1e-2  # 16 bits to 8: rounded


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []


RUNS = {
    "linear": (("model=linear", "data=clusters"), ["probabilities"]),
    "one output": (("model=mlp", "model.loss=binary_cross_entropy", "data.classes_kept=[0,1]"), ["probabilities"]),
    "by hand": (("model=scratch", "data=mnist5", "trainer.precision=64-true"), ["probabilities"]),
    "numbers": (("model=regression", "data=functions"), ["output"]),
    "autoencoder": (("model=denoising", "model.net.tied=true", "data=mnist5"), ["reconstruction", "code"]),
    "pca": (("model=mlp", "data=codes", "data.encoder=pca:8", "data.of=mnist5"), ["probabilities"]),
    "pretrained": (
        ("model=squeezenet", "model.weights=none", "data=cifar10",
         "data.resize=64", "data.limit=9", "data.limit_eval=4"),
        ["probabilities"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_every_network_can_be_taken_away(name: str, fitted: Callable[..., Path], tmp_path: Path) -> None:
    words, outputs = RUNS[name]
    source = () if {"data=clusters", "data=functions"} & set(words) else ("data.source=stand-in",)
    run = fitted(*SMALL, *source, *words)
    about = exporting.export_run(
        run, "torch_export" if name in ("autoencoder", "pretrained") else "torchscript", tmp_path / "a"
    )
    assert about["outputs"] == outputs
    assert about["max_difference"] < 1e-5


def test_codes_bring_their_encoder_along(fitted: Callable[..., Path], cnn: Path, tmp_path: Path) -> None:
    run = fitted("model=linear", "data=codes", f"data.encoder={cnn}", *SMALL)
    about = exporting.export_run(run, "torchscript", tmp_path / "a")
    assert about["shape"] == [3, 12, 12]
    with pytest.raises(InputError, match="whose weights are not its own: format=onnx has both"):
        exporting.export_run(run, "safetensors", tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_what_can_not_be_exported(cnn: Path, fitted: Callable[..., Path], tmp_path: Path) -> None:
    knn = fitted("model=knn", *DIGITS)
    for words, why in [
        ((f"run={knn}", "format=onnx"), "nearest neighbours have no weights"),
        ((f"run={cnn}", "format=onxn"), "format=onxn: it can be onnx, torch_export, safetensors or torchscript"),
        ((f"run={cnn}",), "format=... is missing"),
        ((f"run={cnn}", "format=onnx", f"to={knn}"), "is a run: name another directory"),
        ((f"run={cnn}", "format=safetensors", "hub=nobody"), "no name on the hub"),
        (("run=hub:a b/c", "format=onnx"), "no name on the hub"),
        (("run=hub:nobody/nothing", "format=onnx"), r"\$DLCOURSE_OFFLINE forbids"),
    ]:
        with pytest.raises(InputError, match=why) as raised:
            export.main(list(words))
        assert "\n" not in str(raised.value)


def test_nothing_is_kept_that_differs(cnn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "USUAL", -1.0)
    with pytest.raises(InputError, match="differs from the run by up to"):
        export.main([f"run={cnn}", "format=safetensors", f"to={tmp_path}/a"])
    assert list(tmp_path.iterdir()) == []


def test_without_its_data_a_run_is_held_against_itself_on_random_examples(
    cnn: Path, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain = runs.read_config(cnn)
    moved = tmp_path / "moved"
    export.main([f"run={cnn}", "format=safetensors", f"to={moved}"])
    runs.write_config(moved, plain | {"data": plain["data"] | {"root": str(tmp_path / "gone")}})
    about = exporting.export_run(moved, "torchscript", tmp_path / "a")
    assert about["compared"] == "32 random examples"
    assert "the run's data are not here" in caplog.text


def test_a_pushed_folder_is_a_run_again(
    cnn: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By way of a local folder: the same figures and predictions, nothing pickled, no place of this machine."""
    monkeypatch.chdir(tmp_path)
    export.main([f"run={cnn}", "format=safetensors", f"to={tmp_path}/a", "hub=./pushed"])
    files = {path.name: path.read_bytes() for path in (tmp_path / "pushed").iterdir()}
    assert files.keys() == {"README.md", "config.yaml", "confusion.csv", "metrics.csv", "model.json",
                            "model.safetensors", "result.json"}  # fmt: skip
    assert not [name for name, content in files.items() if str(photos.parent).encode() in content]
    recorded = {k: v for k, v in runs.read_result(cnn)["metrics"].items() if k.startswith("test/")}
    assert evaluate.main(["run=hub:./pushed", f"data.root={photos}"]) == recorded
    tables = []
    for run in (str(cnn), "hub:./pushed"):
        predict.main([f"run={run}", f"images={photos}", "out=out.csv"])
        tables.append(Path("out.csv").read_text())
    assert tables[0] == tables[1]
    with pytest.raises(InputError, match=r"has no last\.ckpt: it was exported without"):
        resume.main(["run=hub:./pushed", "trainer.max_epochs=5"])


def test_the_model_card_is_one_for_the_hub(cnn: Path, fitted: Callable[..., Path], tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    run = fitted("model=linear", *DIGITS)
    export.main([f"run={run}", "format=safetensors"])
    text = (run / "export" / "safetensors" / "README.md").read_text()
    card = hub.ModelCard(text)
    measured = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert measured["accuracy"] == runs.read_result(run)["metrics"]["test/accuracy"]
    assert card.data.pipeline_tag == "image-classification"
    assert "Stand-in data, not mnist" in text


def test_what_the_hub_is_asked(cnn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no network here: in place of the client one that refuses arguments which the real one does not take."""
    hub = pytest.importorskip("huggingface_hub")
    client = create_autospec(hub.HfApi, instance=True)
    monkeypatch.setattr(hub, "HfApi", lambda: client)
    monkeypatch.delenv("DLCOURSE_OFFLINE")
    export.main([f"run={cnn}", "format=safetensors", f"to={tmp_path}/a", "hub=some/one"])
    assert "run=hub:some/one images" in (tmp_path / "a" / "README.md").read_text()
    client.create_repo.assert_called_once_with("some/one", private=True, exist_ok=True)
    assert client.upload_folder.call_args.kwargs["folder_path"] == tmp_path / "a"
    client.snapshot_download.return_value = str(tmp_path / "a")
    assert runs.find_run("hub:some/one") == tmp_path / "a"
    client.snapshot_download.side_effect = ConnectionError("no route.\nmore")
    with pytest.raises(InputError, match=r"hub:some/one can't be had \(no route\): a network is needed") as raised:
        runs.find_run("hub:some/one")
    assert "\n" not in str(raised.value)


def test_weights_from_elsewhere_name_no_class_but_ours(cnn: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    export.main([f"run={cnn}", "format=safetensors", f"to={tmp_path}/a"])
    path = tmp_path / "a" / "model.safetensors"
    whole, weights = path.read_bytes(), load_file(path)
    save_file(weights, path, {"task": '"os.system"', "hyper_parameters": "{}", "epoch": "1"})
    with pytest.raises(InputError, match=r"_target_=os\.system"):
        evaluate.main([f"run={tmp_path}/a"])
    for content in (b"", whole[:100], whole[:-10]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"model\.safetensors is damaged"):
            evaluate.main([f"run={tmp_path}/a"])


def test_as_it_is_typed(cnn: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    export.main([f"run={cnn}", "format=torchscript", f"to={tmp_path}/a"])
    assert re.match(r"largest difference from the run: \S+, on 4 test examples of folder", caplog.messages[-2])
    assert caplog.messages[-1] == f"torchscript: {tmp_path}/a"
    environment = os.environ | {"PYTHONPATH": str(Path(export.__file__).parents[1])}
    words = [sys.executable, "-m", "dlcourse.export", f"run={cnn}", "format=onxn"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
