"""A study as conf/study/<course>/<name>.yaml has it, and the jobs that follow from it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from pandas import DataFrame

from dlcourse.config import search
from dlcourse.config.identity import config_hash, flatten
from dlcourse.config.schema import check
from dlcourse.config.search import study_names as study_names
from dlcourse.core.errors import InputError, did_you_mean, first_line, or_list
from dlcourse.launch.compose import compose_config, resolve
from dlcourse.launch.overrides import check_overrides, override_text
from dlcourse.studies.measures import MEASURES
from dlcourse.studies.verdict import BASES

QUIET = {"trainer.figures": False, "trainer.images": "[]"}  # a report draws what its runs need
KEYS = ("title", "source", "text", "deviations", "basis", "names", "runs", "quick", "measures", "published", "report",
        "claims")  # fmt: skip
CLAIM_KEYS = ("claim", "question", "where", "check", "with", "runs", "needs")


@dataclass(frozen=True)
class Claim:
    """A statement of a report (or with `question` ours, where a report leaves something open).

    check: the name of the function that decides, of the study's own module, of `studies.checks` or of a plugin;
    `arguments` are passed to it. runs: {column: value}, those that it is asked about. needs: {column: sentence}, what
    is said where that column isn't measured.
    """

    text: str
    where: str
    check: str
    arguments: dict[str, Any] = field(default_factory=dict)
    question: bool = False
    runs: dict[str, Any] = field(default_factory=dict)
    needs: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """A study's YAML.

    basis: what all verdicts stand on besides what the runs say of themselves, of `verdict.BASES`. blocks: name ->
    overrides of the command line; a list is swept over. quick: the overrides of budget=quick. names: what values (of
    blocks, say) are called. measures: column -> {function of `studies.measures`: its arguments}. report: the page's
    items, [{function: arguments}, ...]; none: a standard page.
    """

    name: str
    title: str
    blocks: dict[str, dict[str, Any]]
    source: str = ""
    text: str = ""
    deviations: list[str] = field(default_factory=list)
    basis: list[str] = field(default_factory=list)
    names: dict[Any, str] = field(default_factory=dict)
    quick: dict[str, Any] = field(default_factory=dict)
    measures: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    published: dict[str, DataFrame] = field(default_factory=dict)
    report: list[dict[str, dict[str, Any]]] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)

    @property
    def course(self) -> str:
        return self.name.split("/")[0]

    def label(self, value: Any) -> str:
        """What a value is called on the page."""
        return self.names.get(value, f"{value:g}" if isinstance(value, float) else str(value))


@dataclass(frozen=True)
class Job:
    """One run of a study. encoder: the run whose codes it is trained on, where it is of a second stage."""

    block: str
    overrides: dict[str, Any]
    plain: dict[str, Any]
    hash: str
    encoder: str | None = None

    def __str__(self) -> str:
        shown = {k: v for k, v in self.overrides.items() if k not in QUIET and k != "data.encoder"}
        return " ".join(f"{key}={override_text(value)}" for key, value in shown.items())


Planned = tuple[Job, Path]  # a run with its directory


def load_study(name: str) -> Study:
    """The study `course/name`. Raises InputError for one that does not exist, and for one that is not written right."""
    if name not in study_names():
        known = study_names()
        raise InputError(f"there is no study={name}{did_you_mean(name, known)} (there is {or_list(known, 40)})")
    path = search.find_config("study", name)
    try:
        saved = yaml.safe_load(path.read_text(encoding="utf-8"))
        return parse_study(name, saved)
    except (yaml.YAMLError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: {first_line(error)}") from error


def parse_study(name: str, saved: dict[str, Any]) -> Study:
    """A study of what its YAML holds. Raises ValueError for what is missing, and for a key that there is not."""
    refuse_unknown(saved, KEYS, ("title", "runs"), "a study")
    claims = []
    for entry in saved.get("claims") or []:
        refuse_unknown(entry, CLAIM_KEYS, ("check",), "a claim")
        if ("claim" in entry) == ("question" in entry):
            raise ValueError("each entry of `claims` is either a `claim` or a `question`")
        text = entry.get("claim") or entry["question"]
        claims.append(
            Claim(
                text,
                entry.get("where", ""),
                entry["check"],
                entry.get("with") or {},
                "question" in entry,
                entry.get("runs") or {},
                entry.get("needs") or {},
            )
        )
    published = {key: DataFrame(rows) for key, rows in (saved.get("published") or {}).items()}
    report = [{item: {}} if isinstance(item, str) else item for item in saved.get("report") or []]
    for column, measure in (saved.get("measures") or {}).items():
        refuse_unknown(measure, tuple(MEASURES), (), f"the measure {column}")
    if unknown := set(saved.get("basis") or []) - set(BASES):
        raise ValueError(f"basis is a list of {or_list(list(BASES))}, not {or_list(sorted(unknown))}")
    simple = ("source", "text", "deviations", "basis", "names", "quick", "measures")
    plain = {key: saved[key] for key in simple if saved.get(key)}
    return Study(name, saved["title"], saved["runs"], published=published, report=report, claims=claims, **plain)


def refuse_unknown(entry: Any, possible: Sequence[str], needed: Sequence[str], what: str) -> None:
    if not isinstance(entry, dict):
        raise ValueError(f"{what} is a group of keys, {or_list(list(possible))}")
    for key in entry:
        if key not in possible:
            raise ValueError(f"{what} has no key {key}{did_you_mean(str(key), possible)}")
    for key in needed:
        if key not in entry:
            raise ValueError(f"{what} needs the key {key}")


def narrow(study: Study, overrides: Mapping[str, Any], quick: bool) -> dict[str, dict[str, Any]]:
    """The study's blocks with overrides put in: a key that is swept takes only the value that is given for it."""
    extra = QUIET | (study.quick if quick else {}) | dict(overrides)
    return {name: {**block, **extra} for name, block in study.blocks.items()}


