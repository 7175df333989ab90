"""How a reader describes its data set, and what it needs for raw files: hashes, checks, downloads."""

import gzip
import hashlib
import logging
import socket
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from dlcourse.core.errors import InputError

log = logging.getLogger(__name__)

CONNECT_TIMEOUT = 5.0  # seconds: short, so that a machine behind a silent firewall soon falls back to the stand-in
READ_TIMEOUT = 30.0
CHUNK = 1 << 20
UNPACKED = 1 << 30  # bytes: no file of any data set here unpacks to as much
BOMB = "it unpacks to more than 1 GB, which none of the files here does"

Split = tuple[np.ndarray | Sequence[Path], np.ndarray]


@dataclass(frozen=True)
class File:
    """A published file. url is None for a file that is only published inside another.

    sha256, or md5 where only that is known, is the file's hash; for a plain `.gz` that of its content, since
    people repack those. Without either, a download is trusted. bytes is the download's size.
    """

    name: str
    url: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    md5: str | None = None

    @property
    def hash(self) -> tuple[str, str | None]:
        """The kind of hash that is known, and its hex digest; None where none is."""
        return ("sha256", self.sha256) if self.sha256 else ("md5", self.md5)


@dataclass(frozen=True)
class Options:
    """What a reader is asked for. size (pixels) and channels concern photos.

    draw, function, noise concern data sets that are drawn: which draw, of which function, and the targets' noise.
    extra: data.options, for a reader of one's own. skip_bad, value_range: see `sources.load`.
    """

    size: int = 0
    channels: int = 3
    verify: bool = True
    draw: int = 0
    function: str = "linear"
    noise: float = 0.01
    extra: Mapping[str, Any] = field(default_factory=dict)
    skip_bad: bool = False
    value_range: tuple[float, float] | None = None


@dataclass(frozen=True)
class Reading:
    """A data set as its reader returns it: for each split x and labels int64 [N], or targets float32 [N, K].

    x: uint8 [N, C, H, W], float32 [N, D], or the paths of photos, which `sources.load` decodes to the requested size.
    val: None where the data set has no validation set. comparable, detail, files: see Provenance.
    """

    train: Split
    val: Split | None
    test: Split
    classes: Sequence[str]
    comparable: bool
    detail: str
    files: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """A data set and how it is read; docs/extending.md has one of one's own.

    what: its sizes, for people. expects: the files a root should hold, as part of a sentence.
    find: the raw files under a root in a fixed order, or none unless all are there. It opens no file.
    read: turns those files into a Reading; raises DamagedFileError.
    files: what is downloaded. known: other published files with a known hash.
    folders: the names its folder may have under $DLCOURSE_DATA; a download goes to the first.
    stand_in: what is used when the data set is not available; stand_in_files: what that is made from, if not drawn.
    size: the default side of decoded photos, in pixels; None where the images have a fixed size.
    drawn: it has no files, `read` draws it by a rule. endings: of files that may be a root
    instead of a folder. locate: for a data set that is one of many, the root that `extra` means.
    """

    name: str
    title: str
    expects: str
    find: Callable[[Path], list[Path]]
    read: Callable[[Path, list[Path], Options], Reading]
    what: str = ""
    licence: str = "its own"
    homepage: str = ""
    files: tuple[File, ...] = ()
    known: tuple[File, ...] = ()
    folders: tuple[str, ...] = ()
    stand_in: Callable[[Options], Reading] | None = None
    stand_in_files: Callable[[], list[Path]] | None = None
    size: int | None = None
    drawn: bool = False
    endings: tuple[str, ...] = ()
    locate: Callable[[Mapping[str, Any]], Path] | None = None


class DamagedFileError(InputError):
    """A raw file that isn't what it should be; `path` is the file, None where the error comes from a worker process.

    A DataLoader raises a worker's error anew, made from its printed traceback alone: one argument must be enough.
    """

    def __init__(self, problem: str, path: Path | None = None) -> None:
        super().__init__(f"{path} {problem}" if path else problem.rpartition("DamagedFileError: ")[2].strip())
        self.path = path


