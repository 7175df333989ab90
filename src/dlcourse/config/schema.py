"""What each value of a config may be."""

import math
import re
from collections.abc import Callable
from typing import Any

from dlcourse.config.identity import flatten
from dlcourse.config.search import groups
from dlcourse.core.errors import InputError, did_you_mean, or_list

OPTIONAL = ("schedule", "stopping", "logger")  # groups that may be empty

Rule = tuple[Callable[[Any], bool], str]


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _whole(low: int) -> Rule:
    return (lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= low), f"a whole number from {low} up"


def _between(low: float, high: float, text: str) -> Rule:
    return (lambda v: _number(v) and low <= v < high), text


def _one_of(*options: Any) -> Rule:
    def ok(value: Any) -> bool:
        return any(value is o or (type(value) is type(o) and value == o) for o in options)

    return ok, or_list(["null" if o is None else str(o).lower() if isinstance(o, bool) else o for o in options])


def _list_of(each: Rule, text: str, least: int = 1, most: float = math.inf) -> Rule:
    return (lambda v: isinstance(v, list) and least <= len(v) <= most and all(each[0](n) for n in v)), text


def _or(*rules: Rule) -> Rule:
    return (lambda v: any(test(v) for test, _ in rules)), " or ".join(text for _, text in rules)


NULL: Rule = _one_of(None)
BOOL = _one_of(True, False)
WHOLE, NATURAL = _whole(1), _whole(0)
POSITIVE: Rule = ((lambda v: _number(v) and v > 0), "a number above 0")
NOT_NEGATIVE: Rule = ((lambda v: _number(v) and v >= 0), "a number from 0 up")
SHARE = _between(0, 1, "a number from 0 to below 1")
TEXT: Rule = ((lambda v: isinstance(v, str)), "a text")
NAME: Rule = ((lambda v: isinstance(v, str) and v != "" and not set("/=") & set(v)), "a text without / and =")
SEED: Rule = ((lambda v: NATURAL[0](v) and v < 2**32), "a whole number from 0 to 4294967295")
MODULES = _list_of(TEXT, "a list of modules, as [mynet]", least=0)
CLASSES: Rule = (
    (lambda v: isinstance(v, list) and len(set(map(str, v))) == len(v) >= 2),
    "a list of two or more different classes",
)
PER_CLASS = _list_of(WHOLE, "a list of three whole numbers: train, val and test examples of each class", 3, 3)
DURATION: Rule = (
    (lambda v: isinstance(v, str) and re.fullmatch(r"\d+:\d\d:\d\d:\d\d", v) is not None),
    "days:hours:minutes:seconds, as 00:01:30:00",
)
SPLITS: Rule = (
    (lambda v: isinstance(v, list) and "test" in v and len(set(v)) == len(v) and set(v) <= {"train", "val", "test"}),
    "a list of splits with test among them, as [train, val, test]",
)
BATCHES = _or(NULL, WHOLE, _between(1e-9, 1.0000001, "a share above 0"))

