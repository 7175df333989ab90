"""From what a reader found to tensors: photos are decoded or left on disk, bad ones are named or left out."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from dlcourse.core.errors import InputError, first_line, or_list
from dlcourse.data.listing import listing_hash
from dlcourse.data.photos import (
    PhotoStore,
    Range,
    check_photos,
    decode_each,
    look_at,
    notes_on,
    refuse_bad,
)  # fmt: skip
from dlcourse.data.raw import DamagedFileError, Options, Reading, Source
from dlcourse.data.tensors import Provenance, Splits, Store, Tensors, hash_pixels

log = logging.getLogger(__name__)


def assemble(entry: Source, reading: Reading, options: Options, memory_limit: float, root: Path | None) -> Splits:
    """A reading as stores; photos are decoded, or left on disk if they would take more than memory_limit bytes."""
    parts = {"train": reading.train, "test": reading.test} | ({"val": reading.val} if reading.val else {})
    pictures = {name: x for name, (x, _) in parts.items() if not isinstance(x, np.ndarray)}
    photos = [path for paths in pictures.values() for path in paths]
    streamed = len(photos) * options.channels * options.size**2 > memory_limit
    value_range, notes, errors = look_through(entry, pictures, options, streamed) if photos else (None, [], [])
    if streamed:
        notes.append(f"{len(photos)} photos exceed data.memory_limit, so they are read on demand")
    stores: dict[str, Store] = {}
    marks: list[object] = []  # a hash or size for each photo
    for name, (x, labels) in parts.items():
        y = torch.from_numpy(labels)
        if isinstance(x, np.ndarray):
            pixels = x
        elif streamed:
            marks += [path.stat().st_size for path in x]
            stores[name] = PhotoStore([str(path) for path in x], y, options.size, options.channels, value_range)
            continue
        else:
            pixels, hashes, bad = decode_each(x, options.size, options.channels, value_range)
            marks += hashes
            errors += bad
        try:
            tensor = torch.from_numpy(np.ascontiguousarray(pixels))
            stores[name] = Tensors(tensor, y, hash_pixels(tensor) if tensor.dtype == torch.uint8 else None)
        except (ValueError, TypeError) as error:  # of a reader of one's own
            raise InputError(f"{entry.name}: its reader gives {first_line(error)}") from error
    skipped = sorted({str(error.path) for error in errors})
    if errors and not options.skip_bad:
        refuse_bad(list({error.path: error for error in errors}.values()), len(photos))
    if skipped:
        stores = {name: leave_out(store, pictures[name], skipped, name) for name, store in stores.items()}
        notes.append(f"{len(skipped)} images can't be read and are left out: {or_list(skipped)}")
    files = dict(reading.files)
    if photos:
        files[f"listing of {len(photos)} photos"] = listing_hash(root or Path("/"), photos, marks)
    real = entry.drawn or root is not None
    provenance = Provenance(
        entry.name,
        source="real" if real else "stand-in",
        comparable=reading.comparable and real and not skipped,
        detail=reading.detail,
        root=str(root) if root else None,
        files=files,
        skipped=skipped,
        value_range=list(value_range) if value_range else None,
        notes=notes,
    )
    return Splits(stores["train"], stores.get("val"), stores["test"], list(reading.classes), provenance)


def look_through(
    entry: Source, pictures: Mapping[str, Sequence[Path]], options: Options, streamed: bool
) -> tuple[Range | None, list[str], list[DamagedFileError]]:
    """What has to be known of photos before they are decoded: the range of values of those that have more than 8 bits
    (None where there are none), what is to be said of them, and an error for each that is found to be bad on the way;
    of photos that are `streamed` those are all that there are, where they may be left out."""
    looks = {name: look_at(paths) for name, paths in pictures.items()}
    errors = [error for look in looks.values() for error in look.errors]
    if streamed and options.skip_bad:
        errors += [error for paths in pictures.values() for error in check_photos(paths)[1]]
    if streamed and not options.skip_bad:
        refuse_bad(errors, sum(map(len, pictures.values())))
    total = sum(len(look.ranges) for look in looks.values())
    if not total:
        return None, notes_on(list(looks.values()), None), errors
    train = looks["train"].ranges if "train" in looks else []
    give = "give data.value_range=[LOW,HIGH]"
    if not options.value_range and not train:
        raise InputError(f"{entry.name}: only pictures for testing have more than 8 bits: {give}")
    if not options.value_range and {"float", "whole"} <= {
        header.kind for look in looks.values() for header in look.headers
    }:
        raise InputError(
            f"{entry.name}: some pictures are of whole numbers, others float: one range is for both: {give}"
        )
    low, high = options.value_range or (min(low for low, _ in train), max(high for _, high in train))
    if low == high:
        raise InputError(f"{entry.name}: all pixels of its pictures are {low:g}: {give}")
    log.info("%s: %d pictures have more than 8 bits: %g becomes black, %g white", entry.name, total, low, high)
    return (low, high), notes_on(list(looks.values()), (low, high)), errors


def leave_out(store: Store, paths: Sequence[Path], skipped: Sequence[str], name: str) -> Store:
    """A split without the photos that can't be read; raises InputError where a class has none left."""
    kept = torch.tensor([str(path) not in skipped for path in paths])
    lost = sorted(set(store.y.tolist()) - set(store.y[kept].tolist()))
    if lost:
        where = next(path.parent for path, number in zip(paths, store.y.tolist(), strict=True) if number == lost[0])
        raise InputError(f"{where}: none of its images for {name} can be read: replace them, or remove the folder")
    if isinstance(store, PhotoStore):
        remaining = [path for path, keep in zip(store.paths, kept.tolist(), strict=True) if keep]
        return replace(store, paths=remaining, y=store.y[kept])
    assert isinstance(store, Tensors)
    return Tensors(store.x[kept], store.y[kept], None if store.hashes is None else store.hashes[kept])