class DownloadError(InputError):
    """A download that failed for an outside reason: no network, no such file, other content than expected."""


def damaged(path: Path, why: str, expected: str | None = None, found: str | None = None) -> DamagedFileError:
    """The error for a damaged raw file: which one, why, and its sha256, as found and (if known) as expected."""
    known = f"expected sha256 {expected}, found" if expected else "its sha256 is"
    problem = f"is damaged ({why.rstrip('.')}): {known} {found or hash_file(path)}; replace it with an intact copy"
    return DamagedFileError(problem, path)


# ---------------------------------------------------------------------------------------- the files' content


def complete(folders: Iterable[Path], names: Sequence[str], endings: Sequence[str] = ("",)) -> list[Path]:
    """The files of these names in the first folder that has all of them, each with the first ending there is."""
    for folder in folders:
        possible = [[folder / f"{name}{ending}" for ending in endings] for name in names]
        found = [path for paths in possible for path in [path for path in paths if path.is_file()][:1]]
        if len(found) == len(names):
            return found
    return []


def is_packed(name: str) -> bool:
    """Whether a file is hashed by its unpacked content: a plain .gz is, a .tar.gz is not."""
    return name.endswith(".gz") and not name.endswith(".tar.gz")


def content(path: Path, expected: str | None = None) -> bytearray:
    """A file's content, unpacked if it is a plain .gz; the error for a damaged one names the sha256 `expected`."""
    try:
        with gzip.open(path) if is_packed(path.name) else path.open("rb") as file:
            data = bytearray(file.read(UNPACKED + 1))  # writable, so that arrays and tensors can use it without a copy
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise damaged(path, str(error), expected) from error
    refuse_bomb(path, len(data), expected)
    return data


def refuse_bomb(path: Path, size: int, expected: str | None) -> None:
    """Raise the error for a small file that unpacks to more bytes than any of a data set's does."""
    if size > UNPACKED:
        raise damaged(path, BOMB, expected, hash_file(path, packed=False))


def unpack(path: Path, wanted: Callable[[str], object], expected: str | None = None) -> dict[str, bytes]:
    """The files in a .zip or .tar.gz whose names, without their folders, are `wanted`: their content by path."""
    found: dict[str, bytes] = {}
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as zipped:
                chosen = [info for info in zipped.infolist() if wanted(PurePosixPath(info.filename).name)]
                refuse_bomb(path, sum(info.file_size for info in chosen), expected)
                return {info.filename: zipped.read(info) for info in chosen}
        with tarfile.open(path, "r:gz") as packed:
            size = 0
            for member in packed:
                refuse_bomb(path, size := size + member.size, expected)
                if member.isfile() and wanted(PurePosixPath(member.name).name) and (file := packed.extractfile(member)):
                    found[member.name] = file.read()
        return found
    except DamagedFileError:
        raise
    except Exception as error:  # zipfile and tarfile raise nearly anything
        name = "" if isinstance(error, zipfile.BadZipFile) else f"{type(error).__name__}: "
        raise damaged(path, f"{name}{error}", expected) from error


def hash_file(path: Path, kind: str = "sha256", packed: bool = True) -> str:
    """The hex digest of a file, or of its content if it is packed; of the file if it can't be unpacked."""
    try:
        with gzip.open(path) if packed and is_packed(path.name) else path.open("rb") as file:
            return hashlib.file_digest(file, kind).hexdigest()
    except (gzip.BadGzipFile, EOFError, zlib.error):
        return hash_file(path, kind, packed=False)


def is_published(path: Path, file: File) -> bool | None:
    """Whether the file at `path` is the published one; None where no hash is known."""
    kind, expected = file.hash
    return hash_file(path, kind) == expected if expected else None


