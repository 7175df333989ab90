"""Configs: where conf/ is, composing them, and finding a user's mistakes before anything heavy is imported."""

import difflib
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dlcourse.errors import InputError, or_list

SPLIT_FOLDERS = ("train", "val", "valid", "test")


def conf_dir() -> Path:
    """The folder of configs: inside an installed package, or conf/ at the top of a checkout."""
    installed = Path(__file__).parent / "conf"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "conf"


# --- what a config may compute -------------------------------------------------------------------------------------


def _image_shape(channels: int, *sides: int | None) -> list[int]:
    side = [side for side in sides if side is not None][-1]
    return [channels, side, side]


def _folder_classes(root: str | None) -> int:
    """How many classes a folder of images has: its sub-folders, or those of its train/."""
    if root is None:
        raise InputError(
            "data.root is missing: the folder that holds <class>/*.jpg or {train,val,test}/<class>/*.jpg"
        )
    top = Path(root).expanduser()
    if not top.is_dir():
        raise InputError(f"data.root={root}: there is no such folder")
    names = {p.name for p in top.iterdir() if p.is_dir() and not p.name.startswith(".")}
    if "train" in names and names <= set(SPLIT_FOLDERS):
        names = {p.name for p in (top / "train").iterdir() if p.is_dir() and not p.name.startswith(".")}
    if len(names) < 2:
        raise InputError(f"data.root={root}: found {len(names)} class folders, at least 2 are needed")
    return len(names)


OmegaConf.register_new_resolver("image_shape", _image_shape, replace=True)
OmegaConf.register_new_resolver("class_count", lambda kept, n: len(kept) if kept else n, replace=True)
OmegaConf.register_new_resolver("folder_classes", _folder_classes, replace=True)
OmegaConf.register_new_resolver(
    "outputs", lambda classes, loss: 1 if loss == "binary_cross_entropy" else classes, replace=True
)


# --- what a value may be -------------------------------------------------------------------------------------------

Rule = tuple[Callable[[Any], bool], str]


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _whole(low: int) -> Rule:
    return (
        lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= low
    ), f"a whole number from {low} up"


def _between(low: float, high: float, text: str) -> Rule:
    return (lambda v: _number(v) and low <= v < high), text


def _one_of(*options: Any) -> Rule:
    def ok(value: Any) -> bool:
        return any(value is o or (type(value) is type(o) and value == o) for o in options)

    return ok, or_list(
        ["null" if o is None else str(o).lower() if isinstance(o, bool) else o for o in options]
    )


def _or(*rules: Rule) -> Rule:
    return (lambda v: any(test(v) for test, _ in rules)), " or ".join(text for _, text in rules)


NULL: Rule = _one_of(None)
POSITIVE: Rule = ((lambda v: _number(v) and v > 0), "a number above 0")
NOT_NEGATIVE: Rule = ((lambda v: _number(v) and v >= 0), "a number from 0 up")
SHARE = _between(0, 1, "a number from 0 to below 1")
BOOL = _one_of(True, False)
TEXT: Rule = ((lambda v: isinstance(v, str)), "a text")
CLASSES: Rule = (
    (lambda v: isinstance(v, list) and len(set(map(str, v))) == len(v) >= 2),
    "a list of two or more different classes",
)
PER_CLASS: Rule = (
    (lambda v: isinstance(v, list) and len(v) == 3 and all(_whole(1)[0](n) for n in v)),
    "a list of three whole numbers: train, val and test examples of each class",
)

