"""Any image data set of the Hugging Face hub, or one in its forms on disk: parquet files, image folders, save_to_disk.

Files are read, never run: a data set that is made by a script is refused.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dlcourse.core.errors import InputError, did_you_mean, first_line, or_list
from dlcourse.core.network import is_offline
from dlcourse.data.archives import open_root
from dlcourse.data.listing import is_hidden, listing_hash
from dlcourse.data.photos import decode_each, refuse_bad
from dlcourse.data.raw import Options, Reading, Source, Split
from dlcourse.data.readers.folder import Labelled, divide
from dlcourse.data.tables import SPLITS

LABELS = ("label", "labels", "class", "target")  # what a column of labels is usually called
MISSING = "data=hf needs the package datasets: pip install 'dlcourse[hf]'"


def locate(options: Mapping[str, Any]) -> Path:
    """The folder of the data set that `dataset` names: on disk, or the hub's files, downloaded once.

    Raises InputError where there is none, or no network.
    """
    name = str(options["dataset"])
    local = Path(name).expanduser()
    if local.exists():
        return open_root(local)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise InputError(f"data.name={name}: there is no such file or folder")
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError
    except ImportError as error:
        raise InputError(MISSING) from error
    try:
        return Path(snapshot_download(name, repo_type="dataset", ignore_patterns="*.py", local_files_only=is_offline()))
    except RepositoryNotFoundError as error:
        raise InputError(f"data.name={name}: the hub has no such data set, and there is no such folder") from error
    except LocalEntryNotFoundError as error:
        why = "$DLCOURSE_OFFLINE forbids its download" if is_offline() else "the Hugging Face hub can't be reached"
        raise InputError(f"data.name={name} isn't here, and {why}: data.name=DIR reads its files from disk") from error
    except Exception as error:  # the hub's client raises nearly anything
        raise InputError(f"data.name={name} can't be had from the Hugging Face hub: {first_line(error)}") from error


def find(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    inside = (path for path in sorted(root.rglob("*")) if path.is_file())
    return [path for path in inside if not any(map(is_hidden, path.relative_to(root).parts))]


def open_splits(root: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """The data set's splits that there is use for, as train, val and test; a single one is train, whatever its name."""
    try:
        import datasets
    except ImportError as error:
        raise InputError(MISSING) from error
    name = options.get("dataset", root)
    datasets.disable_progress_bars()
    try:
        if (root / "state.json").is_file() or (root / "dataset_dict.json").is_file():
            loaded = datasets.load_from_disk(str(root))
        elif root.is_file():
            loaded = datasets.load_dataset("parquet", data_files=str(root))
        else:
            loaded = datasets.load_dataset(str(root), options.get("subset"))
    except Exception as error:
        hint = "; data.subset=NAME picks one" if "onfig name is missing" in str(error) else ""
        raise InputError(f"data.name={name} can't be read: {first_line(error)}{hint}") from error
    found = {"train": loaded} if isinstance(loaded, datasets.Dataset) else dict(loaded)
    if len(found) == 1:
        return {"train": next(iter(found.values()))}
    if "train" not in found:
        raise InputError(f"data.name={name} has the splits {or_list(list(found))}, and none that is called train")
    return {SPLITS[split]: rows for split, rows in found.items() if split in SPLITS}


def image_column(rows: Any, options: Mapping[str, Any]) -> str:
    """The column with the images: as it is set, or the only one that can be meant."""
    import datasets

    images = [name for name, kind in rows.features.items() if isinstance(kind, datasets.Image)]
    images = images or [name for name, kind in rows.features.items() if is_bytes(kind)]
    return choose("image_column", images, options, list(rows.features))


def label_column(rows: Any, options: Mapping[str, Any]) -> str:
    """The column with the classes: as it is set, the only one of class labels, or one that is called so."""
    labels = [name for name, kind in rows.features.items() if hasattr(kind, "names")]
    labels = labels or [name for name in LABELS if name in rows.features][:1]
    return choose("label_column", labels, options, list(rows.features))


def is_bytes(kind: Any) -> bool:
    """Whether a column holds files as bytes, by themselves or beside their paths."""
    dtype = kind.get("bytes") if isinstance(kind, dict) else kind
    return getattr(dtype, "dtype", "") in ("binary", "large_binary")