RULES: dict[str, Rule] = {
    key: rule
    for keys, rule in {
        "name": NAME,
        "seed": SEED,
        "plugins": MODULES,
        "logger.use": _list_of(TEXT, "a list of the loggers below it, as [tensorboard,csv]", least=0),
        "tune.lr": _one_of(None, True, False),
        "data.name data.reader data.encoder model.name model.monitor model.weights trainer.strategy": TEXT,
        "model._target_ optimizer._target_ schedule._target_ stopping._target_ logger._target_": TEXT,
        "data.root data.of data.subset data.image_column data.label_column": _or(NULL, TEXT),
        "data.verify data.drop_last data.augment.flip model.noise_clip model.cache_features": BOOL,
        "trainer.log_steps trainer.progress trainer.figures optimizer.nesterov": BOOL,
        "data.classes data.epochs data.eval_batch_size schedule.step_size stopping.patience model.head_epochs": WHOLE,
        "schedule.T_max trainer.max_epochs trainer.num_nodes trainer.check_val_every_n_epoch": WHOLE,
        "data.size data.resize data.first data.steps_per_epoch data.first_epoch_steps": _or(NULL, WHOLE),
        "data.limit data.limit_eval": _or(NULL, WHOLE),
        "data.draw schedule.patience": NATURAL,
        "data.workers": _or(NULL, NATURAL),
        "optimizer.lr optimizer.eps schedule.gamma stopping.bound model.noise_std model.backbone_lr": POSITIVE,
        "data.memory_limit": POSITIVE,
        "trainer.gradient_clip_val": _or(NULL, POSITIVE),
        "data.noise optimizer.weight_decay stopping.min_delta": NOT_NEGATIVE,
        "schedule.eta_min schedule.min_lr schedule.threshold": NOT_NEGATIVE,
        "optimizer.momentum optimizer.alpha": SHARE,
        "data.augment.shift data.augment.scale data.augment.crop data.augment.cutout": SHARE,
        "data.augment.brightness data.augment.contrast data.augment.saturation": SHARE,
        "schedule.factor": _between(1e-12, 1, "a number above 0 and below 1"),
        "model.noise_probability": _between(0, 1.0000001, "a number from 0 to 1"),
        "data.augment.rotate": _between(0, 180.1, "degrees from 0 to 180"),
        "data.augment.shear": _between(0, 60.1, "degrees from 0 to 60"),
        "data.augment.thickness": _or(NULL, _between(0, 16.1, "a number of pixels from 0 to 16")),
        "data.shape": _list_of(WHOLE, "a list of whole numbers from 1 up"),
        "data.classes_kept": _or(NULL, CLASSES),
        "data.per_class": _or(NULL, PER_CLASS),
        "data.val": _or(NULL, _one_of("test"), WHOLE, _between(1e-9, 1, "a share above 0 and below 1")),
        "data.channels": _one_of(1, 3),
        "data.skip_bad data.near_duplicates data.drop_duplicates": _one_of(None, True, False),
        "data.balance": _one_of(None, True, "weights"),
        "data.value_range": _or(NULL, _list_of((_number, ""), "two numbers, as [0,1]", 2, 2)),
        "data.source": _one_of("auto", "real", "stand-in"),
        "data.function": _one_of("linear", "max", "log_sum_exp"),
        "data.batch_size": _or(WHOLE, _one_of("all")),
        "data.shuffle": _one_of(True, False, "once", "replacement"),
        "data.normalize": _one_of("unit", "symmetric", "imagenet", "standardize", "none"),
        "data.device": _one_of("auto", "cpu"),
        "model.loss": _one_of("cross_entropy", "binary_cross_entropy"),
        "model.reduction": _one_of("mean", "sum"),
        "model.noise": _one_of("none", "gaussian", "masking"),
        "model.train": _one_of("head", "all", "head_then_all"),
        "trainer.devices": _or(WHOLE, _one_of("auto")),
        "trainer.accelerator": _one_of("auto", "cpu", "gpu", "mps"),
        "trainer.matmul_precision": _one_of("highest", "high", "medium"),
        "trainer.precision": _one_of("32-true", "16-mixed", "bf16-mixed", "bf16-true", "64-true"),
        "trainer.limit_train_batches trainer.limit_val_batches trainer.limit_test_batches": BATCHES,
        "trainer.selection": _one_of("best", "last"),
        "trainer.stepping": _one_of("auto", "lightning"),
        "trainer.on_nan": _one_of(None, "stop"),
        "trainer.max_time": _or(NULL, DURATION),
        "trainer.images": _list_of(WHOLE, "a list of epochs, as [1,10]", least=0),
        "trainer.deterministic": _one_of(None, True, False),
        "trainer.evaluate": SPLITS,
    }.items()
    for key in keys.split()
}
TOP = ("seed", "name", "plugins", "data", "model", "optimizer", "schedule", "stopping", "trainer", "logger", "tune")
SINCE = tuple(f"trainer.{key}" for key in ("stepping", "on_nan", "deterministic", "max_time", "images"))  # newer keys
REQUIRED = (
    "seed", "name", "data.name", "data.shape", "data.classes", "data.batch_size", "model.name", "model._target_",
    "model.monitor", "model.net._target_", "optimizer._target_", "optimizer.lr",
    *(key for key in RULES if key.startswith("trainer.") and key not in SINCE),
)  # fmt: skip


def check(plain: dict[str, Any]) -> None:
    """Refuse a resolved config that can't work: the first wrong value, in one sentence."""
    for key in plain:
        if key not in TOP:
            raise InputError(f"there is no key {key}{did_you_mean(key, TOP)}")
    values = flatten(plain)
    for key in OPTIONAL:
        if not isinstance(plain.get(key), dict):
            raise InputError(f"{key} must be a group of keys, got {_shown(plain.get(key))}")
        if plain[key] and f"{key}._target_" not in values and f"{key}.use" not in values:
            raise InputError(f"{key}._target_ is missing: {key}={or_list(groups()[key])} gives it")
    for key in REQUIRED:
        if key not in values:
            raise InputError(f"{key} is missing: give it as {key}=VALUE")
    for key, value in values.items():
        parent = key.rpartition(".")[0]
        if parent in RULES:
            raise InputError(f"{parent} must be {RULES[parent][1]}, got a group of keys")
        if isinstance(value, int) and abs(value) >= 2**63:
            raise InputError(f"{key}={value} is more than can be counted to")
        rule = RULES.get(key)
        if rule and not rule[0](value):
            raise InputError(f"{key} must be {rule[1]}, got {_shown(value)}")


def _shown(value: Any) -> str:
    """A value for a sentence: texts in quotes, the rest as YAML has it."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
