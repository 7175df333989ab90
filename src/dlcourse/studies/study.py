"""A study as conf/study/<course>/<name>.yaml has it, and the jobs that follow from it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from pandas import DataFrame

from dlcourse.config.identity import config_hash, flatten
from dlcourse.config.schema import check
from dlcourse.config.search import conf_dir, groups
from dlcourse.core.errors import InputError, did_you_mean, first_line, or_list
from dlcourse.launch.compose import resolve
from dlcourse.launch.overrides import check_overrides, override_text

QUIET = {"trainer.figures": False, "trainer.progress": False}  # a report draws what its runs need


@dataclass(frozen=True)
class Claim:
    """A statement of a report (or with `question` ours, where a report leaves something open).

    check: the name of the function of the course's module that decides, `arguments` are passed to it.
    """

    text: str
    where: str
    check: str
    arguments: dict[str, Any] = field(default_factory=dict)
    question: bool = False


@dataclass(frozen=True)
class Study:
    """blocks: name -> overrides of the command line; a list is swept over. quick: the overrides of budget=quick."""

    name: str
    title: str
    source: str
    text: str
    deviations: list[str]
    blocks: dict[str, dict[str, Any]]
    quick: dict[str, Any]
    published: dict[str, DataFrame]
    claims: list[Claim]

    @property
    def course(self) -> str:
        return self.name.split("/")[0]


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


def names() -> list[str]:
    top = conf_dir() / "study"
    return [path.relative_to(top).with_suffix("").as_posix() for path in sorted(top.glob("*/*.yaml"))]


def load(name: str) -> Study:
    """The study `course/name`. Raises InputError for one that does not exist."""
    if name not in names():
        raise InputError(f"there is no study={name}{did_you_mean(name, names())} (there is {or_list(names(), 40)})")
    saved = yaml.safe_load((conf_dir() / "study" / f"{name}.yaml").read_text(encoding="utf-8"))
    claims = [
        Claim(
            entry.get("claim") or entry["question"],
            entry.get("where", ""),
            entry["check"],
            entry.get("with", {}),
            "question" in entry,
        )
        for entry in saved["claims"]
    ]
    published = {key: DataFrame(rows) for key, rows in (saved.get("published") or {}).items()}
    return Study(
        name, saved["title"], saved["source"], saved["text"], saved["deviations"], saved["runs"], saved["quick"],
        published, claims,
    )  # fmt: skip


def narrowed(study: Study, overrides: Mapping[str, Any], quick: bool) -> dict[str, dict[str, Any]]:
    """The study's blocks with overrides put in: a key that is swept takes only the value that is given for it."""
    extra = QUIET | (study.quick if quick else {}) | dict(overrides)
    return {name: {**block, **extra} for name, block in study.blocks.items()}


def jobs(block: str, keys: Mapping[str, Any], encoders: Mapping[str, list[tuple[Job, Path]]]) -> Iterator[Job]:
    """Every run of a block; a value `@other` is each finished run of another block, whose seed is taken over."""
    stages: list[tuple[Job | None, Path | None]] = [(None, None)]
    encoder = keys.get("data.encoder")
    if isinstance(encoder, str) and encoder.startswith("@"):
        stages = list(encoders[encoder[1:]])
    lists = {key: value if isinstance(value, list) else [value] for key, value in keys.items()}
    for first, folder in stages:
        for values in product(*lists.values()):
            given = dict(zip(lists, values, strict=True))
            if first is not None:
                given = {"seed": first.plain["seed"], **given, "data.encoder": str(folder)}
            yield composed(block, given, first)


def composed(block: str, given: dict[str, Any], encoder: Job | None) -> Job:
    """One run with its complete config. Raises InputError where that can't work."""
    choices = groups()
    arguments = [f"{key}={_typed(value)}" for key, value in given.items() if key in choices]
    arguments += [f"{key}={_typed(value)}" for key, value in given.items() if key not in choices]
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            plain = resolve(compose("train", arguments))
        check(plain)
    except InputError:
        raise
    except Exception as error:  # Hydra's and OmegaConf's
        check_overrides(arguments, sweep=False)  # says it in our words, where it finds what is wrong
        raise InputError(f"block {block}: {first_line(error.__cause__ or error)}") from error
    return Job(block, given, plain, config_hash(plain), encoder.hash if encoder else None)


def _typed(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = override_text(value)
    return f'"{text}"' if isinstance(value, str) and set(text) & set(":/ =") and not text.startswith("[") else text


def columns(job: Job) -> dict[str, Any]:
    """A job as a row of a table: its flat config, lists as texts, and the choices that its block names."""
    chosen = {key: value for key, value in job.overrides.items() if "." not in key}
    return {key: _cell(value) for key, value in flatten(job.plain).items()} | chosen | {
        "block": job.block, "hash": job.hash, "encoder": job.encoder,
    }  # fmt: skip


def _cell(value: Any) -> Any:
    return ",".join(str(v) for v in value) if isinstance(value, list) else value