def choose(key: str, found: list[str], options: Mapping[str, Any], columns: list[str]) -> str:
    given = options.get(key)
    if given is None and len(found) == 1:
        return found[0]
    if given in columns:
        return str(given)
    has = f"the columns are {or_list(columns, 20) or 'none'}"
    if given is None:
        raise InputError(f"data.{key} is missing, and which is meant isn't clear: {has}")
    raise InputError(f"data.{key}={given}: there is no such column{did_you_mean(given, columns)} ({has})")


def class_names(rows: Any, column: str) -> list[str]:
    """The classes: as the data set names them, or the values that there are, sorted."""
    kind = rows.features[column]
    if names := getattr(kind, "names", None):
        return list(names)
    if getattr(kind, "dtype", "").startswith(("int", "uint", "bool", "string", "large_string")):
        return [str(value) for value in sorted(set(rows[column]) - {None})]
    raise InputError(f"data.label_column={column} has no classes in it, but {kind}")


def count_classes(name: str, subset: str | None, column: str | None) -> int:
    """How many classes a data set has; it is opened, but no image is read."""
    options = {"dataset": name, "subset": subset, "label_column": column}
    train = open_splits(locate(options), options)["train"]
    return len(class_names(train, label_column(train, options)))


def read(root: Path, files: list[Path], options: Options) -> Reading:
    """Its splits as they are; without one for testing 15 % of train are kept for that."""
    splits = open_splits(root, options.extra)
    image, label = (column(splits["train"], options.extra) for column in (image_column, label_column))
    classes = class_names(splits["train"], label)
    contents: dict[Path, bytes] = {}
    parts: dict[str, Labelled] = {}
    for split, rows in splits.items():
        values = rows[label][:]
        if split != "train" and set(values) == {-1}:
            continue  # published without its labels
        y = np.array(numbers(values, classes, rows.features[label], f"{split} of {root}"), np.int64)
        paths = [Path(split, f"row {at}") for at in range(len(y))]
        contents |= zip(paths, image_files(rows, image), strict=True)
        parts[split] = paths, y
    hashes: dict[Path, str] = {}

    def decoded(part: Split) -> Split:
        paths = [path for path in part[0] if isinstance(path, Path)]
        x, found, errors = decode_each(paths, options.size, options.channels, options.value_range, contents.__getitem__)
        refuse_bad(errors, len(paths), "a data set without them is needed")
        hashes.update(zip(paths, found, strict=True))
        return x, part[1]

    what = f"{options.extra.get('dataset', root)}, a Hugging Face data set of {len(classes)} classes"
    divided = divide(parts, classes, what, root)
    train, val, test = decoded(divided.train), decoded(divided.val) if divided.val else None, decoded(divided.test)
    listing = {f"listing of {len(hashes)} pictures": listing_hash(Path(), hashes, hashes.values())}
    return Reading(train, val, test, classes, False, divided.detail, listing)


def numbers(values: list[Any], classes: list[str], kind: Any, where: str) -> list[int]:
    """The class numbers of some labels, which are numbers already where the data set names its classes."""
    known = {at if hasattr(kind, "names") else name: at for at, name in enumerate(classes)}
    keys = values if hasattr(kind, "names") else list(map(str, values))
    if odd := [at for at, key in enumerate(keys) if key not in known]:
        raise InputError(f"row {odd[0]} of {where} has the label {values[odd[0]]}, which is no class of train")
    return [known[key] for key in keys]


def image_files(rows: Any, column: str) -> list[bytes]:
    """The image files in a column, as they are stored; nothing for a row without one."""
    import datasets

    def content(cell: dict[str, Any] | None) -> bytes:
        if cell and cell["bytes"] is None and cell["path"] is not None:
            return Path(cell["path"]).read_bytes()
        return (cell and cell["bytes"]) or b""

    try:
        return [content(cell) for cell in rows.cast_column(column, datasets.Image(decode=False))[column]]
    except Exception as error:  # what Arrow raises, and a path that leads nowhere
        raise InputError(f"data.image_column={column} has no images in it: {first_line(error)}") from error


SOURCE = Source(
    name="hf",
    title="an image data set of the Hugging Face hub (data.name=OWNER/NAME), or of its forms on disk (data.name=DIR)",
    what="any",
    expects="parquet files or folders of images",
    find=find,
    read=read,
    size=224,
    endings=(".parquet",),
    locate=locate,
)
