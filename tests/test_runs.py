"""A run is a directory: found, read and refused, whatever somebody did to it."""

import json
from pathlib import Path
from typing import Any

import pytest

from dlcourse import runs
from dlcourse.core.errors import InputError

DONE: dict[str, Any] = {
    "status": "done", "score": 0.5, "monitor": "val/accuracy", "mode": "max", "metrics": {"val/accuracy": 0.5},
    "epochs": 1, "best_epoch": 1, "steps": 2, "seconds": 1.0, "parameters": 3, "seed": 0, "model": "mlp",
    "data": {"name": "mnist"}, "versions": {}, "device": "CPU", "commit": None, "config_hash": "0", "command": "",
}  # fmt: skip


def make(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    runs.write_result(folder, DONE | changes)
    return folder


def test_a_run_is_itself_and_a_sweep_is_its_best(tmp_path: Path) -> None:
    for i, score in enumerate((0.3, 0.9, None)):
        make(tmp_path / "sweep ü=1" / str(i), score=score)
    make(tmp_path / "sweep ü=1" / "3", status="running", score=1.0)
    make(tmp_path / "sweep ü=1" / "4", status="failed", score=1.0)
    assert runs.find_run(tmp_path / "sweep ü=1") == tmp_path / "sweep ü=1" / "1"
    assert runs.find_run(tmp_path / "sweep ü=1" / "4").name == "4"
    for i, score in enumerate((0.3, 0.9)):
        make(tmp_path / "losses" / str(i), score=score, monitor="val/loss", mode="min")
    assert runs.find_run(tmp_path / "losses").name == "0"


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    run = make(tmp_path / "run")
    (run / "best.ckpt").touch()
    (tmp_path / "file").touch()
    make(tmp_path / "mixed" / "0")
    make(tmp_path / "mixed" / "1", monitor="val/loss", mode="min")
    make(tmp_path / "failed" / "0", status="failed")
    make(tmp_path / "failed" / "1", status="running")
    for path, part in [
        ("nothing", "there is no such directory"),
        ("empty", "is no run"),
        ("file", "is a file"),
        ("run/best.ckpt", f"its run is run={run}"),
        ("mixed", "val/accuracy and by val/loss"),
        ("failed", r"none of its 2 runs is done \(0: failed, 1: running\)"),
    ]:
        with pytest.raises(InputError, match=part):
            runs.find_run(tmp_path / path)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", "{}", '{"status": "finished"}', '{"status": 3}', '{"status": "done"}', "\x00",
     json.dumps(DONE | {"score": "high"}), json.dumps(DONE | {"metrics": None}), json.dumps(DONE | {"monitor": 3})],
)  # fmt: skip
def test_a_damaged_result_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / runs.RESULT).write_text(text)
    with pytest.raises(InputError, match=r"result\.json is damaged") as raised:
        runs.read_result(tmp_path)
    assert str(tmp_path) in str(raised.value)


def test_a_result_has_no_number_that_json_has_not(tmp_path: Path) -> None:
    run = make(tmp_path, score=float("nan"), metrics={"val/loss": float("inf")})
    assert "NaN" not in (run / runs.RESULT).read_text()
    assert runs.read_result(run)["metrics"] == {"val/loss": None}


def test_a_failure_has_all_keys_and_never_replaces_a_result(tmp_path: Path) -> None:
    runs.write_failure(tmp_path, "a mistake", "python")
    result = runs.read_result(tmp_path)
    assert (result["status"], result["error"], result["score"], result["metrics"]) == ("failed", "a mistake", None, {})
    assert result.keys() >= runs.KEYS.keys()
    make(tmp_path, score=0.75)
    runs.write_failure(tmp_path, "another", "python")
    assert runs.read_result(tmp_path)["score"] == 0.75


def test_a_config_that_was_edited_is_checked(tmp_path: Path, config: Any) -> None:
    make(tmp_path, status="failed")
    with pytest.raises(InputError, match=r"has no config\.yaml: it ended \(failed\)"):
        runs.read_config(tmp_path)
    plain = config("model=mlp")
    runs.write_config(tmp_path, plain)
    assert runs.read_config(tmp_path) == plain
    text = (tmp_path / runs.CONFIG).read_text()
    for old, new, part in [
        ("seed: 0", "seed: -5", "seed must be"),
        ("seed: 0", "seed: 0\nextra: 1", "there is no key extra"),
        ("  max_epochs: 8", "", "trainer.max_epochs is missing"),
        ("seed: 0", "seed: [", "damaged"),
        ("seed: 0", "seed: ${seed", "damaged"),
        (text, "", "not the config of a run"),
        (text, "[1, 2]", "not the config of a run"),
    ]:
        assert old in text
        (tmp_path / runs.CONFIG).write_text(text.replace(old, new, 1))
        with pytest.raises(InputError, match=part) as raised:
            runs.read_config(tmp_path)
        assert str(tmp_path) in str(raised.value)
        assert "\n" not in str(raised.value)
    (tmp_path / runs.CONFIG).write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(InputError, match="damaged"):
        runs.read_config(tmp_path)


def test_other_data_is_put_in_by_key(config: Any) -> None:
    data = config()["data"]
    changed = runs.with_changes(data, {"data.limit_eval": "7", "data.root": "/a b=ü", "data.augment.flip": "true"})
    assert (changed["limit_eval"], changed["root"], changed["augment"]["flip"]) == (7, "/a b=ü", True)
    assert data["limit_eval"] is None
    with pytest.raises(InputError, match=r"no key data\.limt; did you mean data\.limit"):
        runs.with_changes(data, {"data.limt": "7"})
    with pytest.raises(InputError, match=r"data\.limit="):
        runs.with_changes(data, {"data.limit": "{a"})


def test_files_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    runs.write_text(tmp_path / "a", "before")
    with pytest.raises(UnicodeEncodeError):
        runs.write_text(tmp_path / "a", "after \ud800")
    assert (tmp_path / "a").read_text() == "before"
    with pytest.raises(InputError, match="can't be written: Not a directory"):
        runs.write_text(tmp_path / "a" / "b", "text")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="can't be written"):
        runs.write_text(tmp_path / "folder", "text")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "folder"]


def test_only_what_a_run_left_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "outputs" / "runs" / "a"
    (run / ".hydra").mkdir(parents=True)
    (run / ".hydra" / "config.yaml").touch()
    (run / "train.log").touch()
    runs.discard_run(run)
    assert list(tmp_path.iterdir()) == []
    (run / ".hydra").mkdir(parents=True)
    (run / "notes.txt").touch()
    runs.discard_run(run)
    assert (run / "notes.txt").is_file()
    make(run)
    (run / "train.log").touch()
    runs.discard_run(run)
    assert (run / "train.log").is_file()
