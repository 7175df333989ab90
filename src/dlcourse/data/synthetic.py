"""Drawn stand-ins, seeded: letters from fonts, and colour images of textures and shapes.

They have the form of the data sets they stand for and can be learned, but prove nothing about them.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from dlcourse.core.errors import InputError
from dlcourse.data.raw import Reading, Split

FONTS = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSansMono-Bold"),
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic"),
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "cmr10", "cmss10", "cmtt10", "cmb10"),
)


# ---------------------------------------------------------------------------------------------------- NIST36


def fonts(pixels: int) -> list[ImageFont.FreeTypeFont]:
    """Matplotlib's fonts, found without importing it."""
    spec = find_spec("matplotlib")
    if spec is None or not spec.submodule_search_locations:
        raise InputError("NIST36's stand-in is drawn with matplotlib's fonts: pip install matplotlib")
    folder = Path(spec.submodule_search_locations[0], "mpl-data", "fonts", "ttf")
    return [ImageFont.truetype(folder / f"{name}.ttf", pixels) for name in FONTS if (folder / f"{name}.ttf").is_file()]


def glyphs(classes: list[str], counts: tuple[int, int, int]) -> Reading:
    """Grey images of 32×32, `counts` per class: a font's letter, rotated, sheared, thickened, blurred."""
    rng = np.random.default_rng(36)
    drawn = [[draw_glyph(font, letter) for font in fonts(48)] for letter in classes]
    parts: list[Split] = []
    for count in counts:
        x = np.stack([warp(letters[rng.integers(len(letters))], rng) for letters in drawn for _ in range(count)])
        parts.append((x[:, None], np.repeat(np.arange(len(classes)), count)))
    train, val, test = parts
    detail = f"letters and digits drawn with matplotlib's fonts and warped, {'/'.join(map(str, counts))} per class"
    return Reading(train, val, test, classes, False, f"{detail}: not handwriting")


def draw_glyph(font: ImageFont.FreeTypeFont, letter: str) -> Image.Image:
    """A letter in the middle of 64×64, white on black, its longer side 44 pixels."""
    left, top, right, bottom = font.getbbox(letter)
    image = Image.new("L", (int(right - left) + 2, int(bottom - top) + 2))
    ImageDraw.Draw(image).text((1 - left, 1 - top), letter, font=font, fill=255)
    scale = 44 / max(image.size)
    image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    canvas = Image.new("L", (64, 64))
    canvas.paste(image, ((64 - image.width) // 2, (64 - image.height) // 2))
    return canvas


def warp(image: Image.Image, rng: np.random.Generator) -> np.ndarray:
    """A 64×64 glyph as uint8 [32, 32], dark on white, differently each time."""
    angle, shear = rng.normal(0, 0.12), rng.normal(0, 0.15)
    stretch = np.exp(rng.normal(0, 0.12, 2)) * rng.uniform(0.85, 1.15)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    inverse = np.linalg.inv(turn @ np.array([[1, shear], [0, 1]]) @ np.diag(stretch))
    shift = 32 - inverse @ (32 + rng.uniform(-4, 4, 2))
    matrix = (*inverse[0], shift[0], *inverse[1], shift[1])
    image = image.transform((64, 64), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    thickness = rng.integers(4)
    if thickness == 1:
        image = image.filter(ImageFilter.MaxFilter(3))
    elif thickness == 2:
        image = image.filter(ImageFilter.MaxFilter(5))
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2)))
    small = np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR), np.float32)
    return (255 - np.clip(small * rng.uniform(0.8, 1.3), 0, 255)).astype(np.uint8)


# --------------------------------------------------------------------------------------------- colour images


def textures(classes: list[str], size: int, channels: int, counts: tuple[int, int, int]) -> Reading:
    """A class is a grating (its direction and width) behind a shape, in two colours, all jittered."""
    rng = np.random.default_rng(17)
    parts: list[Split] = []
    for count in counts:
        x = np.empty((len(classes) * count, channels, size, size), np.uint8)
        for label in range(len(classes)):
            x[label * count : (label + 1) * count] = draw_class(label, len(classes), count, size, channels, rng)
        parts.append((x, np.repeat(np.arange(len(classes)), count)))
    train, val, test = parts
    detail = f"drawn textures and shapes, {'/'.join(map(str, counts))} per class: only the form of the data set"
    return Reading(train, val, test, classes, False, detail)


def draw_class(label: int, classes: int, n: int, size: int, channels: int, rng: np.random.Generator) -> np.ndarray:
    """uint8 [n, channels, size, size]; drawn at 64×64 at most and enlarged."""
    side = min(size, 64)
    v, u = np.meshgrid(*[np.linspace(-1, 1, side, dtype=np.float32)] * 2, indexing="ij")

    def jitter(spread: float) -> np.ndarray:
        return rng.normal(0, spread, (n, 1, 1)).astype(np.float32)

    direction = np.pi * label / classes + jitter(0.15)
    waves = (3 + 2 * (label % 3)) * np.exp(jitter(0.1))
    grating = 0.5 + 0.5 * np.sin(np.pi * waves * (u * np.cos(direction) + v * np.sin(direction)) + 7 * jitter(1))

    du, dv, radius = u - jitter(0.25), v - jitter(0.25), 0.45 * np.exp(jitter(0.2))
    corners = (0.0, 3.0, 4.0, 5.0)[label % 4]  # a disc, or a star with this many points
    edge = radius * (1 + 0.35 * np.cos(corners * np.arctan2(dv, du) + jitter(0.5)))
    mask = 1 / (1 + np.exp(-20 * (edge - np.hypot(du, dv))))

    hues = np.array([label / classes, label * 0.618 % 1])[:, None] + rng.normal(0, 0.06, (2, n))
    behind, before = 0.5 + 0.4 * np.cos(2 * np.pi * (hues[..., None] - np.arange(3) / 3))  # [n, 3] each
    light = np.exp(rng.normal(0, 0.25, (n, 1, 1, 1)))
    image = (0.4 + 0.6 * grating[:, None]) * behind[..., None, None]
    image = image + mask[:, None] * (before[..., None, None] - image)
    image = image * light + rng.normal(0, 0.08, image.shape)
    pixels = (255 * np.clip(image, 0, 1)).astype(np.uint8)
    if channels == 1:
        pixels = np.rint(pixels.mean(axis=1, keepdims=True)).astype(np.uint8)
    if side == size:
        return pixels
    large = [
        Image.fromarray(plane).resize((size, size), Image.Resampling.BICUBIC)
        for plane in pixels.reshape(-1, side, side)
    ]
    return np.stack([np.asarray(plane) for plane in large]).reshape(n, channels, size, size)