RULES: dict[str, Rule] = {
    "seed": _whole(0),
    "name": (
        (lambda v: isinstance(v, str) and v != "" and "/" not in v and "=" not in v),
        "a text without / and =",
    ),
    "data.root": _or(NULL, TEXT),
    "data.source": _one_of("auto", "real", "stand-in"),
    "data.size": _or(NULL, _whole(1)),
    "data.channels": _one_of(1, 3),
    "data.epochs": _whole(1),
    "data.batch_size": _or(_whole(1), _one_of("all")),
    "data.eval_batch_size": _whole(1),
    "data.shuffle": _one_of(True, False, "once"),
    "data.classes_kept": _or(NULL, CLASSES),
    "data.per_class": _or(NULL, PER_CLASS),
    "data.val": _or(NULL, _one_of("test"), _whole(1), _between(1e-9, 1, "a share above 0 and below 1")),
    "data.limit": _or(NULL, _whole(1)),
    "data.limit_eval": _or(NULL, _whole(1)),
    "data.normalize": _one_of("unit", "symmetric", "imagenet", "standardize", "none"),
    "data.resize": _or(NULL, _whole(1)),
    "data.augment.shift": SHARE,
    "data.augment.scale": SHARE,
    "data.augment.crop": SHARE,
    "data.augment.cutout": SHARE,
    "data.augment.brightness": SHARE,
    "data.augment.contrast": SHARE,
    "data.augment.saturation": SHARE,
    "data.augment.rotate": _between(0, 180.1, "degrees from 0 to 180"),
    "data.augment.shear": _between(0, 60.1, "degrees from 0 to 60"),
    "data.device": _one_of("auto", "cpu"),
    "data.workers": _whole(0),
    "data.memory_limit": POSITIVE,
    "optimizer.lr": POSITIVE,
    "optimizer.momentum": SHARE,
    "optimizer.alpha": SHARE,
    "optimizer.weight_decay": NOT_NEGATIVE,
    "optimizer.eps": POSITIVE,
    "schedule.step_size": _whole(1),
    "schedule.gamma": POSITIVE,
    "schedule.factor": _between(1e-12, 1, "a number above 0 and below 1"),
    "schedule.patience": _whole(0),
    "stopping.patience": _whole(1),
    "stopping.bound": POSITIVE,
    "stopping.min_delta": NOT_NEGATIVE,
    "model.loss": _one_of("cross_entropy", "binary_cross_entropy"),
    "model.noise": _one_of("none", "gaussian", "masking"),
    "model.noise_probability": _between(0, 1.0000001, "a number from 0 to 1"),
    "model.noise_std": POSITIVE,
    "model.train": _one_of("head", "all", "head_then_all"),
    "model.head_epochs": _whole(1),
    "model.backbone_lr": POSITIVE,
    "model.weights": TEXT,
    "trainer.max_epochs": _whole(1),
    "trainer.devices": _or(_whole(1), _one_of("auto")),
    "trainer.num_nodes": _whole(1),
    "trainer.accelerator": _one_of("auto", "cpu", "gpu", "mps"),
    "trainer.matmul_precision": _one_of("highest", "high", "medium"),
    "trainer.precision": _one_of("32-true", "16-mixed", "bf16-mixed", "bf16-true", "64-true"),
    "trainer.gradient_clip_val": _or(NULL, POSITIVE),
}
TOP = ("seed", "name", "data", "model", "optimizer", "schedule", "stopping", "trainer", "logger")


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """The config as plain dicts with everything filled in. Raises InputError for a missing value or a bad reference."""
    try:
        missing = sorted(OmegaConf.missing_keys(cfg))
        if missing:
            raise InputError(f"{missing[0]} is missing: give it as {missing[0]}=VALUE")
        plain = OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, InputError):
            cause = cause.__cause__ or cause.__context__
        raise cause or InputError(f"{error.full_key or 'the config'}: {_first_line(error)}") from None
    assert isinstance(plain, dict)
    return {str(key): plain.get(key) or {} if key in ("schedule", "stopping", "logger") else plain[key]
            for key in plain if key != "hydra"}  # fmt: skip


def check(plain: dict[str, Any]) -> None:
    """Refuse a resolved config that can't work: the first wrong value, in one sentence."""
    for key in plain:
        if key not in TOP:
            raise InputError(f"there is no key {key}{did_you_mean(key, TOP)}")
    for key, value in flat(plain).items():
        rule = RULES.get(key)
        if rule and not rule[0](value):
            raise InputError(f"{key} must be {rule[1]}, got {value!r}")