def stratified(y: np.ndarray, shares: Sequence[float], seed: int = 0) -> list[np.ndarray]:
    """Indices of y [N] in parts of the given shares, of each class alike; ascending, the same for the same seed."""
    bounds = np.cumsum(shares[:-1])
    return cut_classes(y, lambda n: np.rint(bounds * n).astype(int), np.random.default_rng(seed))


def cut_classes(y: np.ndarray, bounds: Callable[[int], Any], rng: np.random.Generator) -> list[np.ndarray]:
    """Indices of y [N] in parts, ascending: each class, shuffled, is cut at `bounds(its size)`.

    Examples with a negative label are in none.
    """
    classes = [rng.permutation(np.flatnonzero(y == label)) for label in np.unique(y[y >= 0])]
    cut = (np.split(members, bounds(len(members))) for members in classes)
    return [np.sort(np.concatenate(part)) for part in zip(*cut, strict=True)]


# ------------------------------------------------------------------------------------------------- downloads


def fetch(source: Source, folder: Path) -> list[str]:
    """Downloads those of a data set's files that aren't in `folder` yet; returns one line about each.

    Raises DownloadError where a download fails, DamagedFileError for a file that is there but isn't the
    published one, and InputError without permission or space. No file is ever left incomplete.
    """
    lines = []
    for file in source.files:
        path = folder / file.name
        if path.is_file():
            if is_published(path, file) is False:
                raise damaged(path, "it is not the published file", file.sha256)
            lines.append(f"{path} is there already")
        else:
            lines.append(f"{path} downloaded, sha256 {download(file, path)}")
    return lines


def download(file: File, path: Path) -> str:
    """Downloads a file to `path` and returns its sha256; raises as `fetch` does."""
    if file.url is None:
        raise ValueError(f"{file.name} has no url")
    try:
        request = urllib.request.Request(file.url, headers={"User-Agent": "dlcourse"})
        probe(file.url)
        response = urllib.request.urlopen(request, timeout=READ_TIMEOUT)
    except (OSError, HTTPException) as error:
        raise DownloadError(f"{file.url} can't be downloaded ({reason(error)})") from error
    expected = int(response.headers.get("Content-Length") or -1)
    log.warning("downloading %s%s to %s", file.url, f" ({expected / 1e6:.0f} MB)" if expected > 0 else "", path.parent)
    part: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            response,
            tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=f"-{file.name}", delete=False) as to,
        ):
            part = Path(to.name)
            got = 0
            while block := read_block(response.read, file.url):
                got += len(block)
                to.write(block)
                if expected > 0 and sys.stderr.isatty():
                    end = "\n" if got >= expected else ""
                    print(f"\r{file.name} {got / expected:4.0%}", end=end, file=sys.stderr, flush=True)
        if 0 <= expected != got:
            raise DownloadError(f"{file.url} was cut off ({got} of {expected} bytes)")
        kind, known = file.hash
        if known and (found := hash_file(part, kind)) != known:
            raise DownloadError(f"{file.url} is another file (expected {kind} {known}, found {found})")
        part.chmod(0o644)  # a temporary file is private; a data folder is often shared
        part.replace(path)
        return hash_file(path)
    except OSError as error:
        raise InputError(
            f"{file.name} can't be written to {path.parent} ({error.strerror or error}): make room or give "
            "permission there, or point $DLCOURSE_DATA at another folder"
        ) from error
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


def probe(url: str) -> None:
    """Raises OSError within CONNECT_TIMEOUT if nothing answers at a url's host (urllib has one timeout)."""
    parts = urlsplit(url)
    if parts.hostname and parts.scheme not in urllib.request.getproxies():
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname, port), CONNECT_TIMEOUT).close()


def read_block(read: Callable[[int], bytes], url: str) -> bytes:
    """The next block of a response; an error here is the network's, not the disk's."""
    try:
        return read(CHUNK)
    except (OSError, HTTPException) as error:
        raise DownloadError(f"{url} broke off ({reason(error)})") from error


def reason(error: Exception) -> str:
    """A network error in words."""
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    return str(getattr(inner, "strerror", None) or inner or type(inner).__name__)
