"""A study's runs made elsewhere: by a launcher, or on another machine and then collected."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dlcourse import runs
from dlcourse.config.identity import config_hash
from dlcourse.launch import jobs
from dlcourse.studies.runner import run_job, runs_by_hash
from dlcourse.studies.study import Job

STUDY = """
title: Codes of two sizes
runs:
  coder: {model: autoencoder, model.net.widths: ["[4]", "[8]"], optimizer: adam, seed: 0}
  reader: {model: mlp, data: codes, data.of: mnist, data.encoder: "@coder"}
quick: {data.limit: 100}
claims:
  - claim: More units lose less.
    check: better
    with:
      metric: test/loss
      first: {block: coder, model.net.widths: "8"}
      second: {block: coder, model.net.widths: "4"}
"""
TINY = ["data.source=stand-in", "data.limit=200", "data.limit_eval=100", "data.eval_batch_size=100",
        "trainer.max_epochs=1", "trainer=cpu"]  # fmt: skip


def command(*words: str, folder: Path, code: int = 0) -> str:
    """What a command prints, with a study in folder/conf; it must leave with this code."""
    (folder / "conf/study/mine").mkdir(parents=True, exist_ok=True)
    (folder / "conf/study/mine/codes.yaml").write_text(STUDY)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def study(folder: Path, *words: str, where: str = "made", code: int = 0) -> str:
    words = ("study=mine/codes", *TINY, f"hydra.sweep.dir={folder / where}", *words)
    return command("dlcourse.train", "--config-dir", "conf", *words, folder=folder, code=code)


def figures(folder: Path) -> dict[str, Any]:
    """What must not depend on where runs were made."""
    results = {path.parent.name: runs.read_result(path.parent) for path in folder.glob("made/*/result.json")}
    return {
        name: [r[k] for k in ("status", "score", "metrics", "epochs", "config_hash")] for name, r in results.items()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study's four runs, one after the other; two of them are of what the first two give."""
    folder = tmp_path_factory.mktemp("in_turn")
    assert "4 runs trained, 4 of 4 done" in study(folder)
    return folder


@pytest.mark.parametrize("launcher", ["basic", "joblib", "population"])
def test_missing_runs_go_to_a_launcher(launcher: str, made: Path, tmp_path: Path) -> None:
    if launcher == "joblib" and not jobs.is_installed("hydra_plugins.hydra_joblib_launcher"):
        pytest.skip("not installed: pip install 'dlcourse[joblib]'")
    said = study(tmp_path, f"hydra/launcher={launcher}")
    assert "4 runs trained, 4 of 4 done" in said and "[reader 2/2] seed=0 model=mlp" in said
    assert (tmp_path / "made" / "report" / "report.html").is_file()
    assert figures(tmp_path) == figures(made)
    assert "0 runs trained, 4 of 4 done" in study(tmp_path, f"hydra/launcher={launcher}")


# --- runs of another machine ---


def collect(folder: Path, *words: str, code: int = 0) -> list[str]:
    """What `collect` says of the runs below folder/there, a sentence a run."""
    words = ("there", "study=mine/codes", "to=taken", *TINY, *words)
    said = command("dlcourse.studies", "collect", *words, "--config-dir", "conf", folder=folder, code=code)
    return said.splitlines()


def bring(made: Path, folder: Path, checkpoints: bool) -> list[Path]:
    """The runs as they come from another machine with another device, with other paths; read-only."""
    there = folder / "there"
    shutil.copytree(made / "made", there / "deeper", ignore=shutil.ignore_patterns("report", "*.csv.part"))
    brought = sorted(path.parent for path in there.glob("*/*/result.json"))
    for run in brought:
        result = runs.read_result(run)
        runs.write_result(run, result | {"device": "NVIDIA H100"})
        config = (run / "config.yaml").read_text().replace(str(made), "/elsewhere")
        (run / "config.yaml").write_text(config)
        for path in run.glob("*.ckpt"):
            if not checkpoints:
                path.unlink()
    return brought


