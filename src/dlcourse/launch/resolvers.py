"""What a config may compute: `${image_shape:...}`, `${folder_classes:...}`, `${encoded:...}`, `${code_shape:...}`;
and `${job_directory:}`, what a job of a sweep is called.

What `data=codes` means is read off the encoder's config alone: which data are encoded, how many numbers a code has.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dlcourse import runs
from dlcourse.config.search import conf_dir, find_config, groups
from dlcourse.core.errors import InputError, did_you_mean, or_list
from dlcourse.data.archives import open_root
from dlcourse.data.listing import class_folders
from dlcourse.data.tables import class_names, is_table, read_table
from dlcourse.runs import find_encoder_run
from dlcourse.runs.differences import directory_name, split_words

FEATURES = {
    "mobilenet_v2": 1280,
    "squeezenet1_1": 512,
    "resnet18": 512,
}  # numbers that the last layer sees, of the course's networks


def encoded_data(codes: DictConfig) -> DictConfig:
    """The data that are encoded: those of `data.of`; without it those of the encoder's run, else MNIST.

    codes: the config's `data`. Raises InputError for data that data=codes has no keys for.
    """
    given = OmegaConf.to_container(codes, resolve=False)
    assert isinstance(given, dict)
    of, run = codes.of, find_encoder_run(codes.encoder)
    if of is None and run is not None:
        chosen = run_config(run)["data"]
    else:
        of = of or "mnist"
        choices = [choice for choice in groups()["data"] if choice != "codes"]
        if of not in choices:
            raise InputError(f"data.of={of}{did_you_mean(of, choices)}: it can be {or_list(choices, 40)}")
        chosen = read_config_file(find_config("data", of))
    data = OmegaConf.merge(read_config_file(conf_dir() / "train.yaml")["data"], {"channels": 3}, chosen)
    assert isinstance(data, DictConfig)
    foreign = [str(key) for key in data if key not in given]
    if foreign:
        raise InputError(f"data=codes is not for {data['name']}: it has no key {or_list(foreign)}")
    if given["root"] != "${encoded:root}":  # a folder counts its classes there
        data["root"] = given["root"]
    return OmegaConf.create({"data": data})["data"]


@lru_cache
def read_config_file(path: Path) -> DictConfig:
    """A file of configs; read once, since each key of a config asks for it."""
    found = OmegaConf.load(path)
    assert isinstance(found, DictConfig)
    return found


def run_config(run: Path) -> dict[str, Any]:
    """The config of a run, read again only when its file has changed."""
    file = run / runs.CONFIG
    return _run_config(run, file.stat().st_mtime_ns if file.is_file() else 0)


@lru_cache
def _run_config(run: Path, changed: int) -> dict[str, Any]:
    return runs.read_config(run)


def code_shape(encoder: str) -> list[int]:
    """[D], the shape of the codes that an encoder gives. Raises InputError for one that gives none."""
    word, _, what = encoder.partition(":")
    if word == "pca":
        if not what.isdigit() or int(what) < 1:
            raise InputError(f"data.encoder={encoder}: pca:K has a whole number K from 1 up, as in pca:64")
        return [int(what)]
    if word == "imagenet":
        return [_feature_size(what, encoder)]
    run = find_encoder_run(encoder)
    assert run is not None
    model = run_config(run)["model"]
    net = model["net"]
    widths = net.get("widths") or net.get("hidden")
    if widths:
        return [int(widths[-1])]
    if "name" in net:
        return [_feature_size(net["name"], encoder)]
    raise InputError(
        f"data.encoder={encoder}: model={model['name']} has no code, as an autoencoder, a pretrained network or "
        "one with hidden layers has"
    )


def _feature_size(network: str, encoder: str) -> int:
    """How many numbers the last layer of a pretrained network sees; asked of the network where it isn't known."""
    if network in FEATURES:
        return FEATURES[network]
    from dlcourse.nets.pretrained import feature_size  # here, because importing torch takes seconds

    try:
        return feature_size(network)
    except ValueError as error:
        raise InputError(f"data.encoder={encoder}: {str(error).removeprefix('name: ')}") from None


def _image_shape(channels: int, *sides: int | None) -> list[int]:
    side = [side for side in sides if side is not None][-1]
    return [channels, side, side]


def _folder_classes(root: str | None) -> int:
    """How many classes a folder of images has: its sub-folders, or those of its train/; or a table's labels."""
    if root is None:
        raise InputError("data.root is missing: the folder that holds <class>/*.jpg or {train,val,test}/<class>/*.jpg")
    top = open_root(Path(root).expanduser())
    if is_table(top):
        return len(class_names(read_table(top)))
    if not top.is_dir():
        raise InputError(f"data.root={root}: there is no such folder, table (.csv) or archive (.zip, .tar)")
    return len(class_folders(top)[0])


def _short_name(name: str | None) -> str:
    """Of a data set that is named by its owner or a path, too, its own name."""
    if name is None:
        raise InputError("data.name is missing: OWNER/NAME of a data set on the Hugging Face hub, or the folder of one")
    return Path(str(name)).name


def _hf_classes(name: str, subset: str | None, label_column: str | None) -> int:
    from dlcourse.data.readers.hf import count_classes  # here, because what it needs takes seconds to import

    return count_classes(name, subset, label_column)


def _encoded(key: str, *, _root_: DictConfig) -> Any:
    """What the data that data=codes encodes have for a key."""
    return encoded_data(_root_.data)[key]


def _job_directory(*, _root_: DictConfig) -> str:
    """`3_model=cnn,seed=1`: a job's number and what differs; `3` where that is there, from an earlier version."""
    hydra = _root_.hydra
    number = int(hydra.job.num)
    if (Path(hydra.sweep.dir) / str(number)).is_dir():
        return str(number)
    excluded = set(hydra.job.config.override_dirname.exclude_keys)
    values = split_words(hydra.overrides.task)
    return directory_name(number, {key: value for key, value in values.items() if key not in excluded})


OmegaConf.register_new_resolver("job_directory", _job_directory, replace=True)
OmegaConf.register_new_resolver("image_shape", _image_shape, replace=True)
OmegaConf.register_new_resolver("encoded", _encoded, replace=True)
OmegaConf.register_new_resolver("code_shape", code_shape, replace=True)
OmegaConf.register_new_resolver(
    "class_count", lambda kept, n: len(kept) if OmegaConf.is_list(kept) and kept else n, replace=True
)
OmegaConf.register_new_resolver("folder_classes", _folder_classes, replace=True)
OmegaConf.register_new_resolver("hf_classes", _hf_classes, replace=True)
OmegaConf.register_new_resolver("short_name", _short_name, replace=True)
OmegaConf.register_new_resolver(
    "outputs", lambda classes, loss: 1 if loss == "binary_cross_entropy" else classes, replace=True
)
