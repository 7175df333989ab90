"""Studies: their YAML, their runs (each once, whatever happens), means over seeds, and every one of them end to end."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from filelock import FileLock
from torchvision import models

from dlcourse import runs, train
from dlcourse.core.errors import InputError
from dlcourse.reports.tables import aggregate_over_seeds
from dlcourse.studies import study as studies
from dlcourse.studies.cmu import q4_ocr
from dlcourse.studies.runner import run_study
from dlcourse.studies.verdict import Verdict

Train = Callable[..., Path]

TINY = {
    "data.source": "stand-in",
    "data.limit": 72,
    "data.limit_eval": 72,
    "trainer.max_epochs": 1,
    "trainer.accelerator": "cpu",
    "logger": "none",
}


def run(name: str, folder: Path, quick: bool = True, **overrides: Any) -> int:
    given = TINY | {key.replace("__", "."): value for key, value in overrides.items()}
    return run_study(name, given, quick, folder, f"python -m dlcourse.train study={name}")


def trained(folder: Path) -> dict[str, float]:
    """When each run of a study was finished."""
    return {path.parent.name: path.stat().st_mtime for path in folder.glob(f"*/{runs.RESULT}")}


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Files in the form of torchvision's published weights, with random numbers in them."""
    folder = tmp_path_factory.mktemp("data") / "weights"
    folder.mkdir()
    for name in ("mobilenet_v2", "squeezenet1_1"):
        torch.save(models.get_model(name, weights=None).state_dict(), folder / f"{name}.pth")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DLCOURSE_DATA", str(folder.parent))
        yield


# --- the files ---


@pytest.mark.parametrize("name", studies.study_names())
def test_every_study_says_all_that_it_should(name: str) -> None:
    study = studies.load_study(name)
    assert study.title and study.source and study.text and study.blocks and study.quick and study.claims
    assert all(claim.text and claim.check for claim in study.claims)


