"""evaluate, predict, resume and train as they are typed, by somebody clumsy and by somebody malicious."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dlcourse import evaluate, predict, resume, runs
from dlcourse import train as training
from dlcourse.core import cli
from dlcourse.core.errors import InputError
from dlcourse.runs.lock import BusyRunError

SRC = Path(training.__file__).parents[1]
SMALL = ("data.source=stand-in", "data.limit=200", "data.limit_eval=100", "logger=none", "model=linear",
         "trainer.accelerator=cpu", "trainer.figures=false", "trainer.max_epochs=1")  # fmt: skip


@pytest.fixture(scope="module")
def trained(config: Callable[..., dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One small run, trained once; `run` below is a copy that a test may damage."""
    from dlcourse.training import fit

    folder = tmp_path_factory.mktemp("trained")
    fit.train(config(*SMALL), folder, "python -m dlcourse.train")
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "a run=ü"))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "a[1].png"
    Image.fromarray(np.arange(784, dtype=np.uint8).reshape(28, 28)).save(path)
    return path


def python(*words: str, cwd: Path) -> "subprocess.Popen[str]":
    environment = os.environ | {"PYTHONPATH": str(SRC)}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-m", *words], cwd=cwd, env=environment, text=True, **pipes)


def mistake(main: Callable[[list[str]], Any], *arguments: str) -> str:
    with pytest.raises(InputError) as raised:
        main(list(arguments))
    sentence = str(raised.value)
    assert "\n" not in sentence
    return sentence


COMMANDS: list[Callable[[list[str]], Any]] = [evaluate.main, resume.main, predict.main]


@pytest.mark.parametrize("main", COMMANDS, ids=["evaluate", "resume", "predict"])
def test_arguments_that_are_none(main: Callable[[list[str]], Any], tmp_path: Path) -> None:
    more = ("images=x.png",) if main is predict.main else ()
    assert "run=... is missing" in mistake(main, *more)
    assert "rnu=" in (said := mistake(main, "rnu=x"))
    assert "did you mean run" in said
    assert "'x' is not KEY=VALUE" in mistake(main, "x")
    assert "run= has no value" in mistake(main, "run=")
    assert "run= is given twice" in mistake(main, "run=a", "run=b")
    if main is not predict.main:
        assert "there is no such directory" in mistake(main, f"run={tmp_path / 'none'}")


def test_help_is_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    for main in COMMANDS:
        with pytest.raises(SystemExit) as left:
            main(["--help"])
        assert left.value.code == 0
        assert "run=DIR" in capsys.readouterr().out


