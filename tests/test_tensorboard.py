"""What TensorBoard shows of a run: charts, pictures while it learns, the values that were chosen, texts, codes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import metadata

from dlcourse import resume, runs
from dlcourse.plots.tiles import confusion_tile, tiles, weight_tiles
from dlcourse.studies.runner import claims_text
from dlcourse.studies.study import load_study
from dlcourse.training import fit
from dlcourse.training.loggers import add_text
from dlcourse.training.summary import chosen_values

Config = Callable[..., dict[str, Any]]
Train = Callable[..., Path]
SMALL = ("data.source=stand-in", "data.limit=300", "data.limit_eval=100", "trainer.accelerator=cpu",
         "trainer.figures=false", "trainer.images=[1,3]")  # fmt: skip


def events_of(run: Path) -> EventAccumulator:
    """Everything in a run's directory, as TensorBoard reads it."""
    events = EventAccumulator(str(run), {"tensors": 0, "images": 0, "scalars": 0})
    events.Reload()
    return events


@pytest.fixture(scope="module")
def classified(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "mlp"
    words = ("model=mlp", "model.net.hidden=[16]", "trainer.max_epochs=4", "data.augment.rotate=5")
    run.mkdir()
    fit.train(config(*SMALL, *words), run, f"python -m dlcourse.train {' '.join(words)} hydra.run.dir=x")
    return run


@pytest.fixture(scope="module")
def reconstructed(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "autoencoder"
    run.mkdir()
    fit.train(config(*SMALL, "model=denoising", "trainer.max_epochs=2"), run, "python -m dlcourse.train")
    return run


def test_curves_come_first_and_figures_of_the_whole_run_last(classified: Path) -> None:
    events = events_of(classified)
    scalars = {tag: len(events.Scalars(tag)) for tag in events.Tags()["scalars"]}
    assert scalars["train/loss"] == scalars["val/accuracy"] == 4
    assert {tag: n for tag, n in scalars.items() if n == 1} == dict.fromkeys(
        ("whole_run/val/accuracy", "whole_run/test/accuracy", "whole_run/test/loss"), 1
    )
    assert sorted({tag.split("/")[0] for tag in [*scalars, *events.Tags()["images"]]}) == [
        "train", "val", "while_training", "whole_run"
    ]  # fmt: skip
    recorded = runs.read_result(classified)["metrics"]["test/accuracy"]
    assert events.Scalars("whole_run/test/accuracy")[0].value == pytest.approx(recorded)


def test_a_chart_has_a_line_for_train_and_one_for_val(classified: Path) -> None:
    (saved,) = events_of(classified).Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(saved.tensor_proto.string_val[0])
    charts = {chart.title: list(chart.multiline.tag) for chart in layout.category[0].chart}
    assert charts["loss"] == ["^train/loss$", "^val/loss$"]
    assert list(charts) == ["loss", "accuracy", "precision", "recall", "f1"]


def test_pictures_show_how_it_learns(classified: Path, reconstructed: Path) -> None:
    """After the epochs that were asked for, and after the last; they differ, since the network does."""
    events = events_of(classified)
    steps = runs.read_result(classified)["steps"] // 4
    for name in ("weights", "confusion", "mistakes"):
        seen = events.Images(f"while_training/{name}")
        assert [image.step for image in seen] == [steps, 3 * steps, 4 * steps]
        assert len({image.encoded_image_string for image in seen}) == 3
    events = events_of(reconstructed)
    assert {"while_training/weights", "while_training/reconstructions"} <= set(events.Tags()["images"])


def test_looking_changes_nothing(classified: Path, config: Config, tmp_path: Path) -> None:
    """Without pictures, and without any logger, the same figures."""
    plain = runs.read_config(classified)
    fit.train(plain | {"logger": {}}, tmp_path)
    assert runs.read_result(tmp_path)["metrics"] == runs.read_result(classified)["metrics"]
    plain["trainer"]["images"] = []
    (tmp_path / "b").mkdir()
    fit.train(plain, tmp_path / "b")
    assert runs.read_result(tmp_path / "b")["metrics"] == runs.read_result(classified)["metrics"]
    assert events_of(tmp_path / "b").Tags()["images"] == []


def test_the_table_has_what_was_chosen(classified: Path) -> None:
    content = events_of(classified).summary_metadata
    about = metadata.parse_experiment_plugin_data(content[metadata.EXPERIMENT_TAG].plugin_data.content)
    columns = [info.name for info in sorted(about.hparam_infos, key=lambda info: (not info.differs, info.name))]
    assert columns == [
        "data.augment.rotate", "model", "model.net.hidden", "trainer.max_epochs",
        "data", "data.batch_size", "optimizer", "optimizer.lr", "seed",
    ]  # fmt: skip
    assert [info.display_name for info in about.metric_infos] == ["val/accuracy", "test/accuracy", "test/loss"]
    begun = metadata.parse_session_start_info_plugin_data(content[metadata.SESSION_START_INFO_TAG].plugin_data.content)
    assert begun.hparams["model.net.hidden"].string_value == "[16]"


def test_a_preset_counts_as_chosen(config: Config) -> None:
    words = ["experiment=cmu/q6_1_2_cnn", "seed=3", "logger=none", "trainer.progress=false", "schedule=cosine"]
    chosen, first = chosen_values(config(*words), f"python -m dlcourse.train --config-dir x {' '.join(words)}")
    assert (chosen["experiment"], chosen["seed"], chosen["optimizer.momentum"]) == ("cmu/q6_1_2_cnn", 3, 0.9)
    assert (chosen["schedule"], chosen["optimizer"]) == ("cosine", "SGD")
    assert not {"trainer.progress", "logger", "data.augment.brightness"} & chosen.keys()
    assert {"experiment", "seed"} <= first and "optimizer.lr" not in first


def test_codes_are_shown_as_their_images(reconstructed: Path) -> None:
    (folder,) = reconstructed.glob("*/codes")
    codes = np.loadtxt(folder / "tensors.tsv")
    assert codes.shape[0] == 100 == len((folder / "metadata.tsv").read_text().split())
    assert (folder / "sprite.png").is_file()
    assert "codes" in (reconstructed / "projector_config.pbtxt").read_text()


def test_texts(classified: Path) -> None:
    (saved,) = events_of(classified).Tensors("config/text_summary")
    text = saved.tensor_proto.string_val[0].decode()
    assert "model.net.hidden=[16]" in text and "rotate: 5" in text
    add_text(classified, "claims", claims_text(load_study("cmu/q6_1")))
    (saved,) = events_of(classified).Tensors("claims/text_summary")
    assert "- the convnet has a validation accuracy of .91" in saved.tensor_proto.string_val[0].decode()


def test_a_run_that_goes_on_has_each_epoch_once(train: Train) -> None:
    run = train("model=linear", "trainer.max_epochs=2", "trainer.figures=false", "logger=tensorboard")
    resume.main([f"run={run}", "trainer.max_epochs=4"])
    steps = [event.step for event in events_of(run).Scalars("train/loss")]
    assert steps == sorted(set(steps)) and len(steps) == 4


@pytest.mark.parametrize("classes", [3, 36, 90])
def test_tiles_are_small_pictures(classes: int) -> None:
    matrix = np.eye(classes, dtype=int) * 7
    picture = confusion_tile(matrix, [f"class {k}" for k in range(classes)])
    assert picture.dtype == np.uint8 and max(picture.shape) < 700
    cell = picture[-2, -2]
    assert cell[2] > cell[0]  # the last class is never mistaken: dark blue
    assert tiles(np.zeros((5, 3, 224, 224)), ["a"] * 5, columns=3).shape[2] == 3
    assert weight_tiles(np.random.default_rng(0).normal(size=(100, 1, 5, 5))).shape[0] < 700