def expand_block(block: str, keys: Mapping[str, Any], encoders: Mapping[str, list[tuple[Job, Path]]]) -> Iterator[Job]:
    """Every run of a block; a value `@other` is each finished run of another block, whose seed is taken over."""
    stages: list[tuple[Job | None, Path | None]] = [(None, None)]
    encoder = keys.get("data.encoder")
    if isinstance(encoder, str) and encoder.startswith("@"):
        stages = list(encoders[encoder[1:]])
    lists = {key: value if isinstance(value, list) else [value] for key, value in keys.items()}
    for first, folder in stages:
        for values in product(*lists.values()):
            overrides = dict(zip(lists, values, strict=True))
            if first is not None:
                overrides = {"seed": first.plain["seed"], **overrides, "data.encoder": str(folder)}
            yield compose_job(block, overrides, first)


def compose_job(block: str, overrides: dict[str, Any], encoder: Job | None) -> Job:
    """One run with its complete config. Raises InputError where that can't work."""
    arguments = override_words(overrides)
    try:
        plain = resolve(compose_config(arguments))
        check(plain)
    except InputError:
        raise
    except Exception as error:  # Hydra's and OmegaConf's
        check_overrides(arguments, sweep=False)  # says it in our words, where it finds what is wrong
        raise InputError(f"block {block}: {first_line(error.__cause__ or error)}") from error
    return Job(block, overrides, plain, config_hash(plain), encoder.hash if encoder else None)


def override_words(overrides: Mapping[str, Any]) -> list[str]:
    """Overrides as they are typed, those that choose of a group first."""
    choices = search.groups()
    return [f"{key}={_typed(overrides[key])}" for key in sorted(overrides, key=lambda key: key not in choices)]


def _typed(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = override_text(value)
    return f'"{text}"' if isinstance(value, str) and set(text) & set(":/ =") and not text.startswith("[") else text


def job_columns(job: Job) -> dict[str, Any]:
    """A job as a row of a table: its flat config, lists as texts, and the choices that its block names."""
    config = {k: ",".join(map(str, v)) if isinstance(v, list) else v for k, v in flatten(job.plain).items()}
    choices = {key: value for key, value in job.overrides.items() if "." not in key}
    return config | choices | {"block": job.block, "hash": job.hash, "encoder": job.encoder}
