"""Photos: decoded to one size in threads, or read on demand where they don't fit in memory."""

import hashlib
import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from dlcourse.data.raw import DamagedFileError

Range = tuple[float, float]  # the values that become black and white

MOST_NAMED = 20  # bad files that are named at once
DEEP = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")  # Pillow's modes of more than 8 bits: grey, whole numbers or float
UNSIGNED = ("I;32", "I;32B", "I;32N")  # files of 32 bits without a sign, which Pillow reads as if with one


def decode(data: bytes, size: int, channels: int, value_range: Range | None = None) -> np.ndarray:
    """An image file's bytes as uint8 [channels, size, size]: upright by its EXIF, stretched to a square, grey or RGB.

    Resized as torchvision's Resize((size, size)) does: bilinear, antialiased. Transparency becomes white.
    value_range concerns pictures of more than 8 bits: values beyond it are clipped. Without one 16 bits are all used,
    and ValueError is raised for 32.
    """
    image: Image.Image = Image.open(io.BytesIO(data))
    if image.mode in DEEP:
        turned = image.getexif()
        image = Image.fromarray(to_bytes(deep_values(image), value_range))
        image.getexif().update(turned)
    image = ImageOps.exif_transpose(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def deep_values(image: Image.Image) -> np.ndarray:
    """The pixels of a picture of more than 8 bits, just opened; raises ValueError for some that are no number."""
    unsigned = raw_mode(image) in UNSIGNED
    values = np.asarray(image)
    if unsigned:
        values = values.view(np.uint32)
    if not np.isfinite(values).all():
        raise ValueError("some pixels are no number")
    return values


def raw_mode(image: Image.Image) -> str:
    """How a picture that was just opened is stored, in Pillow's words; empty where its format has one form only."""
    tiles = getattr(image, "tile", None)
    given = tiles[0][3] if tiles else None
    mode = given[0] if isinstance(given, tuple) and given else given
    return mode if isinstance(mode, str) else ""


def to_bytes(values: np.ndarray, value_range: Range | None) -> np.ndarray:
    """Values as uint8, those of `value_range` from black to white."""
    if value_range is None:
        if values.dtype.itemsize != 2:
            raise ValueError("its pixels have 32 bits: data.value_range=[LOW,HIGH] says which are black and white")
        return (values >> 8).astype(np.uint8)
    low, high = value_range
    scaled = np.empty(values.shape, np.uint8)
    rows = max(1, (1 << 20) // values.shape[1])  # some at a time: as float64 they are eight times as large
    for i in range(0, len(values), rows):
        share = (values[i : i + rows].astype(np.float64) - low) / (high - low)
        scaled[i : i + rows] = (255 * share.clip(0, 1)).round()
    return scaled


def decode_named(path: Path, data: bytes, size: int, channels: int, value_range: Range | None = None) -> np.ndarray:
    """`decode`, with an error that names the file."""
    try:
        return decode(data, size, channels, value_range)
    except Exception as error:  # Pillow's decoders raise nearly anything
        raise not_an_image(path, error) from error


def not_an_image(path: Path, error: Exception) -> DamagedFileError:
    """The error for a file that Pillow can't decode."""
    why = str(error).replace("\n", " ")
    if "cannot identify" in why:  # Pillow goes on about a BytesIO
        why = "no image format is recognised"
    if isinstance(error, FileNotFoundError):
        why = "it is gone"
    return DamagedFileError(f"can't be read as an image ({why}): replace it with an intact copy, or remove it", path)


SKIP = "replace them with intact copies, remove them, or have data.skip_bad=true leave them out"


def refuse_bad(errors: Sequence[DamagedFileError], total: int, remedy: str = SKIP) -> None:
    """Raise one error for all the files that can't be decoded, if there are any."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        named = [f"{error.path} ({reason(error)})" for error in errors[:MOST_NAMED]]
        more = [f"and {len(errors) - MOST_NAMED} more"] if len(errors) > MOST_NAMED else []
        raise DamagedFileError(f"{len(errors)} of {total} images can't be read: {', '.join(named + more)}; {remedy}")


def reason(error: DamagedFileError) -> str:
    """Why an image can't be read, without its name and what to do about it."""
    return str(error).partition("as an image (")[2].rpartition("): replace")[0] or str(error)


T = TypeVar("T")


def each(paths: Sequence[Path], look: Callable[[int], T]) -> list[T]:
    """`look` at each file, in threads, by its number."""

    def some(start: int) -> list[T]:  # several per task: starting a task costs as much as a small image
        return [look(at) for at in range(start, min(start + 64, len(paths)))]

    with ThreadPoolExecutor() as pool:
        try:
            return [one for part in pool.map(some, range(0, len(paths), 64)) for one in part]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def decode_each(
    paths: Sequence[Path], size: int, channels: int, value_range: Range | None = None,
    read: Callable[[Path], bytes] = Path.read_bytes,
) -> tuple[np.ndarray, list[str], list[DamagedFileError]]:  # fmt: skip
    """Image files as uint8 [N, channels, size, size], their sha256s, and an error for each that can't be decoded."""
    pixels = np.zeros((len(paths), channels, size, size), np.uint8)
    errors: dict[int, DamagedFileError] = {}

    def one(at: int) -> str:
        data = read(paths[at])
        try:
            pixels[at] = decode_named(paths[at], data, size, channels, value_range)
        except DamagedFileError as error:
            errors[at] = error
        return hashlib.sha256(data).hexdigest()

    hashes = each(paths, one)
    return pixels, hashes, [errors[at] for at in sorted(errors)]


def decode_all(
    paths: Sequence[Path], size: int, channels: int, read: Callable[[Path], bytes] = Path.read_bytes
) -> tuple[np.ndarray, list[str]]:
    """Image files as uint8 [N, channels, size, size], and their sha256s; raises one error for all that are bad."""
    pixels, hashes, errors = decode_each(paths, size, channels, read=read)
    refuse_bad(errors, len(paths))
    return pixels, hashes


def shorter_sides(paths: Sequence[Path]) -> list[int]:
    """Each photo's shorter side in pixels, from its header alone; 0 for a file that is no image."""
    return [header.side if isinstance(header, Header) else 0 for header in read_headers(paths)]


@dataclass(frozen=True)
class Header:
    """What an image file's first bytes say: its shorter side in pixels, and what its pixels are.

    kind: `8 bits` a channel; of more, `whole` numbers or `float`, both grey, or `16 bits` a colour.
    """

    side: int
    kind: str

    @property
    def deep(self) -> bool:
        """Whether its values have a range that has to be known."""
        return self.kind in ("whole", "float")


def read_headers(paths: Sequence[Path]) -> list[Header | DamagedFileError]:
    def one(at: int) -> Header | DamagedFileError:
        try:
            with Image.open(paths[at]) as image:
                kind = "float" if image.mode == "F" else "whole" if image.mode in DEEP else "8 bits"
                if kind == "8 bits" and ";16" in raw_mode(image):
                    kind = "16 bits"
                return Header(min(image.size), kind)
        except Exception as error:
            return not_an_image(paths[at], error)

    return each(paths, one)


def measure_values(paths: Sequence[Path]) -> list[Range | DamagedFileError]:
    """The lowest and the highest value in each of some pictures of more than 8 bits."""

    def one(at: int) -> Range | DamagedFileError:
        try:
            with Image.open(paths[at]) as image:
                values = deep_values(image)
            return float(values.min()), float(values.max())
        except Exception as error:
            return not_an_image(paths[at], error)

    return each(paths, one)


@dataclass(frozen=True)
class Look:
    """What some pictures are before they are decoded. ranges: the lowest and the highest value of each that has more
    than 8 bits; errors: one for each that is found to be bad on the way."""

    headers: list[Header]
    ranges: list[Range]
    errors: list[DamagedFileError]


def look_at(paths: Sequence[Path]) -> Look:
    headers = read_headers(paths)
    found = measure_values([p for p, h in zip(paths, headers, strict=True) if isinstance(h, Header) and h.deep])
    return Look(
        [header for header in headers if isinstance(header, Header)],
        [limits for limits in found if not isinstance(limits, DamagedFileError)],
        [one for one in (*headers, *found) if isinstance(one, DamagedFileError)],
    )


def notes_on(looks: Sequence[Look], limits: Range | None) -> list[str]:
    """What should be known of some pictures' values. limits: the values that become black and white; None where the
    pictures trained on had 8 bits."""
    headers = [header for look in looks for header in look.headers]
    ranges = [found for look in looks for found in look.ranges]
    notes = []
    if limits is None and ranges:
        notes.append(f"{len(ranges)} pictures have more than 8 bits, those of training had 8: 65535 becomes white")
    elif limits is not None:
        low, high = limits
        if outside := sum(not (low <= least and most <= high) for least, most in ranges):
            notes.append(f"{outside} pictures have values outside of {low:g} to {high:g}, which are clipped")
        if plain := sum(not header.deep for header in headers):
            scaled = f"not scaled by {low:g} to {high:g} as those of more"
            notes.append(f"{plain} of {len(headers)} pictures have 8 bits: they are taken as they are, {scaled}")
    if colour := sum(header.kind == "16 bits" for header in headers):
        notes.append(f"{colour} colour pictures have 16 bits a channel, of which the upper 8 are taken")
    return notes


@dataclass(frozen=True)
class PhotoStore:
    """Photos on disk, decoded on demand: a Store that workers can share.

    y: int64 [N]. `take` gives uint8 [B, channels, size, size], and raises DamagedFileError for a damaged photo.
    """

    paths: list[str]
    y: Tensor
    size: int
    channels: int
    value_range: Range | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, index: Tensor) -> tuple[Tensor, Tensor]:
        paths = [Path(self.paths[at]) for at in index.tolist()]
        x = np.empty((len(paths), self.channels, self.size, self.size), np.uint8)
        for row, path in zip(x, paths, strict=True):
            try:
                data = path.read_bytes()
            except OSError as error:
                raise not_an_image(path, error) from error
            row[:] = decode_named(path, data, self.size, self.channels, self.value_range)
        return torch.from_numpy(x), self.y[index]


def check_photos(paths: Sequence[Path]) -> tuple[list[str], list[DamagedFileError]]:
    """Each file's sha256, and an error for each file that can't be decoded."""
    errors: dict[int, DamagedFileError] = {}

    def one(at: int) -> str:
        data = b""
        try:
            data = paths[at].read_bytes()
            decode_named(paths[at], data, 8, 3, (0.0, 1.0))
        except OSError as error:
            errors[at] = DamagedFileError(f"can't be read: {error.strerror}", paths[at])
        except DamagedFileError as error:
            errors[at] = error
        return hashlib.sha256(data).hexdigest() if data else ""

    hashes = each(paths, one)
    return hashes, [errors[at] for at in sorted(errors)]
