"""`python -m dlcourse.data list|fetch|verify|cache`: show, download and check the data sets; what the cache holds."""

import sys
from pathlib import Path

from dlcourse.core import cli
from dlcourse.core.errors import InputError, did_you_mean, or_list
from dlcourse.core.files import cache_dir, file_size
from dlcourse.data import cache
from dlcourse.data.listing import is_photo, listing_hash
from dlcourse.data.photos import check_photos
from dlcourse.data.raw import DamagedFileError, Options, Source, fetch, hash_file, is_published
from dlcourse.data.sources import SOURCES, absent, download_folder, lookup, prepared_file, raw_files, search_path

USAGE = f"""
python -m dlcourse.data list [NAME] [data.root=DIR]
python -m dlcourse.data fetch NAME [data.root=DIR]
python -m dlcourse.data verify NAME [data.root=DIR]
python -m dlcourse.data cache [clean] [kind=prepared] [limit=BYTES]

list shows which data sets are there, or all about one of them; fetch downloads the raw files of one; verify reads
all of them and leaves with exit code 2 if one is damaged. Without data.root=DIR they look in $DLCOURSE_DATA and among
earlier downloads. cache shows what $DLCOURSE_CACHE holds; clean removes what was prepared from raw files (or another
kind of the table) down to the limit, what was used last being kept longest. NAME is one of
{or_list(list(SOURCES))}.
"""
COLUMNS = ("name", "train / val / test", "now", "where", "licence")


def main(argv: list[str]) -> None:
    given = cli.parse_arguments(argv, USAGE, (), ("data.root", "kind", "limit"), words=("command", "name"))
    if given.get("command") == "cache":
        show_cache(given)
        return
    commands = {"list": show, "fetch": fetch_source, "verify": verify_source}
    command, name = given.get("command", ""), given.get("name")
    root = Path(given["data.root"]).expanduser() if "data.root" in given else None
    if command not in commands:
        hint = did_you_mean(command, [*commands, "cache"])
        raise InputError(f"the command {command!r} is not one of {or_list([*commands, 'cache'])}{hint}")
    if name is not None:
        entry = lookup(name)
        if entry.drawn and command != "list":
            raise InputError(f"{name} has no files: it is drawn by the course's rule")
        commands[command](entry, root)
    elif command == "list":
        list_sources(root)
    else:
        raise InputError(f"{command} needs a name: {or_list(list(SOURCES))}")


def show_cache(given: dict[str, str]) -> None:
    """What there is in the cache, or with `clean` what is removed of it."""
    kinds = cache.files_by_kind()
    if given.get("name") is None:
        for kind, files in kinds.items():
            print(f"{kind:10} {len(files):6,} files  {file_size(cache.total_size(files)):>8}")
        print(f"{cache_dir()}: {file_size(sum(map(cache.total_size, kinds.values())))}")
        return
    kind = given.get("kind", "prepared")
    if given["name"] != "clean":
        raise InputError(f"cache {given['name']}: it can be shown (nothing more) or cleaned (clean)")
    if kind not in kinds and kind != "prepared":
        raise InputError(f"kind={kind}: the cache holds {or_list(list(kinds)) or 'nothing'}")
    try:
        limit = float(given.get("limit", 0))
    except ValueError:
        limit = -1.0
    if not limit >= 0:
        raise InputError(f"limit={given['limit']} should be a number of bytes, as 5e9")
    size = cache.total_size(kinds.get(kind, []))
    removed = cache.shrink(limit, kind)
    left = cache.total_size(cache.files_by_kind().get(kind, []))
    print(f"{len(removed)} files of {kind} removed, {file_size(size - left)}; {file_size(left)} are left")


# ------------------------------------------------------------------------------------------------------ list


def list_sources(root: Path | None) -> None:
    """A table of the data sets and what `load` would give now."""
    rows = [COLUMNS, *((entry.name, entry.what, *state(entry, root), entry.licence) for entry in SOURCES.values())]
    widths = [max(len(cells[at]) for cells in rows) for at in range(len(COLUMNS))]
    for cells in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())


def show(entry: Source, root: Path | None) -> None:
    """Everything about one data set."""
    now, where = state(entry, root)
    print(f"{entry.name}: {entry.title}\n  {entry.what}\n  now: {now} ({where})\n  files: {entry.expects}")
    for file in entry.files:
        print(f"  download: {file.url}")
    print(f"  licence: {entry.licence}\n  {entry.homepage}".rstrip())


def state(entry: Source, root: Path | None) -> tuple[str, str]:
    """What `load` would find without downloading, and where."""
    if entry.drawn:
        return "drawn", "by the course's rule"
    for place in (place.resolve() for place in search_path(entry, root)):
        try:
            if raw_files(entry, place):
                return "real", str(place)
        except InputError as error:
            return "unreadable", str(error)
        if prepared_file(entry, place, Options(entry.size or 0, 3 if entry.size else 0)).is_file():
            return "real, prepared", f"from {place}"
    if not entry.folders:
        return "-", "needs data.name=NAME" if entry.locate else "needs data.root=DIR"
    if entry.files:
        megabytes = sum(file.bytes or 0 for file in entry.files) / 1e6
        size = f" ({megabytes:.0f} MB)" if megabytes else ""
        return "download, else stand-in", f"{download_folder(entry)}{size}"
    return "stand-in", f"no {entry.folders[0]} folder in $DLCOURSE_DATA"


# --------------------------------------------------------------------------------------------- fetch, verify


def fetch_source(entry: Source, root: Path | None) -> None:
    """Downloads what is missing; nothing if the data set is there in another form."""
    if not entry.files:
        raise InputError(f"{entry.name} has no download: put {entry.expects} in a folder and give data.root=DIR")
    places = [root] if root is not None else search_path(entry, None)
    found = next((place for place in places if raw_files(entry, place)), None)
    if found and not any((found / file.name).is_file() for file in entry.files):
        print(f"{entry.name} is in {found} already")
        return
    for line in fetch(entry, found or root or download_folder(entry)):
        print(line)


def verify_source(entry: Source, root: Path | None) -> None:
    """Reads every raw file: OK is a published one, UNKNOWN another that can be read, DAMAGED any other.

    Raises DamagedFileError if one is damaged; where several are, those before the last are printed as errors too.
    """
    places = search_path(entry, root)
    if not places:
        raise InputError(f"{entry.name} needs data.root=DIR, a folder of {entry.expects}")
    place = next((place for place in places if raw_files(entry, place)), None)
    if place is None:
        raise absent(entry, places[0])
    files = raw_files(entry, place)
    photos = {path: None for path in files if is_photo(path.name)}  # an ordered set
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
        word = "DAMAGED" if bad & photos.keys() else "UNKNOWN"
        print(f"{listing_hash(place, photos, hashes)}  {word}  {place} ({len(photos)} photos)")
    for damage in errors[:-1]:
        print(f"error: {damage}", file=sys.stderr)
    if errors:
        raise errors[-1]


def grade(entry: Source, path: Path) -> str:
    """OK for a published file, UNKNOWN for any other."""
    names = (path.name, f"{path.name}.gz")  # the user may have unpacked a .gz
    file = next((file for file in (*entry.files, *entry.known) if file.name in names), None)
    return "OK     " if file and is_published(path, file) else "UNKNOWN"


if __name__ == "__main__":
    cli.run_command(main)
