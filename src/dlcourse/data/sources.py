"""The data sets by name, and `load`, which gives the real data where it can and else a stand-in."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dlcourse.config.plugins import find_object
from dlcourse.core.errors import InputError, did_you_mean, or_list
from dlcourse.core.files import cache_dir
from dlcourse.core.network import is_offline
from dlcourse.data import synthetic
from dlcourse.data.archives import open_root
from dlcourse.data.assembly import assemble
from dlcourse.data.cache import cache_file, fingerprint, load_prepared, save_prepared
from dlcourse.data.raw import DownloadError, Options, Source, fetch
from dlcourse.data.readers import cifar10, clusters, flowers17, folder, functions, hf, mnist, nist36, sun
from dlcourse.data.tensors import Splits

log = logging.getLogger(__name__)

READERS = (mnist, nist36, cifar10, flowers17, sun, functions, clusters, folder, hf)
SOURCES: dict[str, Source] = {reader.SOURCE.name: reader.SOURCE for reader in READERS}


def load(
    name: str,
    root: str | Path | None = None,
    source: str = "auto",
    size: int | None = None,
    verify: bool = True,
    memory_limit: float = 4e9,
    channels: int = 3,
    draw: int = 0,
    function: str = "linear",
    noise: float = 0.01,
    extra: Mapping[str, Any] | None = None,
    skip_bad: bool | None = None,
    value_range: Sequence[float] | None = None,
) -> Splits:
    """A data set's splits as tensors.

    name: a key of SOURCES, or the dotted name of a Source in a module that the user has allowed as a plugin.
    root: the folder with its raw files; None looks in $DLCOURSE_DATA, then downloads if it may.
    source: `real`, `stand-in` or `auto`: the first there is of prepared data, raw files, a download, the stand-in.
    size, channels: photos become [channels, size, size]; by default 224 and 3 (RGB), 1 is grey.
    verify: refuse raw files in a known form whose content isn't the published one.
    memory_limit: bytes; photos that take more are read on demand (PhotoStore) and not cached.
    skip_bad: leave out photos that can't be read. value_range: the values that become black and white in pictures of
    more than 8 bits; None measures the training files'.
    draw, function, noise: of a data set that is drawn, whatever `source` is (see its reader). extra: for a plugin's.

    Raises InputError where none of these is available, and for a damaged raw file. $DLCOURSE_OFFLINE=1
    prevents downloads.
    """
    entry = lookup(name)
    if source not in ("auto", "real", "stand-in"):
        raise InputError(f"data.source={source} should be auto, real or stand-in")
    if size is not None and entry.size is None:
        photos = or_list([other.name for other in SOURCES.values() if other.size])
        raise InputError(f"data.size={size} is only for photos ({photos}): the images of {name} have a fixed size")
    if size is not None and size < 1:
        raise InputError(f"data.size={size} should be a number of pixels, 1 or more")
    if channels not in (1, 3):
        raise InputError(f"channels={channels} should be 1 (grey) or 3 (RGB)")
    side, depth = (size or entry.size or 0, channels) if entry.size else (0, 0)
    if value_range is not None and not value_range[0] < value_range[1]:
        raise InputError(f"data.value_range={list(value_range)}: the first number must be the lower one")
    limits = (float(value_range[0]), float(value_range[1])) if value_range else None
    options = Options(side, depth, verify, draw, function, noise, extra or {}, bool(skip_bad), limits)
    if entry.drawn:
        if root is not None:
            raise InputError(f"data.root={root}: {name} has no files, it is drawn by a rule")
        return assemble(entry, entry.read(Path(), [], options), options, memory_limit, None)
    if source == "stand-in":
        return stand_in(entry, options, "as data.source=stand-in asks")
    if entry.locate is not None:
        if root is not None:
            raise InputError(f"data.root={root}: data=hf takes data.name=DIR")
        root = entry.locate(options.extra)
    roots = search_path(entry, root)
    splits = load_real(entry, roots, options, memory_limit)
    if splits is not None:
        return splits
    if root is not None:
        raise absent(entry, roots[0])
    try:
        offer_download(entry)
        target = download_folder(entry)
        fetch(entry, target)
        splits = load_real(entry, [target], options, memory_limit)
        if splits is None:
            raise DownloadError(f"what was downloaded to {target} isn't {name}")
        return splits
    except DownloadError as error:
        if source == "auto" and entry.stand_in is not None:
            return stand_in(entry, options, str(error))
        otherwise = ", or use data.source=auto for its stand-in" if entry.stand_in else ""
        raise InputError(f"{error}: put {entry.expects} in {roots[0]}, or give data.root=DIR{otherwise}") from error


def lookup(name: str) -> Source:
    """The entry of a data set; raises InputError with the possible names if there is none."""
    if "." in name:
        entry = find_object(name, "data.reader")
        if not isinstance(entry, Source):
            raise InputError(f"data.reader={name} is no Source of dlcourse.data.raw, but {type(entry).__name__}")
        return entry
    if name not in SOURCES:
        possible = or_list(list(SOURCES))
        raise InputError(f"there is no data set {name!r}{did_you_mean(name, SOURCES)} (possible: {possible})")
    return SOURCES[name]


# ------------------------------------------------------------------------------------------------------ real


def search_path(entry: Source, root: str | Path | None) -> list[Path]:
    """Where to look for raw files: root (of photos perhaps an archive) and its subfolders; without root, $DLCOURSE_DATA
    and earlier downloads."""
    if root is not None:
        given = Path(root).expanduser()
        given = open_root(given) if entry.size else given
        return [given, *(given / name for name in entry.folders)]
    data = os.environ.get("DLCOURSE_DATA")
    here = [Path(data).expanduser() / name for name in entry.folders] if data else []
    return [*here, cache_dir() / "raw" / entry.name] if entry.folders else []


def raw_files(entry: Source, root: Path) -> list[Path]:
    """The data set's raw files under a root; none if it doesn't hold the data set."""
    try:
        known = root.is_dir() or (root.is_file() and root.name.lower().endswith(entry.endings))
        return entry.find(root) if known else []
    except OSError as error:
        raise unreadable(root, error) from error


def prepared_file(entry: Source, root: Path, options: Options) -> Path:
    extra = [dict(options.extra)] if options.extra else []
    pictures = [options.skip_bad, options.value_range] if options.skip_bad or options.value_range else []
    return cache_file(entry.name, str(root), options.size, options.channels, *extra, *pictures)


def load_real(entry: Source, roots: Sequence[Path], options: Options, memory_limit: float) -> Splits | None:
    """The data set from the first root that holds it or from which it was prepared before; else None."""
    for root in (root.resolve() for root in roots):
        prepared, files = prepared_file(entry, root, options), raw_files(entry, root)
        try:
            mark = fingerprint(files) if files else None
            splits = load_prepared(prepared, mark, options.verify)
            if splits is None and mark is not None:
                splits = assemble(entry, entry.read(root, files, options), options, memory_limit, root)
                save_prepared(prepared, splits, mark, options.verify)
            elif splits is not None and mark is None:
                gone = "%s: its raw files are gone from %s; using the data prepared from them before"
                log.warning(gone, entry.name, root)
        except OSError as error:
            raise unreadable(root, error) from error
        if splits is not None:
            for note in splits.provenance.notes:
                log.warning("%s: %s", entry.name, note)
            return splits
    return None


def unreadable(root: Path, error: OSError) -> InputError:
    return InputError(f"{error.filename or root} can't be read: {error.strerror or error}")


def absent(entry: Source, root: Path) -> InputError:
    """The error for a root without such data."""
    why = f"{root} holds no {'class folders of images' if entry.name == 'folder' else entry.name}"
    if not root.is_dir():
        why = f"{root} is not a folder" if root.exists() else f"there is no folder {root}"
    hint = f" (python -m dlcourse.data fetch {entry.name} data.root={root} downloads it)" if entry.files else ""
    return InputError(f"{why}: it should hold {entry.expects}{hint}")


# -------------------------------------------------------------------------------------------------- download


def offer_download(entry: Source) -> None:
    """Raises DownloadError where there is nothing to download, or downloads are forbidden."""
    if not entry.folders:
        raise InputError(f"{entry.name} needs data.root=DIR, a folder of {entry.expects}")
    if not entry.files:
        raise DownloadError(
            f"{entry.name} has no download and isn't in {or_list([str(p) for p in search_path(entry, None)])}"
        )
    if is_offline():
        raise DownloadError(f"{entry.name} isn't here, and $DLCOURSE_OFFLINE forbids its download")


def download_folder(entry: Source) -> Path:
    """Where a download goes when no root is given: $DLCOURSE_DATA if it is writable, else the cache."""
    data = os.environ.get("DLCOURSE_DATA")
    if data and os.access(Path(data).expanduser(), os.W_OK):
        return Path(data).expanduser() / entry.folders[0]
    return cache_dir() / "raw" / entry.name


# -------------------------------------------------------------------------------------------------- stand-in


def stand_in(entry: Source, options: Options, why: str) -> Splits:
    """The stand-in of a data set, announced in one loud line."""
    if entry.stand_in is None:
        raise InputError(f"{entry.name} has no stand-in: give data.root=DIR, a folder of {entry.expects}")
    prepared = cache_file(entry.name, "stand-in", options.size, options.channels)
    mark = fingerprint(entry.stand_in_files() if entry.stand_in_files else [Path(synthetic.__file__)])
    splits = load_prepared(prepared, mark, True)
    if splits is None:
        splits = assemble(entry, entry.stand_in(options), options, float("inf"), None)
        save_prepared(prepared, splits, mark, True)
    log.warning("STAND-IN for %s: %s (%s)", entry.name, splits.provenance.detail, why)
    return splits