def flat(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` as `{"a.b": 1}`."""
    out: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, dict):
            out.update(flat(value, f"{prefix}{key}."))
        else:
            out[prefix + str(key)] = value
    return out


# Keys that say where or how comfortably a run runs, not what it computes.
NOT_HASHED = ("name", "logger", "trainer.progress", "trainer.figures", "trainer.accelerator", "data.workers",
              "data.memory_limit", "data.device", "data.epochs")  # fmt: skip


def config_hash(plain: dict[str, Any]) -> str:
    """16 hex digits that are equal for two runs exactly when they compute the same thing."""
    what = {
        key: value
        for key, value in flat(plain).items()
        if not any(key == skip or key.startswith(skip + ".") for skip in NOT_HASHED)
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


# --- what a user typed ---------------------------------------------------------------------------------------------


def groups() -> dict[str, list[str]]:
    """The folders of conf/ and the choices in each."""
    choices: dict[str, list[str]] = {}
    for path in sorted(conf_dir().glob("*/**/*.yaml")):
        group, *name = path.relative_to(conf_dir()).with_suffix("").parts
        choices.setdefault(group, []).append("/".join(name))
    return choices


def check_overrides(arguments: list[str], sweep: bool) -> None:
    """Refuse a command line with a group, a choice, a key or a type of value that does not exist, in one sentence.

    For one run the values are checked too. In a sweep a job with a bad value fails by itself and the others go on.
    """
    overrides = [_parse(argument) for argument in arguments]
    known = groups()
    for override in overrides:
        _check_name(override, known)
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        for choices in _choices(overrides, known):
            base = _compose(choices)
            for override in overrides:
                if override.key_or_group not in known:
                    _check_key(override, base)
        if not sweep:
            check(resolved(_compose(arguments)))


def _parse(argument: str) -> Override:
    try:
        return OverridesParser.create().parse_override(argument)
    except HydraException as error:
        raise InputError(f"{argument!r} can't be read as KEY=VALUE: {_first_line(error)}") from error


def _compose(overrides: list[str]) -> DictConfig:
    try:
        return compose("train", overrides)
    except HydraException as error:
        raise InputError(_first_line(error.__cause__ or error)) from error


def _check_name(override: Override, known: dict[str, list[str]]) -> None:
    group = override.key_or_group
    if group not in known:
        return
    for value in _values(override):
        for choice in value if isinstance(value, list) else [value]:
            if choice is not None and str(choice) not in known[group]:
                raise InputError(
                    f"there is no {group}={choice}{did_you_mean(str(choice), known[group])}"
                    f" (there is {or_list(known[group], 40)})"
                )


def _choices(overrides: list[Override], known: dict[str, list[str]]) -> Iterator[list[str]]:
    """Every combination of the groups' choices on a command line (one, unless it sweeps over a group)."""
    chosen = [
        [f"{o.key_or_group}={'null' if v is None else v}" for v in _values(o)]
        for o in overrides
        if o.key_or_group in known
    ]
    return (list(combination) for combination in product(*chosen))


def _values(override: Override) -> list[Any]:
    if override.is_sweep_override():
        if override.is_choice_sweep() or override.is_range_sweep():
            return [getattr(v, "text", v) for v in override.sweep_iterator()]
        return []
    return [override.value()]


def _check_key(override: Override, base: DictConfig) -> None:
    key = override.key_or_group
    if override.is_add() or override.is_force_add() or override.is_delete() or key.startswith("hydra."):
        return
    missing = object()
    current = (
        OmegaConf.select(base, key, default=missing, throw_on_missing=False)
        if _selectable(base, key)
        else None
    )
    if current is missing:
        keys = list(flat(_unresolved(base)))
        branches = {k.rsplit(".", n)[0] for k in keys for n in range(1, k.count(".") + 1)}
        raise InputError(f"there is no key {key}{did_you_mean(key, [*keys, *branches, *groups()])}")
    if key in RULES or current is None or override.is_sweep_override():
        return
    kind = _kind(OmegaConf.to_container(current) if OmegaConf.is_config(current) else current)
    value = override.value()
    if isinstance(value, str) and value.startswith("${"):
        return
    if kind != _kind(value) and value is not None:
        shown = getattr(value, "text", value)
        raise InputError(f"{key} must be {kind} like {override_text(current)}, got {shown}")


def _selectable(base: DictConfig, key: str) -> bool:
    """Whether `key` can be looked up: one whose value refers to something missing can't, and is checked later."""
    try:
        OmegaConf.select(base, key)
    except OmegaConfBaseException:
        return False
    return True


def _unresolved(cfg: DictConfig) -> dict[str, Any]:
    plain = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(plain, dict)
    return {str(k): v for k, v in plain.items()}


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, list):
        return "a list"
    return "a group of keys" if isinstance(value, dict) else "a text"


def override_text(value: Any) -> str:
    """A value as it is typed on the command line."""
    if OmegaConf.is_config(value):
        value = OmegaConf.to_container(value)
    return json.dumps(value).replace('"', "") if isinstance(value, list | dict | bool) else str(value)


def did_you_mean(name: str, options: Iterable[str]) -> str:
    options = list(dict.fromkeys(options))
    close = difflib.get_close_matches(name, options, n=3, cutoff=0.6)
    if not close:  # optimizer.rate, or lr for optimizer.lr: the same last or first part
        last = name.rsplit(".", 1)[-1]
        close = [o for o in options if o.rsplit(".", 1)[-1] == last][:3]
        if not close and "." in name:
            close = [o for o in options if o.startswith(name.split(".")[0] + ".")][:6]
    return f"; did you mean {or_list(close)}?" if close else ""


def _first_line(error: BaseException) -> str:
    if isinstance(error, MissingConfigException):
        return f"there is no config {error.missing_cfg_file}"
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