@pytest.mark.parametrize("name", studies.study_names())
def test_every_study_runs_end_to_end_and_then_only_renders(
    name: str, imagenet: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(q4_ocr, "DRAWS", 1)
    assert run(name, tmp_path, **SMALLER.get(name, {})) == 0
    before = trained(tmp_path)
    assert len(before) >= 1
    report = tmp_path / "report"
    page = (report / "report.html").read_text(encoding="utf-8")
    assert "budget=quick" in page
    assert "reproduced" not in (report / "report.md").read_text(encoding="utf-8")
    assert pd.read_csv(report / "table.csv")["hash"].nunique() == len(before)
    capsys.readouterr()
    assert run(name, tmp_path, **SMALLER.get(name, {})) == 0
    assert "0 runs trained" in capsys.readouterr().out
    assert trained(tmp_path) == before


SMALLER: dict[str, dict[str, Any]] = {
    "cs671/ae1": {"data__limit": 300},
    "cmu/activations": {"trainer__max_epochs": 2, "optimizer__lr": 0.009},
    "cmu/q6_1_3": {"data__resize": 32},
    "cmu/q6_1_4": {"data__size": 32},
    "cmu/q6_2": {"data__size": 32},
    "huji/networks": {"data__limit": 300},
    "huji/scratch": {"data__function": "max"},
    "huji/toy_speed": {"data__function": "max"},
    "ntnu/scratch": {"optimizer__weight_decay": 2.0},
}


# --- a run is trained once ---


def test_a_study_goes_on_where_it_was_stopped_and_mends_what_was_damaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def go() -> str:
        assert run("cmu/q3", tmp_path, optimizer__lr=[0.009, 0.09, 0.9]) == 0
        return capsys.readouterr().out

    assert "3 runs trained, 3 of 3 done" in go()
    kept, damaged, failed = sorted(trained(tmp_path))
    (tmp_path / damaged / "result.json").write_text("{")
    result = runs.read_result(tmp_path / failed)
    runs.write_result(tmp_path / failed, result | {"status": "failed"})
    before = trained(tmp_path)
    assert "2 runs trained, 3 of 3 done" in go()
    after = trained(tmp_path)
    assert after[kept] == before[kept] and after[damaged] > before[damaged] and after[failed] > before[failed]

    (tmp_path / kept / "best.ckpt").unlink()
    config = tmp_path / failed / "config.yaml"
    config.write_text(config.read_text().replace("seed: 0", "seed: 5"))
    out = go()
    assert out.count("is damaged and is made again") == 2
    assert "2 runs trained" in out


def test_a_run_that_was_interrupted_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one: dict[str, Any] = {"optimizer__lr": 0.009, "trainer__max_epochs": 3}
    assert run("cmu/q3", tmp_path, **one) == 0
    (folder,) = [tmp_path / name for name in trained(tmp_path)]
    whole = (folder / "metrics.csv").read_text()
    result = runs.read_result(folder)
    runs.write_result(folder, result | {"status": "interrupted"})
    assert run("cmu/q3", tmp_path, **one) == 0
    assert "resuming" in (folder / "train.log").read_text() or (folder / "metrics.csv").read_text() == whole
    assert runs.read_result(folder)["status"] == "done"


def test_a_failed_run_is_a_gap_and_the_others_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("cmu/q3", tmp_path, optimizer__lr=[0.009, 0.09], data__classes_kept=["[A,B]", "[A,nobody]"]) == 2
    out = capsys.readouterr().out
    assert "has no class nobody" in out
    assert "2 of 4 done" in out
    table = pd.read_csv(tmp_path / "report" / "table.csv")
    assert sorted(table["status"]) == ["done", "done", "failed", "failed"]
    assert table.loc[table["status"] == "failed", "test/accuracy"].isna().all()
    assert "2 of 4 runs are failed" in (tmp_path / "report" / "report.md").read_text(encoding="utf-8")


def test_a_narrowed_sweep_takes_the_runs_that_are_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("cmu/q3", tmp_path) == 0
    before = trained(tmp_path)
    capsys.readouterr()
    assert run("cmu/q3", tmp_path, optimizer__lr=0.09) == 0
    assert "0 runs trained, 1 of 1 done" in capsys.readouterr().out
    assert trained(tmp_path) == before


def test_two_processes_share_a_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that another process is at is left to it, and is a gap in this one's report."""
    assert run("cmu/q3", tmp_path, optimizer__lr=[0.009, 0.09]) == 0
    busy, done = (tmp_path / name for name in sorted(trained(tmp_path)))
    runs.clear_run(busy)
    with FileLock(busy / runs.LOCK):
        assert run("cmu/q3", tmp_path, optimizer__lr=[0.009, 0.09]) == 0
    out = capsys.readouterr().out
    assert "left to another process" in out and "0 runs trained, 1 of 2 done" in out
    assert not (busy / runs.RESULT).exists() and done.exists()
    assert run("cmu/q3", tmp_path, optimizer__lr=[0.009, 0.09]) == 0
    assert "1 runs trained, 2 of 2 done" in capsys.readouterr().out


def test_a_changed_protocol_gets_no_verdict(tmp_path: Path) -> None:
    assert run("cmu/q3", tmp_path, quick=False, seed=0) == 0
    saved = json.loads((tmp_path / "report" / "verdicts.json").read_text(encoding="utf-8"))
    kinds = {claim["kind"] for claim in saved["claims"]}
    assert kinds and not kinds & {"reproduced", "refuted", "beaten"}
    page = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert "Stand-in data" in page


def test_the_command_line_of_a_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong, words in (
        (["study=cmu/q33"], "there is no study=cmu/q33"),
        (["study=cmu/q3", "budget=small"], "budget must be full or quick"),
        (
            ["study=cmu/q3", "optimiser.lr=1", f"hydra.sweep.dir={tmp_path}"],
            "no key optimiser.lr; did you mean optimizer.lr",
        ),
    ):
        with pytest.raises(InputError, match=words):
            train.main(wrong)
    arguments = [f"{key}={value}" for key, value in TINY.items()]
    train.main(["study=cmu/q3", "budget=quick", "optimizer.lr=0.009,0.09", f"hydra.sweep.dir={tmp_path}", *arguments])
    assert "2 runs trained, 2 of 2 done" in capsys.readouterr().out


# --- means over seeds ---


def row(**values: Any) -> dict[str, Any]:
    return {"optimizer.lr": 0.1, "data.limit": None, "seed": 0, "val/accuracy": 0.9, **values}


def test_means_and_deviations_over_seeds_with_gaps_where_runs_are_missing() -> None:
    table = pd.DataFrame(
        [row(seed=0), row(seed=1, **{"val/accuracy": 0.8}), row(**{"optimizer.lr": 1.0, "val/accuracy": np.nan})]
    )
    out = aggregate_over_seeds(table, ["optimizer.lr"], ["val/accuracy"])
    assert out["val/accuracy"][0] == pytest.approx(0.85)
    assert out["val/accuracy sd"][0] == pytest.approx(0.05 * 2**0.5)
    assert list(out["runs"]) == [2, 0]
    assert np.isnan(out["val/accuracy"][1])


@pytest.mark.parametrize(
    ("key", "value"), [("data.limit", 100), ("data.files", "ab12"), ("encoder.model.net.widths", "64")]
)
def test_runs_of_other_data_or_protocol_are_not_averaged(key: str, value: Any) -> None:
    table = pd.DataFrame([row(**{key: None}), row(seed=1, **{key: value})])
    with pytest.raises(InputError, match=f"runs whose {key} differ"):
        aggregate_over_seeds(table, ["optimizer.lr"], ["val/accuracy"])


def test_codes_of_several_seeds_are_averaged_where_their_encoders_differ_in_the_seed_alone() -> None:
    """Each seed's codes are by an encoder of their own, so their files differ; what counts are the encoders."""

    def coded(seed: int, width: str) -> dict[str, Any]:
        return row(seed=seed, encoder=f"e{seed}", **{"data.files": f"f{seed}", "encoder.model.net.widths": width})

    out = aggregate_over_seeds(pd.DataFrame([coded(0, "64"), coded(1, "64")]), ["optimizer.lr"], ["val/accuracy"])
    assert list(out["runs"]) == [2]
    with pytest.raises(InputError, match=r"encoder\.model\.net\.widths differ"):
        aggregate_over_seeds(pd.DataFrame([coded(0, "64"), coded(1, "32")]), ["optimizer.lr"], ["val/accuracy"])


def test_a_verdict_is_one_of_six_words() -> None:
    with pytest.raises(ValueError, match="a verdict is one of"):
        Verdict("perhaps", "")


def test_runs_made_elsewhere_are_found_by_what_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run counts by its hash, wherever in the study's folder it lies and whatever its directory is called."""
    assert run("cmu/q3", tmp_path, optimizer__lr=0.009) == 0
    (name,) = trained(tmp_path)
    shutil.move(tmp_path / name, tmp_path / "renamed")
    capsys.readouterr()
    assert run("cmu/q3", tmp_path, optimizer__lr=0.009) == 0
    assert "0 runs trained, 1 of 1 done" in capsys.readouterr().out
