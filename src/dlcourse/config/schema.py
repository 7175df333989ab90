"""What each value of a config may be."""

import math
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
SHAPE: Rule = (
    (lambda v: isinstance(v, list) and v != [] and all(_whole(1)[0](n) for n in v)),
    "a list of whole numbers from 1 up",
)
PER_CLASS: Rule = (
    (lambda v: isinstance(v, list) and len(v) == 3 and all(_whole(1)[0](n) for n in v)),
    "a list of three whole numbers: train, val and test examples of each class",
)
SPLITS: Rule = (
    (lambda v: isinstance(v, list) and "test" in v and len(set(v)) == len(v) and set(v) <= {"train", "val", "test"}),
    "a list of splits with test among them, as [train, val, test]",
)

MODULES: Rule = (
    (lambda v: isinstance(v, list) and all(isinstance(name, str) for name in v)),
    "a list of modules, as [mynet]",
)
SOME_BATCHES = _or(NULL, _whole(1), _between(1e-9, 1.0000001, "a share above 0"))

RULES: dict[str, Rule] = {
    "seed": ((lambda v: _whole(0)[0](v) and v < 2**32), "a whole number from 0 to 4294967295"),
    "name": ((lambda v: isinstance(v, str) and v != "" and "/" not in v and "=" not in v), "a text without / and ="),
    "plugins": MODULES,
    "data.name": TEXT,
    "data.reader": TEXT,
    "data.root": _or(NULL, TEXT),
    "data.shape": SHAPE,
    "data.classes": _whole(1),
    "data.verify": BOOL,
    "data.drop_last": BOOL,
    "data.source": _one_of("auto", "real", "stand-in"),
    "data.size": _or(NULL, _whole(1)),
    "data.channels": _one_of(1, 3),
    "data.function": _one_of("linear", "max", "log_sum_exp"),
    "data.draw": _whole(0),
    "data.noise": NOT_NEGATIVE,
    "data.epochs": _whole(1),
    "data.batch_size": _or(_whole(1), _one_of("all")),
    "data.eval_batch_size": _whole(1),
    "data.shuffle": _one_of(True, False, "once", "replacement"),
    "data.steps_per_epoch": _or(NULL, _whole(1)),
    "data.first_epoch_steps": _or(NULL, _whole(1)),
    "data.first": _or(NULL, _whole(1)),
    "data.classes_kept": _or(NULL, CLASSES),
    "data.per_class": _or(NULL, PER_CLASS),
    "data.val": _or(NULL, _one_of("test"), _whole(1), _between(1e-9, 1, "a share above 0 and below 1")),
    "data.limit": _or(NULL, _whole(1)),
    "data.limit_eval": _or(NULL, _whole(1)),
    "data.encoder": TEXT,
    "data.of": _or(NULL, TEXT),
    "data.normalize": _one_of("unit", "symmetric", "imagenet", "standardize", "none"),
    "data.resize": _or(NULL, _whole(1)),
    "data.augment.flip": BOOL,
    "data.augment.shift": SHARE,
    "data.augment.scale": SHARE,
    "data.augment.crop": SHARE,
    "data.augment.cutout": SHARE,
    "data.augment.brightness": SHARE,
    "data.augment.contrast": SHARE,
    "data.augment.saturation": SHARE,
    "data.augment.rotate": _between(0, 180.1, "degrees from 0 to 180"),
    "data.augment.shear": _between(0, 60.1, "degrees from 0 to 60"),
    "data.augment.thickness": _or(NULL, _between(0, 16.1, "a number of pixels from 0 to 16")),
    "data.device": _one_of("auto", "cpu"),
    "data.workers": _or(NULL, _whole(0)),
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
    "model.name": TEXT,
    "model.monitor": TEXT,
    "model.reduction": _one_of("mean", "sum"),
    "model.noise_clip": BOOL,
    "model.loss": _one_of("cross_entropy", "binary_cross_entropy"),
    "model.noise": _one_of("none", "gaussian", "masking"),
    "model.noise_probability": _between(0, 1.0000001, "a number from 0 to 1"),
    "model.noise_std": POSITIVE,
    "model.train": _one_of("head", "all", "head_then_all"),
    "model.head_epochs": _whole(1),
    "model.backbone_lr": POSITIVE,
    "model.cache_features": BOOL,
    "model.weights": TEXT,
    "trainer.max_epochs": _whole(1),
    "trainer.devices": _or(_whole(1), _one_of("auto")),
    "trainer.num_nodes": _whole(1),
    "trainer.accelerator": _one_of("auto", "cpu", "gpu", "mps"),
    "trainer.matmul_precision": _one_of("highest", "high", "medium"),
    "trainer.precision": _one_of("32-true", "16-mixed", "bf16-mixed", "bf16-true", "64-true"),
    "trainer.strategy": TEXT,
    "trainer.gradient_clip_val": _or(NULL, POSITIVE),
    "trainer.limit_train_batches": SOME_BATCHES,
    "trainer.limit_val_batches": SOME_BATCHES,
    "trainer.limit_test_batches": SOME_BATCHES,
    "trainer.check_val_every_n_epoch": _whole(1),
    "trainer.selection": _one_of("best", "last"),
    "trainer.evaluate": SPLITS,
    "trainer.log_steps": BOOL,
    "trainer.progress": BOOL,
    "trainer.figures": BOOL,
}
TOP = ("seed", "name", "plugins", "data", "model", "optimizer", "schedule", "stopping", "trainer", "logger")
REQUIRED = (
    "seed", "name", "data.name", "data.shape", "data.classes", "data.batch_size", "model.name", "model._target_",
    "model.monitor", "model.net._target_", "optimizer._target_", "optimizer.lr",
    *(key for key in RULES if key.startswith("trainer.")),
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
        if plain[key] and f"{key}._target_" not in values:
            raise InputError(f"{key}._target_ is missing: {key}={or_list(groups()[key])} gives it")
    for key in REQUIRED:
        if key not in values:
            raise InputError(f"{key} is missing: give it as {key}=VALUE")
    for key, value in values.items():
        rule = RULES.get(key)
        if rule and not rule[0](value):
            raise InputError(f"{key} must be {rule[1]}, got {_shown(value)}")


def _shown(value: Any) -> str:
    """A value for a sentence: texts in quotes, the rest as YAML has it."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
