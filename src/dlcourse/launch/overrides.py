"""What a user typed for `dlcourse.train`: mistakes in it are found before anything heavy is imported."""

import json
from collections.abc import Iterator
from itertools import product
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dlcourse.config.identity import flatten
from dlcourse.config.schema import OPTIONAL, RULES, TOP, check
from dlcourse.config.search import groups
from dlcourse.core.errors import InputError, did_you_mean, first_line, or_list
from dlcourse.launch.compose import compose_config, resolve
from dlcourse.launch.jobs import loggers_in_use


def check_overrides(arguments: list[str], sweep: bool, values: bool = True) -> None:
    """Refuse a command line with a group, a choice, a key or a type of value that does not exist, in one sentence.

    For one run the values are checked too. In a sweep a job with a bad value fails by itself and the others go on.
    """
    overrides = [_parse(argument) for argument in arguments]
    known = groups()
    for override, argument in zip(overrides, arguments, strict=True):
        if override.is_sweep_override() and not sweep:
            raise InputError(
                f"{argument} names several values: -m runs them all; one list is [a,b], one text is in quotes"
            )
        _check_name(override, known)
    for choices in _choices(overrides, known):
        base = _compose(choices)
        for override in overrides:
            if override.key_or_group not in known:
                _check_key(override, base)
    if not sweep:
        cfg = _compose(arguments)
        if values:
            plain = resolve(cfg)
            check(plain)
            loggers_in_use(plain)


def sweep_values(arguments: list[str]) -> dict[str, Any]:
    """KEY=VALUE arguments as a dict; several values (`seed=0,1`) are a list, a value that is a list is a text."""
    out: dict[str, Any] = {}
    for override in map(_parse, arguments):
        if override.is_add() or override.is_force_add() or override.is_delete():
            raise InputError(f"{override.input_line}: a study takes KEY=VALUE only")
        values = [override_text(v) if isinstance(v, list | dict) else v for v in _values(override)]
        out[override.key_or_group] = values if override.is_sweep_override() else values[0]
    return out


def named_plugins(arguments: list[str]) -> Any:
    """What a command line gives for `plugins`; None where it doesn't."""
    given = [_parse(a) for a in arguments if a.partition("=")[0] == "plugins"]
    return given[-1].value() if given else None


def _parse(argument: str) -> Override:
    try:
        override = OverridesParser.create().parse_override(argument)
        if override.key_or_group:
            return override
    except HydraException:  # its words are those of a grammar
        pass
    raise InputError(f"{argument!r} can't be read as KEY=VALUE; a text with special signs needs quotes: 'KEY=\"a=b\"'")


def _compose(overrides: list[str]) -> DictConfig:
    try:
        return compose_config(overrides)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise InputError(first_line(error.__cause__ or error)) from error


def _check_name(override: Override, known: dict[str, list[str]]) -> None:
    group = override.key_or_group
    if group not in known:
        return
    if override.is_delete():
        if group in TOP and group not in OPTIONAL:
            raise InputError(f"~{group}: a run needs {group}={or_list(known[group], 40)}")
        return
    for choice in _values(override):
        if choice is None and group in OPTIONAL:
            raise InputError(f"there is no {group}=null; leave it out with {group}=none")
        if not isinstance(choice, str) or str(choice) not in known[group]:
            raise InputError(
                f"there is no {group}={override_text(choice)}{did_you_mean(str(choice), known[group])}"
                f" (there is {or_list(known[group], 40)})"
            )


def _choices(overrides: list[Override], known: dict[str, list[str]]) -> Iterator[list[str]]:
    """Every combination of the groups' choices on a command line (one, unless it sweeps over a group)."""
    chosen = [
        [f"{o.key_or_group}={value}" for value in _values(o)]
        for o in overrides
        if o.key_or_group in known and not o.is_delete()
    ]
    return (list(combination) for combination in product(*chosen))


def _values(override: Override) -> list[Any]:
    """What an override gives its key: one value, or those that a sweep goes through."""
    if not override.is_sweep_override():
        values = [override.value()]
    elif override.is_choice_sweep() or override.is_range_sweep():
        values = list(override.sweep_iterator())
    else:
        values = []
    return [getattr(value, "text", value) for value in values]


def _check_key(override: Override, base: DictConfig) -> None:
    key = override.key_or_group
    if override.is_add() or override.is_force_add() or key.startswith(("hydra.", "hydra/")):
        return
    missing = object()
    current = OmegaConf.select(base, key, default=missing, throw_on_missing=False) if _selectable(base, key) else None
    if current is missing:
        keys = list(flatten(_unresolved(base)))
        branches = {k.rsplit(".", n)[0] for k in keys for n in range(1, k.count(".") + 1)}
        raise InputError(f"there is no key {key}{did_you_mean(key, [*keys, *branches, *groups()])}")
    if key in RULES or current is None or override.is_delete() or override.is_sweep_override():
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
    return (
        str(value)
        if isinstance(value, str | int | float) and not isinstance(value, bool)
        else json.dumps(value).replace('"', "")
    )
