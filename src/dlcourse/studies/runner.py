"""Run what a study is missing, one run after the other, and write its report."""

import contextlib
import hashlib
import importlib
import logging
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout
from pandas import DataFrame

from dlcourse import runs
from dlcourse.config.identity import NOT_HASHED, config_hash
from dlcourse.core.cli import error_sentence, log_to_file
from dlcourse.core.errors import InputError, or_list
from dlcourse.reports import page
from dlcourse.reports.tables import collect_warnings, describe_runs, run_record
from dlcourse.studies.runs import Runs
from dlcourse.studies.study import Claim, Job, Study, columns, jobs, load, narrowed
from dlcourse.studies.verdict import Verdict, no_verdict, not_comparable
from dlcourse.training.engine import train
from dlcourse.training.summary import quote_path

REPORT, MEASURED = "report", "measured.csv"
COMFORT = (*NOT_HASHED, "data.root")  # overrides that don't change what a study computes


def run_study(name: str, overrides: Mapping[str, Any], quick: bool, folder: Path, command: str) -> int:
    """Run a study's missing runs and write its report; returns how many runs failed.

    A run is known by its config's hash: one that is done is never repeated, one that was interrupted goes on, one that
    failed or whose directory is damaged is made again. Several processes may run the same study: they share its runs.
    """
    study = load(name)
    blocks = narrowed(study, overrides, quick)
    folder.mkdir(parents=True, exist_ok=True)
    known = by_hash(folder)
    planned: dict[str, list[tuple[Job, Path]]] = {}
    failed = finished = 0
    for block, keys in blocks.items():
        finished_encoders = {b: [(j, r) for j, r in done if status(r) == "done"] for b, done in planned.items()}
        todo = list(jobs(block, keys, finished_encoders))
        planned[block] = []
        for i, job in enumerate(todo, 1):
            run = known.setdefault(job.hash, folder / f"{job.block}-{job.hash}")
            planned[block].append((job, run))
            if sound(run, job.hash):
                continue
            print(f"[{block} {i}/{len(todo)}] {job}", flush=True)
            outcome = run_job(job, run)
            print(f"    {outcome}", flush=True)
            finished += outcome.startswith("done")
            failed += outcome.startswith("failed")
    table = table_of(planned)
    print(f"{name}: {finished} runs trained, {(table['status'] == 'done').sum()} of {len(table)} done")
    where = write_report(study, Runs(table, folder), overrides, quick, command)
    print(f"report: {quote_path(where / 'report.html')}")
    return failed


# --- one run ---------------------------------------------------------------------------------------------------------


def by_hash(folder: Path) -> dict[str, Path]:
    """The runs in a study's folder by their config's hash, whatever their directories are called."""
    found: dict[str, Path] = {}
    for result in sorted(folder.glob(f"*/{runs.RESULT}")):
        with contextlib.suppress(InputError):
            found.setdefault(str(runs.read_result(result.parent).get("config_hash")), result.parent)
    return found


def status(run: Path) -> str:
    try:
        return str(runs.read_result(run)["status"])
    except InputError:
        return "damaged" if (run / runs.RESULT).exists() else "missing"


def sound(run: Path, expected: str) -> bool:
    """Whether a run is done and its directory whole; what is wrong with one that claims to be done is printed."""
    if status(run) != "done":
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
    with locked(run) as free:
        if not free:
            return "left to another process, which is at it"
        resume = status(run) in ("interrupted", "running") and (run / runs.LAST).is_file()
        if not resume and run.exists():
            shutil.rmtree(run)
        run.mkdir(exist_ok=True)
        began = time.monotonic()
        command = f"python -m dlcourse.train {job}"
        with logged(run / "train.log"):
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
def locked(run: Path) -> Iterator[bool]:
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
def logged(path: Path) -> Iterator[None]:
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


# --- the report ------------------------------------------------------------------------------------------------------


