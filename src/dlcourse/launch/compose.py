"""Configs composed by Hydra, as plain, complete values."""

from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dlcourse.config import search
from dlcourse.config.plugins import needed_plugins
from dlcourse.config.schema import OPTIONAL
from dlcourse.core.errors import InputError, first_line
from dlcourse.launch import resolvers  # noqa: F401  it registers them
from dlcourse.runs import find_encoder_run


def compose_config(overrides: list[str]) -> DictConfig:
    """What Hydra makes of a command line: conf/train.yaml with the choices and values that it names."""
    with initialize_config_dir(str(search.conf_dir()), version_base="1.3"):
        return compose("train", [*overrides, *search.hydra_override()])


def is_file_name(text: str) -> bool:
    """Whether a text is a file's rather than a name of something, as imagenet or IMAGENET1K_V2."""
    return any(sign in text for sign in "./~")


def is_file(text: str) -> bool:
    """Whether a text names a file or folder that is there, as data.name may with data=hf."""
    return is_file_name(text) and Path(text).expanduser().exists()


def resolve(cfg: DictConfig) -> dict[str, Any]:
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
        raise cause or InputError(f"{error.full_key or 'the config'}: {first_line(error)}") from None
    assert isinstance(plain, dict)
    given = {str(key): value for key, value in plain.items() if key != "hydra"}
    for group, key, is_path in (("data", "root", bool), ("data", "name", is_file), ("model", "weights", is_file_name)):
        path = given[group].get(key) if isinstance(given.get(group), dict) else None
        if isinstance(path, str) and is_path(path):  # a run is found again from any directory
            given[group][key] = str(Path(path).expanduser().absolute())
    if isinstance(given.get("data"), dict) and "encoder" in given["data"]:
        run = find_encoder_run(given["data"]["encoder"])  # of a sweep's directory its best run
        given["data"]["encoder"] = str(run.expanduser().absolute()) if run else given["data"]["encoder"]
    given["plugins"] = needed_plugins(given)
    return given | {key: given.get(key) or {} for key in OPTIONAL}
