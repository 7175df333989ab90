"""`python -m dlcourse.data list|fetch|verify [NAME] [data.root=DIR]`: what is there, fetch it, check it."""

import argparse
import logging
import sys
from pathlib import Path

from dlcourse.data.photos import check_photos, is_photo, listing_hash
from dlcourse.data.raw import DamagedFileError, DownloadError, Options, Source, fetch, hash_file, is_published
from dlcourse.data.sources import (
    SOURCES,
    absent,
    download_folder,
    fetch_hint,
    lookup,
    prepared_file,
    raw_files,
    search_path,
)
from dlcourse.errors import InputError, or_list

COLUMNS = ("name", "train / val / test", "now", "where", "licence")


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; returns its exit code: 2 for a mistake, a damaged file or a failed download, else 0."""
    parser = argparse.ArgumentParser(prog="python -m dlcourse.data", description=__doc__)
    parser.add_argument("command", choices=("list", "fetch", "verify"))
    parser.add_argument("rest", nargs="*", metavar="NAME|data.root=DIR", help=f"one of {or_list(list(SOURCES))}")
    given = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    try:
        name, root = parse(given.rest)
        if given.command == "list":
            return list_sources(root) if name is None else show(lookup(name), root)
        if name is None:
            raise InputError(f"{given.command} needs a name: {or_list(list(SOURCES))}.")
        return (fetch_source if given.command == "fetch" else verify_source)(lookup(name), root)
    except (InputError, DownloadError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; nothing is left half-written", file=sys.stderr)
        return 130


def parse(rest: list[str]) -> tuple[str | None, Path | None]:
    """The name and data.root=DIR, in any order."""
    name, root = None, None
    for word in rest:
        key, equals, value = word.partition("=")
        if equals and key == "data.root":
            root = Path(value).expanduser()
        elif equals or name is not None:
            raise InputError(f"{word!r} isn't understood: one NAME and data.root=DIR can be given.")
        else:
            name = word
    return name, root


# ------------------------------------------------------------------------------------------------------ list


def list_sources(root: Path | None) -> int:
    """A table of the data sets as they would load now."""
    rows = [COLUMNS, *(row(entry, root) for entry in SOURCES.values())]
    widths = [max(len(cells[at]) for cells in rows) for at in range(len(COLUMNS))]
    for cells in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
    return 0


def row(entry: Source, root: Path | None) -> tuple[str, ...]:
    now, where = state(entry, root)
    return entry.name, entry.what, now, where, entry.licence


def show(entry: Source, root: Path | None) -> int:
    """Everything about one data set."""
    now, where = state(entry, root)
    print(f"{entry.name}: {entry.title}\n  {entry.what}\n  now: {now} ({where})\n  files: {entry.expects}")
    for file in entry.files:
        print(f"  download: {file.url}")
    print(f"  licence: {entry.licence}\n  {entry.homepage}".rstrip())
    return 0


def state(entry: Source, root: Path | None) -> tuple[str, str]:
    """What `load` would find without a download, and where."""
    for place in (place.resolve() for place in search_path(entry, root)):
        try:
            if raw_files(entry, place):
                return "real", str(place)
        except InputError as error:
            return "unreadable", str(error)
        if prepared_file(entry, place, Options(entry.size or 0, 3 if entry.size else 0)).is_file():
            return "real, prepared", f"from {place}"
    if not entry.folders:
        return "-", "needs data.root=DIR"
    if entry.files:
        megabytes = sum(file.bytes or 0 for file in entry.files) / 1e6
        size = f" ({megabytes:.0f} MB)" if megabytes else ""
        return "download, else stand-in", f"{download_folder(entry)}{size}"
    return "stand-in", f"no {entry.folders[0]} folder in $DLCOURSE_DATA"


# --------------------------------------------------------------------------------------------- fetch, verify


def fetch_source(entry: Source, root: Path | None) -> int:
    """Downloads what is missing; a copy in another form is enough."""
    if not entry.files:
        raise InputError(f"{entry.name} has no download: put {entry.expects} in a folder and say data.root=DIR.")
    places = [root] if root is not None else search_path(entry, None)
    found = next((place for place in places if raw_files(entry, place)), None)
    if found and not any((found / file.name).is_file() for file in entry.files):
        print(f"{entry.name} is in {found} already")
        return 0
    for line in fetch(entry, found or root or download_folder(entry)):
        print(line)
    return 0


def verify_source(entry: Source, root: Path | None) -> int:
    """Reads every raw file: OK is the published one, UNKNOWN another readable one, else DAMAGED."""
    places = search_path(entry, root)
    if not places:
        raise InputError(f"{entry.name} needs data.root=DIR, a folder of {entry.expects}.")
    place = next((place for place in places if raw_files(entry, place)), None)
    if place is None:
        raise InputError(f"{absent(entry, places[0])}: it should hold {entry.expects}{fetch_hint(entry, places[0])}.")
    files = raw_files(entry, place)
    photos = {path: None for path in files if is_photo(path.name)}  # a set in order
    hashes, errors = check_photos(list(photos))
    if not errors:
        try:
            entry.read(place, files, Options(size=8))
        except DamagedFileError as error:
            errors = [error]
    bad = {error.path for error in errors}
    for path in files:
        if path not in photos:
            print(f"{hash_file(path)}  {'DAMAGED' if path in bad else grade(entry, path)}  {path}")
    if photos:
        lines = [f"{path.relative_to(place).as_posix()} {sha}" for path, sha in zip(photos, hashes, strict=True)]
        word = "DAMAGED" if bad & photos.keys() else "UNKNOWN"
        print(f"{listing_hash(lines)}  {word}  {place} ({len(photos)} photos)")
    for damage in errors:
        print(f"error: {damage}", file=sys.stderr)
    return 2 if errors else 0


def grade(entry: Source, path: Path) -> str:
    """OK for a published file, UNKNOWN for any other."""
    names = (path.name, f"{path.name}.gz")  # a .gz may have been unpacked
    file = next((file for file in (*entry.files, *entry.known) if file.name in names), None)
    return "OK     " if file and is_published(path, file) else "UNKNOWN"


if __name__ == "__main__":
    sys.exit(main())
