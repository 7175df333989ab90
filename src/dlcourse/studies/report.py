"""A study's table of runs, the verdicts that follow from it, and its page."""

import hashlib
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
from pandas import DataFrame

from dlcourse import plots, runs
from dlcourse.config import plugins
from dlcourse.config.identity import NOT_HASHED
from dlcourse.core.errors import InputError, did_you_mean, or_list
from dlcourse.reports import page
from dlcourse.reports.render import beside_published, write_page
from dlcourse.reports.tables import collect_warnings, describe_runs, read_history, run_record
from dlcourse.studies import checks, items
from dlcourse.studies.measures import measured
from dlcourse.studies.runs import Runs, run_status
from dlcourse.studies.samples import select
from dlcourse.studies.study import Claim, Job, Study, job_columns
from dlcourse.studies.verdict import OTHER_DATA, REBUILT, SETTINGS, STAND_IN, Verdict, not_run

REPORT, MEASURED = "report", "measured.csv"
UNMEASURED = "it is measured on the networks of runs, which were collected without their checkpoints"
COMFORT = (*NOT_HASHED, "data.root")  # overrides that don't change what a study computes


# --- the functions that a study's YAML names -------------------------------------------------------------------------


def study_module(name: str) -> ModuleType | None:
    """What is a study's own: the module of that name in this package, if there is one.

    It may have `derive(table)`, which adds columns that follow from the config; `measure(study, runs)`, a table with a
    row a run (`hash`) of what has to be measured on its network; checks; and items of the page.
    """
    dotted = f"dlcourse.studies.{name.replace('/', '.')}"
    known = find_spec(dotted.rpartition(".")[0]) is not None and find_spec(dotted) is not None
    return importlib.import_module(dotted) if known else None


def find_function(study: Study, name: str, standard: ModuleType, kind: str) -> Callable[..., Any]:
    """A function by the name that a study's YAML gives it.

    `name`: of the study's own module, else of the standard ones. `other.name`: of another study of the course.
    `module.name`: of a plugin that the user has allowed.
    """
    sibling, _, function = name.rpartition(".")
    if sibling:
        module = study_module(f"{study.course}/{sibling}")
        places = [module] if module else []
        if not places:
            found: Callable[..., Any] = plugins.find_object(name, kind)
            return found
    else:
        places = [module for module in (study_module(study.name), standard) if module]
    for place in places:
        if callable(getattr(place, function, None)):
            return getattr(place, function)
    own = [key for place in places for key, value in vars(place).items() if callable(value) and key.islower()]
    raise InputError(f"study={study.name}: there is no {kind} {name}{did_you_mean(name, own)}")


def check_functions(study: Study) -> None:
    """Raise InputError for a check or an item that there is not, or that does not take what the YAML gives it."""
    for claim in study.claims:
        _check_call(find_function(study, claim.check, checks, "check"), [None], claim.check, claim.arguments)
    for entry in study.report:
        for name, arguments in entry.items():
            item = find_function(study, name, items, "item of the report")
            _check_call(item, [None, None], name, arguments or {})


def _check_call(function: Callable[..., Any], given: list[None], name: str, arguments: Mapping[str, Any]) -> None:
    try:
        inspect.signature(function).bind(*given, **arguments)
    except TypeError as error:
        takes = or_list(list(inspect.signature(function).parameters)[len(given) :], 40)
        raise InputError(f"{name}: {error}; it takes {takes}") from None


# --- the table of runs -----------------------------------------------------------------------------------------------


def table_of_runs(study: Study, planned: Mapping[str, list[tuple[Job, Path]]]) -> DataFrame:
    """A row a job: its config, and where its run is done what that gave; `encoder.KEY` is its encoder's."""
    rows: dict[str, dict[str, Any]] = {}
    for job, run in (entry for block in planned.values() for entry in block):
        row = job_columns(job) | {"status": run_status(run)}
        if row["status"] == "done":
            row |= run_record(run)
            if study.measures:
                row |= measured(study.measures, row, read_history(run))
        if job.encoder:
            row |= {f"encoder.{key}": value for key, value in rows[job.encoder].items()}
        rows[f"{job.block} {job.hash}"] = rows[job.hash] = row
    table = DataFrame([rows[f"{job.block} {job.hash}"] for block in planned.values() for job, _ in block])
    derive = getattr(study_module(study.name), "derive", None)
    return derive(table) if derive else table


def with_measurements(study: Study, known: Runs) -> Runs:
    """The table with the columns that the study's `measure` adds.

    They are kept until the runs or the package's code change, but not where something was not there to be measured:
    the frame then has `attrs["incomplete"]`.
    """
    measure = getattr(study_module(study.name), "measure", None)
    done = known.done()
    if measure is None or not len(done):
        return known
    path = known.folder / MEASURED
    code = b"".join(file.read_bytes() for file in sorted(Path(__file__).parents[1].rglob("*.py")))
    stamp = hashlib.sha256(code + "".join(sorted(done["hash"])).encode()).hexdigest()
    if path.is_file() and path.read_text(encoding="utf-8").startswith(f"# {stamp}\n"):
        extra = pd.read_csv(path, comment="#", dtype={"hash": str})
    else:
        try:
            extra = measure(study, known)
        except runs.MissingCheckpointError:
            whole = Runs(done[[(run / runs.BEST).is_file() for run in done["run"]]], known.folder)
            known.table.attrs["unmeasured"] = True
            if not len(whole.table):
                return known
            extra = measure(study, whole)
            extra.attrs["incomplete"] = True
        if not extra.attrs.get("incomplete"):
            runs.write_text(path, f"# {stamp}\n" + extra.to_csv(index=False))
    table = known.table.merge(extra, on="hash", how="left")
    table.attrs |= known.table.attrs
    return Runs(table, known.folder)


