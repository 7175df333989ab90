"""Run what a study is missing, one run after the other, and write its report."""

import contextlib
import logging
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dlcourse import runs
from dlcourse.config.identity import config_hash
from dlcourse.core.cli import error_sentence, log_to_file
from dlcourse.core.errors import InputError
from dlcourse.studies.report import table_of_runs, write_report
from dlcourse.studies.runs import Runs, run_status
from dlcourse.studies.study import Job, expand_block, load_study, narrow
from dlcourse.training.fit import train
from dlcourse.training.summary import quote_path


def run_study(name: str, overrides: Mapping[str, Any], quick: bool, folder: Path, command: str) -> int:
    """Run a study's missing runs and write its report; returns how many runs failed.

    A run is known by its config's hash: one that is done is never repeated, one that was interrupted goes on, one that
    failed or whose directory is damaged is made again. Several processes may run the same study: they share its runs.
    """
    study = load_study(name)
    blocks = narrow(study, overrides, quick)
    folder.mkdir(parents=True, exist_ok=True)
    known = runs_by_hash(folder)
    planned: dict[str, list[tuple[Job, Path]]] = {}
    failed = trained = 0
    for block, keys in blocks.items():
        encoders = {b: [(j, r) for j, r in done if run_status(r) == "done"] for b, done in planned.items()}
        todo = list(expand_block(block, keys, encoders))
        planned[block] = []
        for i, job in enumerate(todo, 1):
            run = known.setdefault(job.hash, folder / f"{job.block}-{job.hash}")
            planned[block].append((job, run))
            if is_whole(run, job.hash):
                continue
            print(f"[{block} {i}/{len(todo)}] {job}", flush=True)
            outcome = run_job(job, run)
            print(f"    {outcome}", flush=True)
            trained += outcome.startswith("done")
            failed += outcome.startswith("failed")
    table = table_of_runs(study, planned)
    print(f"{name}: {trained} runs trained, {(table['status'] == 'done').sum()} of {len(table)} done")
    where = write_report(study, Runs(table, folder), overrides, quick, command)
    print(f"report: {quote_path(where / 'report.html')}")
    return failed


# --- one run ---------------------------------------------------------------------------------------------------------


def runs_by_hash(folder: Path) -> dict[str, Path]:
    """The runs in a study's folder by their config's hash, whatever their directories are called."""
    found: dict[str, Path] = {}
    for result in sorted(folder.glob(f"*/{runs.RESULT}")):
        with contextlib.suppress(InputError):
            found.setdefault(str(runs.read_result(result.parent).get("config_hash")), result.parent)
    return found


def is_whole(run: Path, expected: str) -> bool:
    """Whether a run is done and its directory whole; what is wrong with one that claims to be done is printed."""
    if run_status(run) != "done":
        return False
    try:
        if config_hash(runs.read_config(run)) != expected:
            raise InputError(f"its {runs.CONFIG} is not the one that it ran with")
        runs.checkpoint_path(run)
        if not (run / runs.METRICS).is_file():
            raise InputError(f"it has no {runs.METRICS}")
    except InputError as error:
        print(f"{quote_path(run)} is damaged and is made again: {error}")
        return False
    return True


def run_job(job: Job, run: Path) -> str:
    """Train one run to its end; in one line what became of it."""
    run.parent.mkdir(parents=True, exist_ok=True)
    with lock_run(run) as free:
        if not free:
            return "left to another process, which is at it"
        resume = run_status(run) in ("interrupted", "running") and (run / runs.LAST).is_file()
        if not resume and run.exists():
            shutil.rmtree(run)
        run.mkdir(exist_ok=True)
        began = time.monotonic()
        command = f"python -m dlcourse.train {job}"
        with log_only_to(run / "train.log"):
            try:
                try:
                    score = train(job.plain, run, command, resume)
                except InputError:
                    if not resume:
                        raise
                    shutil.rmtree(run)  # nothing to go on from: a checkpoint that is damaged, data that have changed
                    run.mkdir()
                    score = train(job.plain, run, command)
            except Exception as error:
                text = (
                    error_sentence(error)
                    if isinstance(error, InputError | OSError)
                    else f"{type(error).__name__}: {error}"
                )
                logging.getLogger(__name__).exception("%s", text)
                runs.write_failure(run, text, command)
                return f"failed: {text}"
        result = runs.read_result(run)
        value = "never a number" if score is None else f"{score:.4g}"
        return f"done in {time.monotonic() - began:.0f} s, {result['epochs']} epochs: {result['monitor']} {value}"


@contextlib.contextmanager
def lock_run(run: Path) -> Iterator[bool]:
    """Whether this process may work on a run: no other does. The lock goes when the process does, however it ends."""
    lock = FileLock(run.with_name(f".{run.name}.lock"))
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    with held:
        yield True


@contextlib.contextmanager
def log_only_to(path: Path) -> Iterator[None]:
    """What a run says goes to its train.log only; a study prints a line a run."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    root.handlers.clear()
    root.setLevel(logging.INFO)
    log_to_file(path)
    try:
        yield
    finally:
        for handler in root.handlers:
            handler.close()
        root.handlers[:] = before
        root.setLevel(level)
