"""Photos: decoded to one size in threads, or read on demand where they don't fit in memory."""

import hashlib
import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from dlcourse.data.raw import DamagedFileError


def decode(data: bytes, size: int, channels: int) -> np.ndarray:
    """An image file's bytes as uint8 [channels, size, size]: upright by its EXIF, stretched to a square, grey or RGB.

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
        raise not_an_image(path, error) from error


def not_an_image(path: Path, error: Exception) -> DamagedFileError:
    """The error for a file that Pillow can't decode."""
    why = str(error).replace("\n", " ")
    if "cannot identify" in why:  # Pillow goes on about a BytesIO
        why = "no image format is recognised"
    return DamagedFileError(f"can't be read as an image ({why}): replace it with an intact copy, or remove it", path)


def decode_all(
    paths: Sequence[Path], size: int, channels: int, read: Callable[[Path], bytes] = Path.read_bytes
) -> tuple[np.ndarray, list[str]]:
    """Image files as uint8 [N, channels, size, size], and their sha256s; the first bad one raises."""
    pixels = np.empty((len(paths), channels, size, size), np.uint8)

    def some(start: int) -> list[str]:  # several per task: starting a task costs as much as a small image
        hashes = []
        for at, path in enumerate(paths[start : start + 64], start):
            data = read(path)
            pixels[at] = decode_named(path, data, size, channels)
            hashes.append(hashlib.sha256(data).hexdigest())
        return hashes

    with ThreadPoolExecutor() as pool:
        try:
            hashes = [sha for part in pool.map(some, range(0, len(paths), 64)) for sha in part]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return pixels, hashes


def shorter_sides(paths: Sequence[Path]) -> list[int]:
    """Each photo's shorter side in pixels, from its header alone; the first file that isn't an image's raises."""

    def one(path: Path) -> int:
        try:
            with Image.open(path) as image:
                return min(image.size)
        except Exception as error:
            raise not_an_image(path, error) from error

    with ThreadPoolExecutor() as pool:
        return list(pool.map(one, paths))


@dataclass(frozen=True)
class PhotoStore:
    """Photos on disk, decoded on demand: a Store that workers can share.

    y: int64 [N]. `take` gives uint8 [B, channels, size, size], and raises DamagedFileError for a damaged photo.
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
    """Each file's sha256, and an error for each file that can't be decoded."""

    def one(path: Path) -> tuple[str, DamagedFileError | None]:
        data = b""
        try:
            data = path.read_bytes()
            decode_named(path, data, 8, 3)
        except OSError as error:
            return "", DamagedFileError(f"can't be read: {error.strerror}", path)
        except DamagedFileError as error:
            return hashlib.sha256(data).hexdigest(), error
        return hashlib.sha256(data).hexdigest(), None

    with ThreadPoolExecutor() as pool:
        results = list(pool.map(one, paths))
    return [sha for sha, _ in results], [error for _, error in results if error]
