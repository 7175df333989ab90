"""Photos: decoded to one size in threads, or read as they are asked for where they don't fit in memory."""

import hashlib
import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from dlcourse.data.raw import DamagedFileError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")


def is_photo(name: str) -> bool:
    """Whether a file's name is that of an image; hidden files (such as macOS's ._name.jpg) aren't."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def list_photos(folder: Path) -> list[Path]:
    """Every image in a folder and the folders in it, in order; no hidden folders."""
    found = []
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
        found += [Path(parent, name) for name in names if is_photo(name)]
    return sorted(found)


def decode(data: bytes, size: int, channels: int) -> np.ndarray:
    """An image file's bytes as uint8 [channels, size, size]: upright by its EXIF, stretched, grey or RGB.

    Resized as torchvision's Resize((size, size)) does: bilinear, antialiased. Transparency becomes white.
    """
    image: Image.Image = Image.open(io.BytesIO(data))
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):  # converting clips 16 bits at 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def decode_named(path: Path, data: bytes, size: int, channels: int) -> np.ndarray:
    """`decode`, with an error that names the file."""
    try:
        return decode(data, size, channels)
    except Exception as error:  # Pillow's decoders raise nearly anything
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> DamagedFileError:
    why = str(error).replace("\n", " ")
    if "cannot identify" in why:  # and goes on about a BytesIO
        why = "no image format is recognised"
    return DamagedFileError(path, f"can't be read as an image ({why}): put a whole copy there, or remove it.")


def decode_all(
    paths: Sequence[Path],
    size: int,
    channels: int,
    threads: int,
    read: Callable[[Path], bytes] = Path.read_bytes,
) -> tuple[np.ndarray, list[str]]:
    """Image files as uint8 [N, channels, size, size], and their sha256s; the first bad one raises."""
    pixels = np.empty((len(paths), channels, size, size), np.uint8)

    def some(start: int) -> list[str]:  # several a task: a task costs as much as a small image
        hashes = []
        for at, path in enumerate(paths[start : start + 64], start):
            data = read(path)
            pixels[at] = decode_named(path, data, size, channels)
            hashes.append(hashlib.sha256(data).hexdigest())
        return hashes

    with ThreadPoolExecutor(threads) as pool:
        try:
            hashes = [sha for part in pool.map(some, range(0, len(paths), 64)) for sha in part]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return pixels, hashes


def check_headers(paths: Sequence[Path], threads: int) -> None:
    """Raises DamagedFileError for the first file that isn't an image by its first bytes."""

    def one(path: Path) -> None:
        try:
            with Image.open(path):
                pass
        except Exception as error:
            raise unreadable(path, error) from error

    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(one, paths):
            pass


def listing_hash(lines: Sequence[str]) -> str:
    """The sha256 of a folder's listing: what stands for hundreds of files in a provenance."""
    return hashlib.sha256("".join(f"{line}\n" for line in sorted(lines)).encode()).hexdigest()


@dataclass(frozen=True)
class PhotoStore:
    """Photos on disk that are decoded as they are asked for: a Store that workers can share.

    y: int64 [N]. `take` gives uint8 [B, channels, size, size]; a photo that can't be read raises there.
    """

    paths: list[str]
    y: Tensor
    size: int
    channels: int

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, index: Tensor) -> tuple[Tensor, Tensor]:
        paths = [Path(self.paths[at]) for at in index.tolist()]
        x = np.empty((len(paths), self.channels, self.size, self.size), np.uint8)
        for row, path in zip(x, paths, strict=True):
            row[:] = decode_named(path, path.read_bytes(), self.size, self.channels)
        return torch.from_numpy(x), self.y[index]


def check_photos(paths: Sequence[Path]) -> tuple[list[str], list[DamagedFileError]]:
    """Each file's sha256, and an error for every one that can't be decoded."""

    def one(path: Path) -> tuple[str, DamagedFileError | None]:
        data = b""
        try:
            data = path.read_bytes()
            decode_named(path, data, 8, 3)
        except OSError as error:
            return "", DamagedFileError(path, f"can't be read: {error.strerror}.")
        except DamagedFileError as error:
            return hashlib.sha256(data).hexdigest(), error
        return hashlib.sha256(data).hexdigest(), None

    with ThreadPoolExecutor() as pool:
        results = list(pool.map(one, paths))
    return [sha for sha, _ in results], [error for _, error in results if error]
