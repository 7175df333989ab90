"""Run what a study is missing, and write its report."""

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from dlcourse import runs
from dlcourse.config.identity import config_hash
from dlcourse.core.cli import at_place, clock, error_sentence, log_apart
from dlcourse.core.errors import InputError
from dlcourse.launch.compose import resolve
from dlcourse.launch.jobs import launch_jobs
from dlcourse.runs.lock import BusyRunError, hold_run
from dlcourse.studies.report import check_functions, table_of_runs, write_report
from dlcourse.studies.runs import Runs, run_status
from dlcourse.studies.study import Job, Planned, Study, expand_block, load_study, narrow, override_words
from dlcourse.training.fit import complete
from dlcourse.training.loggers import add_text
from dlcourse.training.summary import quote_path


def run_study(
    name: str, overrides: Mapping[str, Any], quick: bool, folder: Path, command: str, launcher: Sequence[str] = ()
) -> int:
    """Run a study's missing runs and write its report; returns how many runs failed.

    A run is known by its config's hash: one that is done is never repeated, one that was interrupted goes on, one that
    failed or whose directory is damaged is made again. Several processes may run the same study: they share its runs.
    launcher: Hydra's, as it is named on the command line (`hydra/launcher=joblib`); without one, run after run.
    """
    study = load_study(name)
    check_functions(study)
    folder.mkdir(parents=True, exist_ok=True)
    planned: dict[str, list[Planned]] = {}
    outcomes: list[str] = []
    for block, entries in plan_runs(study, overrides, quick, folder):
        planned[block] = entries
        numbered = [(f"[{block} {i}/{len(entries)}] {job}", job, run) for i, (job, run) in enumerate(entries, 1)]
        missing = [entry for entry in numbered if not is_whole(entry[2], entry[1].hash)]
        trained_runs = train_by(launcher, missing) if launcher else train_in_turn(missing)
        began = time.monotonic()
        for made, (line, outcome) in enumerate(trained_runs, 1):
            add_text(missing[made - 1][2], "claims", claims_text(study))
            left = (time.monotonic() - began) / made * (len(missing) - made)
            note = f"; {clock(left)} left of {block}" if made < len(missing) and not launcher else ""
            print(f"{line}\n" * bool(launcher) + f"    {outcome}{note}", flush=True)
            outcomes.append(outcome)
    table = table_of_runs(study, planned)
    trained, failed = (sum(outcome.startswith(word) for outcome in outcomes) for word in ("done", "failed"))
    print(f"{name}: {trained} runs trained, {(table['status'] == 'done').sum()} of {len(table)} done")
    where = write_report(study, Runs(table, folder), overrides, quick, command)
    print(f"report: {quote_path(where / 'report.html')}")
    return failed


def claims_text(study: Study) -> str:
    """What a study's runs are for, as Markdown."""
    claims = [f"- {claim.text}" + f" ({claim.where})" * bool(claim.where) for claim in study.claims]
    return "\n".join([f"**{study.title}** ({study.name})", "", *claims])


def plan_runs(
    study: Study, overrides: Mapping[str, Any], quick: bool, folder: Path
) -> Iterator[tuple[str, list[Planned]]]:
    """Block after block of a study, its runs with their directories; a second stage is of what is done by then."""
    known = runs_by_hash(folder)
    planned: dict[str, list[Planned]] = {}
    for block, keys in narrow(study, overrides, quick).items():
        encoders = {b: [(j, r) for j, r in entries if run_status(r) == "done"] for b, entries in planned.items()}
        planned[block] = [
            (job, known.setdefault(job.hash, folder / f"{job.block}-{job.hash}"))
            for job in expand_block(block, keys, encoders)
        ]
        yield block, planned[block]


Missing = Sequence[tuple[str, Job, Path]]  # what is printed of a run that is missing, the run, its directory


def train_in_turn(missing: Missing) -> Iterator[tuple[str, str]]:
    """Train runs one after the other; of each the line and what became of it."""
    for line, job, run in missing:
        print(line, flush=True)
        with at_place(line.partition("]")[0] + "]"):
            outcome = run_job(job, run)
        yield line, outcome


def train_by(launcher: Sequence[str], missing: Missing) -> Iterator[tuple[str, str]]:
    """Train runs with a launcher of Hydra's, in whatever order and place it does so."""
    words = [[*override_words(job.overrides), f"hydra.sweep.subdir={run.name}"] for _, job, run in missing]
    folder = f"hydra.sweep.dir={missing[0][2].parent}" if missing else ""
    outcomes = launch_jobs(launched_job, words, [*launcher, folder]) if missing else []
    yield from zip((line for line, _, _ in missing), outcomes, strict=True)


def launched_job(cfg: DictConfig) -> str:
    """`run_job` for a job that a launcher composed, wherever that is."""
    plain = resolve(cfg)
    run = Path(HydraConfig.get().runtime.output_dir)
    words = (word.partition("=") for word in HydraConfig.get().overrides.task)
    overrides = {key: value.strip('"') for key, _, value in words}
    with at_place(None):
        return run_job(Job(run.name, overrides, plain, config_hash(plain)), run)


# --- one run ---------------------------------------------------------------------------------------------------------


def runs_by_hash(folder: Path) -> dict[str, Path]:
    """The runs in a study's folder by their config's hash, whatever their directories are called."""
    found: dict[str, Path] = {}
    for result in sorted(folder.glob(f"[!.]*/{runs.RESULT}")):  # a copy that isn't whole yet is hidden
        with contextlib.suppress(InputError):
            found.setdefault(str(runs.read_result(result.parent).get("config_hash")), result.parent)
    return found


def is_whole(run: Path, expected: str) -> bool:
    """Whether a run is done and its directory whole; what is wrong with one that claims to be done is printed."""
    if run_status(run) != "done":
        return False
    if reason := damage(run, expected):
        print(f"{quote_path(run)} is damaged and is made again: {reason}")
    return not reason


def damage(run: Path, expected: str) -> str:
    """What is wrong with a run that claims to be done; empty where its directory is whole."""
    try:
        if config_hash(runs.read_config(run)) != expected:
            raise InputError(f"its {runs.CONFIG} is not the one that it ran with")
        if "collected" not in runs.read_result(run):  # from elsewhere, perhaps without
            runs.checkpoint_path(run)
        if not (run / runs.METRICS).is_file():
            raise InputError(f"it has no {runs.METRICS}")
    except InputError as error:
        return str(error)
    return ""


def run_job(job: Job, run: Path) -> str:
    """Train one run to its end; in one line what became of it."""
    run.mkdir(parents=True, exist_ok=True)
    try:
        with hold_run(run):
            return _run_job(job, run)
    except BusyRunError:
        return "left to another process, which is at it"


def _run_job(job: Job, run: Path) -> str:
    """`run_job` in a directory that is this process's."""
    if run_status(run) == "done" and not damage(run, job.hash):
        return "left as another process has made it meanwhile"
    if run_status(run) in ("done", "damaged"):
        runs.clear_run(run)
    began = time.monotonic()
    command = f"python -m dlcourse.train {job}"
    with log_apart(run / "train.log"):
        try:
            score = complete(job.plain, run, command)
        except Exception as error:
            text = (
                error_sentence(error) if isinstance(error, InputError | OSError) else f"{type(error).__name__}: {error}"
            )
            logging.getLogger(__name__).exception("%s", text)
            runs.write_failure(run, text, command)
            return f"failed: {text}"
    result = runs.read_result(run)
    value = "never a number" if score is None else f"{score:.4g}"
    return f"done in {time.monotonic() - began:.0f} s, {runs.length(result)}: {result['monitor']} {value}"