# --- verdicts and the page -------------------------------------------------------------------------------------------


def judge(study: Study, claim: Claim, table: DataFrame) -> Verdict:
    """The verdict on a claim, and what it stands on.

    That is asked of the runs that a claim is about: its `runs`, and the block of its argument `of`; else of all.
    """
    table = select(table, claim.runs)
    done = table["status"] == "done"
    if not done.any():
        return not_run("none of the runs is done")
    for column, sentence in claim.needs.items():
        if column not in table or table[column].isna().all():
            return not_run(sentence)
    try:
        verdict: Verdict = find_function(study, claim.check, checks, "check")(table, **claim.arguments)
    except InputError as error:
        raise InputError(f"the claim {claim.text!r}: {error}") from None
    except LookupError:
        if not table.attrs.get("unmeasured"):
            raise
        return not_run(UNMEASURED)
    of = claim.arguments.get("of")
    asked = select(table[done], {"block": of["block"]} if isinstance(of, dict) and "block" in of else {})
    return verdict if verdict.kind == "not run" else verdict.standing_on(*bases(asked), *study.basis)


def bases(done: DataFrame) -> list[str]:
    """In what runs differ from the report's, of data and weights."""
    if done["comparable"].astype(bool).all():
        return []
    drawn, rebuilt = done["data.source"] != "real", done["weights"] == "rebuilt"
    found = {STAND_IN: drawn, OTHER_DATA: ~done["data.comparable"].astype(bool) & ~drawn, REBUILT: rebuilt}
    return [mark for mark, rows in found.items() if rows.any()]


def page_items(study: Study, known: Runs) -> list[page.Item]:
    """The tables and figures of a study's page, in the order of its YAML; a standard page where it names none."""
    return [item for _, made in items_with_words(study, known) for item in made]


def items_with_words(study: Study, known: Runs) -> list[tuple[set[str], list[page.Item]]]:
    """What each entry of a study's `report` makes, and the words in its arguments: metrics, blocks, values."""
    out: list[tuple[set[str], list[page.Item]]] = []
    for entry in study.report or [{"standard": {}}]:
        for name, arguments in entry.items():
            make = find_function(study, name, items, "item of the report")
            try:
                item = make(study, known, **(arguments or {}))
            except (runs.MissingCheckpointError, LookupError) as error:
                if isinstance(error, LookupError) and not known.table.attrs.get("unmeasured"):
                    raise
                title = (arguments or {}).get("title", name.replace("_", " "))
                why = UNMEASURED if isinstance(error, LookupError) else error
                item = page.Text(f"## {title}\n\nLeft out: {why}.")
            out.append((set(words_in(arguments)), item if isinstance(item, list) else [item]))
    return out


def words_in(arguments: Any) -> Iterator[str]:
    """The texts among the values of a YAML's arguments, however deep."""
    if isinstance(arguments, str):
        yield arguments
    elif isinstance(arguments, Mapping | list):
        for value in arguments.values() if isinstance(arguments, Mapping) else arguments:
            yield from words_in(value)


def shown_in(claim: Claim, made: Sequence[tuple[set[str], list[page.Item]]]) -> page.Item | None:
    """The table or figure that has a metric of a claim, and most else that its check is about; None where none has."""
    about = set(words_in([claim.arguments, claim.runs]))
    metrics = set(words_in([claim.arguments.get("metric"), claim.arguments.get("metrics")]))
    found = [
        (len(about & words), item)
        for words, entry in made
        if metrics & words
        for item in entry[:1]
        if not isinstance(item, page.Text)
    ]
    return max(found, key=lambda pair: pair[0])[1] if found else None


def opening_plot(beside: list[plots.Beside]) -> page.Plot:
    """What a page opens with: published figures beside measured ones."""
    title = "Published figures beside measured ones"
    note = "Bars are the 95 % interval of the mean over seeds; figures without one are of a single run."
    return page.Plot("published", title, plots.beside_published(beside), note)


def write_report(study: Study, known: Runs, overrides: Mapping[str, Any], quick: bool, command: str) -> Path:
    """Write report.html and the rest into the study's folder; returns where."""
    known = with_measurements(study, known)
    done = known.done()
    swept = {key for block in study.blocks.values() for key in block}
    narrowing = [key for key in overrides if key in swept]
    telling = {key: value for key, value in overrides.items() if not key.startswith(COMFORT)}
    changed = [key for key in telling if key not in swept]
    made = items_with_words(study, known) if len(done) else []
    findings = []
    for claim in [] if quick else study.claims:
        verdict = judge(study, claim, known.table)
        if changed and verdict.kind != "not run":
            verdict = replace(verdict, evidence=f"{verdict.evidence} (run with another {or_list(changed)})")
            verdict = verdict.standing_on(SETTINGS)
        findings.append(page.Finding(claim.text, claim.where, verdict, claim.check, shown_in(claim, made)))
    where = known.folder / REPORT
    beside = beside_published(findings)
    write_page(
        page.Page(
            title=study.title,
            source=study.source,
            lead=study.text,
            opening=opening_plot(beside) if beside else None,
            banner=collect_warnings(known.table, telling, quick),
            deviations=study.deviations,
            items=[item for _, entry in made for item in entry],
            verdicts=findings,
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