def test_runs_made_elsewhere_are_a_study_s(made: Path, tmp_path: Path) -> None:
    brought = bring(made, tmp_path, checkpoints=True)
    for run in brought:
        run.chmod(0o555)
    said = collect(tmp_path)
    assert len(said) == 4 and all(" taken as " in line and line.endswith("(NVIDIA H100)") for line in said)
    assert all(line.endswith(" has it already") for line in collect(tmp_path))
    taken = {path.parent.name: runs.read_result(path.parent) for path in tmp_path.glob("taken/mine/*/*/result.json")}
    assert {name: result["metrics"] for name, result in taken.items()} == {
        run.name: runs.read_result(run)["metrics"] for run in brought
    }
    assert all(Path(result["collected"]).name == name for name, result in taken.items())
    assert "0 runs trained, 4 of 4 done" in study(tmp_path, where="taken/mine/codes")


def test_what_came_without_weights_still_counts(made: Path, tmp_path: Path) -> None:
    """One run comes, without checkpoints: what needs none is made here; the page says which were made where."""
    kept, *others = bring(made, tmp_path, checkpoints=False)
    for run in others:
        shutil.rmtree(run)
    assert len(collect(tmp_path)) == 1 and kept.name.startswith("coder")
    said = study(tmp_path, where="taken/mine/codes", code=1)
    assert "has no best.ckpt: it was collected without" in said
    page = (tmp_path / "taken/mine/codes/report/report.md").read_text(encoding="utf-8")
    assert "1 of coder, 1 of reader; NVIDIA H100: 1 of coder" in page


def test_a_study_s_own_folder_loses_nothing(made: Path, tmp_path: Path) -> None:
    """Not even a run without weights, nor one whose copy was cut off by a kill."""
    first, *_ = bring(made, tmp_path, checkpoints=True)
    shutil.copytree(tmp_path / "there" / "deeper", tmp_path / "taken/mine/codes")
    own = tmp_path / "taken/mine/codes" / first.name
    (own / "best.ckpt").unlink()
    cut_off = own.with_name(f".{first.name}.part")
    shutil.copytree(own, cut_off)
    shutil.rmtree(tmp_path / "there")
    (tmp_path / "there").symlink_to(tmp_path / "taken/mine/codes")
    assert f"there/{first.name}: not taken, it is the study's own" in collect(tmp_path)
    assert (own / "result.json").is_file() and (own / "last.ckpt").is_file()
    assert cut_off not in runs_by_hash(own.parent).values()


def test_a_run_that_another_process_has_finished_stays(made: Path, tmp_path: Path) -> None:
    """It was missing when this process made its plan, and is done when its turn comes."""
    folder = tmp_path / "made"
    shutil.copytree(made / "made", folder)
    done = sorted(path.parent for path in folder.glob("*/result.json"))[0]
    before = (done / "result.json").stat().st_mtime_ns
    plain = runs.read_config(done)
    outcome = run_job(Job("coder", {}, plain, config_hash(plain)), done)
    assert outcome == "left as another process has made it meanwhile"
    assert (done / "result.json").stat().st_mtime_ns == before


def test_a_damaged_config_and_an_empty_folder(made: Path, tmp_path: Path) -> None:
    first, *_ = bring(made, tmp_path, checkpoints=False)
    (first / "config.yaml").write_text("[")
    said = collect(tmp_path)
    assert len(said) == 4 and "is damaged" in next(line for line in said if first.name in line)
    shutil.rmtree(tmp_path / "there")
    (tmp_path / "there").mkdir()
    assert collect(tmp_path, code=2) == ["error: there is no run in there, nor in a directory below"]


def test_what_is_not_taken_is_said(made: Path, tmp_path: Path) -> None:
    first, second, third, fourth = bring(made, tmp_path, checkpoints=False)
    config = (first / "config.yaml").read_text()
    (first / "config.yaml").write_text(config.replace("lr: 0.001", "lr: 0.002"))
    runs.write_result(second, runs.read_result(second) | {"status": "interrupted"})
    (third / "result.json").write_text("{")
    said = dict(line.split(": ", 1) for line in collect(tmp_path))
    sentences = {Path(run).name: sentence for run, sentence in said.items()}
    last = sentences.pop(fourth.name)
    assert last.startswith("not taken, no study has its config; the nearest run is of mine/codes, with")
    assert sentences == {
        first.name: "not taken, its config.yaml is not the one that it ran with",
        second.name: "not taken, it is not done (interrupted)",
        third.name: f"not taken, there/deeper/{third.name}/result.json is damaged: it is not the result of a run",
    }
    assert not list(tmp_path.glob("taken/mine/codes/*/"))
