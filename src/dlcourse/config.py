"""Configs: where conf/ is, what a config may compute, and a composed one as plain, complete values."""

import hashlib
import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dlcourse.data.listing import class_folders
from dlcourse.errors import InputError, first_line

OPTIONAL = ("schedule", "stopping", "logger")  # groups that may be empty


def conf_dir() -> Path:
    """The folder of configs: inside an installed package, or conf/ at the top of a checkout."""
    installed = Path(__file__).parent / "conf"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "conf"


def groups() -> dict[str, list[str]]:
    """The folders of conf/ and the choices in each."""
    choices: dict[str, list[str]] = {}
    for path in sorted(conf_dir().glob("*/**/*.yaml")):
        if path.is_relative_to(conf_dir() / "study"):
            continue  # those are not Hydra's: dlcourse.studies reads them
        group, *name = path.relative_to(conf_dir()).with_suffix("").parts
        choices.setdefault(group, []).append("/".join(name))
    return choices


# --- what a config may compute -------------------------------------------------------------------------------------


def _image_shape(channels: int, *sides: int | None) -> list[int]:
    side = [side for side in sides if side is not None][-1]
    return [channels, side, side]


def _folder_classes(root: str | None) -> int:
    """How many classes a folder of images has: its sub-folders, or those of its train/."""
    if root is None:
        raise InputError("data.root is missing: the folder that holds <class>/*.jpg or {train,val,test}/<class>/*.jpg")
    top = Path(root).expanduser()
    if not top.is_dir():
        raise InputError(f"data.root={root}: there is no such folder")
    return len(class_folders(top)[0])


def _encoded(key: str, *, _root_: DictConfig) -> Any:
    """What the data that data=codes encodes have for a key."""
    from dlcourse.codes import encoded_data  # here, because it reads the configs of runs

    return encoded_data(_root_.data)[key]


def _code_shape(encoder: str) -> list[int]:
    from dlcourse.codes import code_shape

    return code_shape(encoder)


OmegaConf.register_new_resolver("image_shape", _image_shape, replace=True)
OmegaConf.register_new_resolver("encoded", _encoded, replace=True)
OmegaConf.register_new_resolver("code_shape", _code_shape, replace=True)
OmegaConf.register_new_resolver(
    "class_count", lambda kept, n: len(kept) if OmegaConf.is_list(kept) and kept else n, replace=True
)
OmegaConf.register_new_resolver("folder_classes", _folder_classes, replace=True)
OmegaConf.register_new_resolver(
    "outputs", lambda classes, loss: 1 if loss == "binary_cross_entropy" else classes, replace=True
)


# --- a composed config -----------------------------------------------------------------------------------------------


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
        raise cause or InputError(f"{error.full_key or 'the config'}: {first_line(error)}") from None
    assert isinstance(plain, dict)
    given = {str(key): value for key, value in plain.items() if key != "hydra"}
    for group, key, words in (("data", "root", ()), ("model", "weights", ("imagenet", "none"))):
        path = given[group].get(key) if isinstance(given.get(group), dict) else None
        if isinstance(path, str) and path not in words:  # a run is found again from any directory
            given[group][key] = str(Path(path).expanduser().absolute())
    if isinstance(given.get("data"), dict) and "encoder" in given["data"]:
        from dlcourse.codes import encoder_run

        run = encoder_run(given["data"]["encoder"])  # of a sweep's directory its best run
        given["data"]["encoder"] = str(run.expanduser().absolute()) if run else given["data"]["encoder"]
    return given | {key: given.get(key) or {} for key in OPTIONAL}


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
              "data.memory_limit", "data.device", "data.epochs", "data.of", "model.cache_features")  # fmt: skip


def config_hash(plain: dict[str, Any]) -> str:
    """16 hex digits that are equal for two runs exactly when they compute the same thing of the same data."""
    what = {
        key: value
        for key, value in flat(plain).items()
        if value is not None and not any(key == skip or key.startswith(skip + ".") for skip in NOT_HASHED)
    }  # without what is null: a new key that is off by default leaves finished runs what they are
    if Path(what.get("data.encoder", "")).joinpath("config.yaml").is_file():  # what a run computes, not where it is
        from dlcourse.runs import read_config

        what["data.encoder"] = config_hash(read_config(Path(what["data.encoder"])))
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]