def table_of(planned: Mapping[str, list[tuple[Job, Path]]]) -> DataFrame:
    """A row a job: its config, and where its run is done what that gave; `encoder.KEY` is its encoder's."""
    rows: dict[str, dict[str, Any]] = {}
    for job, run in (entry for block in planned.values() for entry in block):
        row = columns(job) | {"status": status(run)}
        if row["status"] == "done":
            row |= run_record(run)
        if job.encoder:
            row |= {f"encoder.{key}": value for key, value in rows[job.encoder].items()}
        rows[f"{job.block} {job.hash}"] = rows[job.hash] = row
    return DataFrame([rows[f"{job.block} {job.hash}"] for block in planned.values() for job, _ in block])


def measured(module: ModuleType, study: Study, known: Runs) -> Runs:
    """The table with the columns that the course's `<study>_measure` adds.

    They are kept until the runs or the package's code change, but not where something was not there to be measured:
    the frame then has `attrs["incomplete"]`.
    """
    measure = getattr(module, f"{study.name.split('/')[1]}_measure", None)
    done = known.done()
    if measure is None or not len(done):
        return known
    path = known.folder / MEASURED
    code = b"".join(file.read_bytes() for file in sorted(Path(__file__).parents[1].rglob("*.py")))
    stamp = hashlib.sha256(code + "".join(sorted(done["hash"])).encode()).hexdigest()
    if path.is_file() and path.read_text(encoding="utf-8").startswith(f"# {stamp}\n"):
        extra = pd.read_csv(path, comment="#", dtype={"hash": str})
    else:
        extra = measure(study, known)
        if not extra.attrs.get("incomplete"):
            runs.write_text(path, f"# {stamp}\n" + extra.to_csv(index=False))
    return Runs(known.table.merge(extra, on="hash", how="left"), known.folder)


def write_report(study: Study, known: Runs, overrides: Mapping[str, Any], quick: bool, command: str) -> Path:
    module = importlib.import_module(f"dlcourse.studies.{study.course}")
    known = measured(module, study, known)
    done = known.done()
    banner = collect_warnings(known.table, overrides, quick)
    swept = {key for block in study.blocks.values() for key in block}
    narrowing = [key for key in overrides if key in swept]
    changed = [key for key in overrides if key not in swept and not key.startswith(COMFORT)]
    verdicts = []
    for claim in [] if quick else study.claims:
        verdict = judge(module, claim, known.table)
        if changed and verdict.kind not in ("not run", "answered"):
            verdict = not_comparable(f"{verdict.evidence} (run with another {or_list(changed)})")
        verdicts.append((claim, verdict))
    items = getattr(module, study.name.split("/")[1])(study, known) if len(done) else []
    where = known.folder / REPORT
    page.write(
        page.Page(
            title=study.title,
            source=study.source,
            lead=study.text,
            banner=banner,
            deviations=study.deviations,
            items=items,
            verdicts=[page.Finding(c.text, c.where, v, c.check) for c, v in verdicts],
            facts=list(describe_runs(known.table, command).items()),
            runs=known.table,
            record={
                "study": study.name,
                "budget": "quick" if quick else "full",
                "runs": len(known.table),
                "done": len(done),
                "overrides": narrowing + changed,
            },
        ),
        where,
    )
    return where


def judge(module: ModuleType, claim: Claim, table: DataFrame) -> Verdict:
    """The verdict on a claim; figures of data or weights that aren't the published ones decide nothing.

    That is asked of the runs of the block that a claim names, as `of: {block: net}` or `runs: net`, else of all.
    """
    done = table["status"] == "done"
    if not done.any():
        return no_verdict("none of the runs is done")
    verdict: Verdict = getattr(module, claim.check)(table, **claim.arguments)
    of = claim.arguments.get("of")
    block = claim.arguments.get("runs") or (of.get("block") if isinstance(of, dict) else None)
    asked = done & (table["block"] == block) if block else done
    comparable = table.loc[asked, "comparable"].astype(bool).all()
    if comparable or verdict.kind in ("not run", "answered", "not comparable"):
        return verdict
    return not_comparable(verdict.evidence)