def test_evaluate(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    metrics = evaluate.main([f"run={run}", f"out={out}"])
    recorded = runs.read_result(run)["metrics"]
    assert metrics == {k: v for k, v in recorded.items() if k.startswith("test/")}
    assert json.loads(out.read_text())["metrics"] == metrics
    assert "split=tset" in mistake(evaluate.main, f"run={run}", "split=tset")
    assert "did you mean data.limit" in mistake(evaluate.main, f"run={run}", "data.limt=5")
    assert "data.eval_batch_size must be" in mistake(evaluate.main, f"run={run}", "data.eval_batch_size=0")
    assert "can't be written" in mistake(evaluate.main, f"run={run}", f"out={out}/below/a/file")


def test_predict(
    run: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    predict.main([f"run={run}", f"images={photo}"])
    assert capsys.readouterr().out.splitlines()[1].startswith(str(photo))
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(photo.read_bytes()[:60])
    assert str(damaged) in mistake(predict.main, f"run={run}", f"images={damaged}")
    assert "no file is called that" in mistake(predict.main, f"run={run}", f"images={tmp_path / '*.gif'}")
    assert str(damaged) in mistake(predict.main, f"run={run}", f"images={tmp_path}")
    assert "invert=maybe" in mistake(predict.main, f"run={run}", f"images={photo}", "invert=maybe")
    assert "can't be written" in mistake(predict.main, f"run={run}", f"images={photo}", f"out={tmp_path}/no/where.csv")
    (tmp_path / "is.csv").mkdir()
    assert "can't be written" in mistake(predict.main, f"run={run}", f"images={photo}", f"out={tmp_path}/is.csv")
    assert not list(tmp_path.glob("*.part"))


def test_resume_refuses_what_can_not_be(run: Path) -> None:
    for epochs in ("0", "-1", "1.5", "many"):
        assert f"got {epochs}" in mistake(resume.main, f"run={run}", f"trainer.max_epochs={epochs}")
    before = (run / runs.RESULT).read_text()
    assert resume.main([f"run={run}"]) == json.loads(before)["score"]
    assert (run / runs.RESULT).read_text() == before
    resume.main([f"run={run}", "trainer.max_epochs=3"])
    assert runs.read_result(run)["epochs"] == 3
    runs.write_result(run, runs.read_result(run) | {"status": "interrupted"})
    assert "has 3 epochs already" in mistake(resume.main, f"run={run}", "trainer.max_epochs=2")
    (run / runs.LAST).unlink()
    assert "has no last.ckpt" in mistake(resume.main, f"run={run}")


class Evil:
    """Unpickled, it makes a file: the proof that code ran."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.proof),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_checkpoint_cannot_run_code(run: Path, photo: Path, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    saved = torch.load(run / runs.BEST, weights_only=True)
    runs.write_result(run, runs.read_result(run) | {"status": "interrupted"})
    for name in (runs.BEST, runs.LAST):
        for evil in ({**saved, "state_dict": Evil(proof)}, {**saved, "hyper_parameters": Evil(proof)}, Evil(proof)):
            torch.save(evil, run / name)
            with pytest.raises(InputError):
                (evaluate if name == runs.BEST else resume).main([f"run={run}"])
            if name == runs.BEST:
                assert runs.BEST in mistake(predict.main, f"run={run}", f"images={photo}")
        (run / name).write_bytes(pickle.dumps(Evil(proof)))
        with pytest.raises(InputError):
            (evaluate if name == runs.BEST else resume).main([f"run={run}"])
    assert not proof.exists()
    pickle.loads((run / runs.LAST).read_bytes())  # the weapon is loaded
    assert proof.exists()


def test_a_checkpoint_names_no_class_but_ours(run: Path) -> None:
    saved = torch.load(run / runs.BEST, weights_only=True)
    for target in ("os.system", "torch.serialization.os.system", "builtins.eval", "torch.nn.Linear", 5, None):
        torch.save(saved | {"task": target}, run / runs.BEST)
        assert "_target_" in mistake(evaluate.main, f"run={run}")
    net = saved["hyper_parameters"]["net"] | {"_target_": "os.system"}
    torch.save(saved | {"hyper_parameters": saved["hyper_parameters"] | {"net": net}}, run / runs.BEST)
    assert "model.net._target_=os.system" in mistake(evaluate.main, f"run={run}")


def test_a_damaged_or_foreign_checkpoint_is_named(run: Path) -> None:
    best = run / runs.BEST
    whole = best.read_bytes()
    torch.save({"a": torch.zeros(1)}, best)
    foreign = best.read_bytes()
    torch.save(torch.zeros(1), best)
    with zipfile.ZipFile(run / "a.zip", "w") as archive:
        archive.writestr("a", "b")
    for content in (b"", b"text", whole[:100], whole[:-100], foreign, best.read_bytes(), (run / "a.zip").read_bytes()):
        best.write_bytes(content)
        assert str(best) in mistake(evaluate.main, f"run={run}")
    runs.write_result(run, runs.read_result(run) | {"status": "interrupted"})
    (run / runs.LAST).write_bytes(b"text")
    assert str(run / runs.LAST) in mistake(resume.main, f"run={run}")
    best.unlink()
    assert "has no best.ckpt" in mistake(evaluate.main, f"run={run}")


# --- through the real command line ---------------------------------------------------------------------------------


def test_one_sentence_exit_code_2_and_nothing_left(tmp_path: Path) -> None:
    """Mistakes that show only when torch is there: in the directory that Hydra had made by then."""
    done = python("dlcourse.train", *SMALL, "model.net._target_=os.system", cwd=tmp_path)
    out, err = done.communicate(timeout=120)
    assert (done.returncode, out) == (2, "")
    assert err.startswith("error: model.net._target_=os.system: ")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_can_not_be_written(tmp_path: Path, run: Path) -> None:
    (tmp_path / "file").touch()
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    for place, part in [(tmp_path / "file" / "run", "Not a directory"), (run, "already holds a run")]:
        done = python("dlcourse.train", *SMALL, f"hydra.run.dir='{place}'", cwd=tmp_path)
        _, err = done.communicate(timeout=120)
        assert done.returncode == 2
        assert part in err
        assert err.count("\n") == 1
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before


def test_a_sweep_survives_a_bug_and_never_writes_over_a_run(tmp_path: Path, trained: Path) -> None:
    """Job 0 has another run there already, job 1 meets an error that nobody foresaw, job 2 is well."""
    shutil.copytree(trained, tmp_path / "sweep" / "0")
    before = (
        (tmp_path / "sweep" / "0" / runs.RESULT)
        .read_text()
        .replace(runs.read_result(trained)["config_hash"], "another")
    )
    (tmp_path / "sweep" / "0" / runs.RESULT).write_text(before)
    script = (
        "import sys; from dlcourse import train\nfrom dlcourse.core import cli\nfrom dlcourse.training import fit\n"
        "real = fit.train\n"
        "def flaky(plain, *rest, **more):\n"
        "    if plain['seed'] == 1: raise RuntimeError('nobody foresaw this')\n"
        "    return real(plain, *rest, **more)\n"
        "fit.train = flaky\n"
        "cli.run_command(train.main)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "-m", *SMALL, "seed=0,1,2", "hydra.sweep.dir=sweep"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(SRC)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1
    assert "failed runs: 2" in done.stderr
    assert (tmp_path / "sweep" / "0" / runs.RESULT).read_text() == before
    failed = runs.read_result(tmp_path / "sweep" / "1_seed=1")
    assert (failed["status"], failed["error"]) == ("failed", "RuntimeError: nobody foresaw this")
    assert "Traceback" in (tmp_path / "sweep" / "1_seed=1" / "train.log").read_text()
    assert runs.read_result(tmp_path / "sweep" / "2_seed=2")["status"] == "done"


@pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")
@pytest.mark.parametrize(("sent", "status"), [(signal.SIGTERM, "interrupted"), (signal.SIGKILL, "running")])
def test_a_run_that_is_killed_goes_on(sent: signal.Signals, status: str, tmp_path: Path) -> None:
    words = [*SMALL[:-1], "data.limit=600", "data.batch_size=1", "trainer.max_epochs=1000", "hydra.run.dir='a b'"]
    process = python("dlcourse.train", *words, cwd=tmp_path)
    run = tmp_path / "a b"
    try:
        until = time.monotonic() + 90
        while not (run / runs.LAST).is_file() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        with pytest.raises(BusyRunError, match="another process"):
            resume.main([f"run={run}"])
        process.send_signal(sent)
        process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == {signal.SIGTERM: 130, signal.SIGKILL: -9}[sent]
    assert runs.read_result(run)["status"] == status
    from dlcourse.training.loading import epochs_done

    epochs = epochs_done(run) + 1
    resume.main([f"run={run}", f"trainer.max_epochs={epochs}"])
    result = runs.read_result(run)
    assert (result["status"], result["epochs"]) == ("done", epochs)


def test_a_closed_pipe_ends_what_is_printed_not_the_run(tmp_path: Path) -> None:
    process = python("dlcourse.train", *SMALL, "hydra.run.dir=run", cwd=tmp_path)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    err = process.stderr.read()
    assert (process.wait(timeout=120), err) == (0, "")
    assert runs.read_result(tmp_path / "run")["status"] == "done"


def test_log_to_appends(tmp_path: Path) -> None:
    import logging

    (tmp_path / "train.log").write_text("before\n")
    cli.log_to_file(tmp_path / "train.log")
    logging.getLogger("dlcourse").warning("after")
    assert (tmp_path / "train.log").read_text().startswith("before\n[")
