"""Archives of a folder of images: unpacked to the cache once, so that they are a folder like any other."""

import hashlib
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from dlcourse.core.errors import InputError, first_line
from dlcourse.core.files import cache_dir, file_size
from dlcourse.data.listing import is_hidden, subfolders

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
LEAST, MOST = 1 << 30, 100  # an archive is a bomb where it unpacks to more than 1 GB, and to 100 times what it takes
MARK = ".unpacked"  # in a folder that is whole: how many files it has

Member = tuple[str, int, IO[bytes]]


def is_archive(path: Path) -> bool:
    return path.name.lower().endswith(ENDINGS) and path.is_file()


def open_root(root: Path) -> Path:
    """What `data.root` stands for: itself, or the folder that an archive is unpacked to.

    An archive may hold the folder's content or the folder itself. Raises InputError for one that is damaged, that
    has files outside of it, or that unpacks to very much more than it takes.
    """
    if not is_archive(root):
        return root
    about = root.stat()
    key = f"{root.resolve()}\0{about.st_size}\0{about.st_mtime_ns}"
    folder = cache_dir() / "unpacked" / f"{root.name.split('.')[0]}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    if not is_whole(folder):
        unpack_to(root, folder)
    while len(inner := subfolders(folder)) == 1 and inner != ["train"] and subfolders(folder / inner[0]):
        folder /= inner[0]
    return folder


def count_files(folder: Path) -> int:
    return sum(name != MARK for _, _, names in os.walk(folder) for name in names)


def is_whole(folder: Path) -> bool:
    """Whether a folder has all that was unpacked to it: the cache may have been cleaned."""
    mark = folder / MARK
    return mark.is_file() and mark.read_text() == str(count_files(folder))


def unpack_to(archive: Path, folder: Path) -> None:
    """An archive's files into a folder, whole or not at all; links and other special files are left out."""
    size, most = 0, max(LEAST, MOST * archive.stat().st_size)
    part: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=folder.parent, prefix="."))
        for name, promised, file in members(archive):
            size += promised
            if size > most:
                raise InputError(f"{archive} is refused: it unpacks to more than {file_size(most)}")
            target = part / safe_name(archive, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as out:
                shutil.copyfileobj(file, out)
        (part / MARK).write_text(str(count_files(part)))
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    except InputError:
        raise
    except Exception as error:  # zipfile and tarfile raise nearly anything
        if is_whole(folder):  # another process was faster
            return
        raise InputError(f"{archive} can't be unpacked to {folder.parent}: {first_line(error)}") from error
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)


def members(archive: Path) -> Iterator[Member]:
    """The plain files in an archive: their names, their sizes, and what to read them from."""
    if archive.suffix.lower() == ".zip":
        with zipfile.ZipFile(archive) as zipped:
            for info in zipped.infolist():
                if info.is_dir() or stat.S_ISLNK(info.external_attr >> 16) or hidden(info.filename):
                    continue
                with zipped.open(info) as file:
                    yield info.filename, info.file_size, file
        return
    with tarfile.open(archive) as packed:
        for member in packed:
            if member.isfile() and not hidden(member.name) and (extracted := packed.extractfile(member)):
                yield member.name, member.size, extracted


def hidden(name: str) -> bool:
    return any(is_hidden(part) for part in PurePosixPath(name).parts if part not in (".", ".."))


def safe_name(archive: Path, name: str) -> PurePosixPath:
    """A member's name, relative to where it is unpacked."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise InputError(f"{archive} is refused: it holds {name}, which would be unpacked outside of its folder")
    return path
