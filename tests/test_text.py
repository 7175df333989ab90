"""The reader's parts, and pages composed of a font's letters: found and read whatever they look like."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from skimage.morphology import skeletonize

from dlcourse.core.errors import InputError
from dlcourse.reading import Hand, Letter, Reading, compare, compose, find_ink, fit, load, measure, read
from dlcourse.reading.form import thickness
from dlcourse.reading.handwriting import draw, gap
from dlcourse.reading.ink import SIDE
from dlcourse.reading.letters import possible, seams
from dlcourse.reading.pieces import Piece, find_pieces, in_lines
from dlcourse.reading.reading import settled, space_between
from letters import CLASSES, FORM, alike, letters, nearest

Array = np.ndarray[Any, Any]

TEXT = "PACK MY BOX\nWITH 25 JUGS\nAND FLY"
PLAIN = Hand(height=48)


def page(text: str = TEXT, hand: Hand = PLAIN, seed: int = 0) -> Array:
    return compose(text, letters(), hand, np.random.default_rng(seed))


def read_it(picture: Array, turn: int | None = None, context: bool = False) -> Reading:
    classify, form = nearest()
    return read(picture, classify, CLASSES, form, turn, context)


# --- comparison ----------------------------------------------------------------------------------------------------


@cache
def edits(a: str, b: str) -> int:
    """The edit distance, as it is defined."""
    if not (a and b):
        return len(a) + len(b)
    return min(edits(a[1:], b) + 1, edits(a, b[1:]) + 1, edits(a[1:], b[1:]) + (a[0] != b[0]))


WORDS = st.text("AB1", min_size=1, max_size=7)


@given(WORDS, WORDS)
def test_a_comparison_counts_the_fewest_edits(a: str, b: str) -> None:
    found, back = compare(a, b), compare(b, a)
    confused = found.confused.total()
    assert found.missed + found.made_up + confused == edits(a, b)
    assert found.error_rate == edits(a, b) / len(a) and back.error_rate == edits(a, b) / len(b)
    assert found.characters == len(a) and len(a) - found.missed + found.made_up == len(b)
    assert found.recall == 1 - found.missed / len(a)
    assert all(x != y for x, y in found.confused)


@given(st.text("AB1", min_size=1, max_size=20), st.data())
def test_spaces_lines_punctuation_and_case_do_not_count(text: str, data: st.DataObject) -> None:
    between = st.lists(st.sampled_from(["", " ", "\n", ".", "- "]), min_size=len(text), max_size=len(text))
    spread = "".join(c + x for c, x in zip(text.lower(), data.draw(between), strict=True))
    for a, b in ((text, spread), (spread, text)):
        found = compare(a, b)
        assert found.error_rate == 0 and found.recall == 1 and not found.confused


def test_a_comparison_names_what_was_taken_for_what() -> None:
    found = compare("ZOO 1A", "Z00IA7")
    assert found.confused == {("O", "0"): 2, ("1", "I"): 1}
    assert (found.missed, found.made_up, found.characters) == (0, 1, 5)
    assert compare("ABC", "").missed == 3 and compare("ABC", "").recall == 0
    for nothing in ("", " \n", "...!"):
        with pytest.raises(InputError, match="no letter or digit"):
            compare(nothing, "A")


# --- form ----------------------------------------------------------------------------------------------------------


def bars(side: int, high: int, wide: int, pen: int, dark: bool) -> Array:
    """A T of straight strokes in the middle of a square, uint8."""
    ink = np.zeros((side, side), np.uint8)
    top, left = (side - high) // 2, (side - wide) // 2
    ink[top : top + pen, left : left + wide] = 255
    ink[top : top + high, left + (wide - pen) // 2 : left + (wide - pen) // 2 + pen] = 255
    return 255 - ink if dark else ink


@pytest.mark.parametrize("dark", [True, False])
@pytest.mark.parametrize("pen", [2, 3, 5])
def test_a_form_is_what_letters_were_drawn_with(dark: bool, pen: int) -> None:
    images = [bars(32, 22, 14, pen, dark), bars(32, 22, 14, pen, dark), bars(32, 11, 22, pen, dark)]
    blank = np.full((32, 32), 255 if dark else 0, np.uint8)
    form = measure(np.stack([*images, blank, blank]), np.array([0, 0, 1, 0, 2]), 3)
    assert (form.side, form.dark, form.extent) == (32, dark, 22)
    assert form.thickness == pytest.approx(pen, rel=0.15)
    assert form.slender[0] == pytest.approx((math.log(22 / 14), 0))
    assert [list(form.slender[k]) for k in (1, 2)] == [[0, math.inf]] * 2, "one letter or none says nothing"


@pytest.mark.parametrize("pen", [1, 2, 4, 9])
def test_thickness_of_a_bar_and_of_a_slanting_stroke(pen: int) -> None:
    bar = np.zeros((60, 60), bool)
    bar[5:55, 20 : 20 + pen] = True
    assert thickness(bar) == pytest.approx(pen, rel=0.2)
    assert thickness(np.zeros((5, 5), bool)) == 0


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["noise", "spots", "rectangle", "dot", "nothing"]),
    high=st.integers(1, 90),
    wide=st.integers(1, 90),
    dark=st.booleans(),
    seed=st.integers(0, 999),
)
def test_anything_takes_the_form(kind: str, high: int, wide: int, dark: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    blob = np.zeros((high, wide))
    if kind in ("noise", "spots"):
        blob = rng.random((high, wide)) ** (1 if kind == "noise" else 9)
    elif kind == "rectangle":
        blob[high // 3 :, : wide // 2 + 1] = 1
    elif kind == "dot":
        blob[high // 2, wide // 2] = 1
    one, other = (fit(blob, replace(FORM, dark=d)) for d in (dark, not dark))
    assert one.shape == (FORM.side, FORM.side) and one.dtype == np.uint8
    assert (one == 255 - other).all()
    assert (blob > 0.5).any() or (one == (255 if dark else 0)).all(), "no ink, no letter"


@settings(max_examples=40, deadline=None)
@given(
    side=st.integers(24, 250),
    pen=st.floats(0.05, 0.2),
    wide=st.floats(0.6, 1.3),
    extent=st.sampled_from([18.0, 24.0]),
    stroke=st.sampled_from([2.0, 2.6, 4.0]),
)
def test_strokes_of_any_size_get_the_forms_extent_and_thickness(
    side: int, pen: float, wide: float, extent: float, stroke: float
) -> None:
    drawn = bars(2 * side, side, round(wide * side), max(2, round(pen * side)), dark=False) / 255
    ink = 255 - fit(drawn, replace(FORM, extent=extent, thickness=stroke)).astype(float)
    rows, columns = (np.flatnonzero((ink > 127).any(axis)) for axis in (1, 0))
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == pytest.approx(extent, abs=1.1)
    for sides in (rows, columns):
        assert sides[0] + sides[-1] == pytest.approx(FORM.side - 1, abs=1.1), "in the middle"
    assert ink[: rows[0] + int(extent) // 2, columns[2]].sum() / 255 == pytest.approx(stroke, abs=1.3), "of the bar"
    assert ink[rows[-3]].sum() / 255 == pytest.approx(stroke, abs=1.3), "of the stem"


def test_every_piece_may_be_a_letter_of_however_many_strokes() -> None:
    """Else there would be no way through a line."""
    crumbs = Piece(0, 0, 40, 90, frozenset(range(1, 8)), frozenset(range(1, 8)))
    line = [crumbs, Piece(0, 100, 40, 130, frozenset([8]), frozenset([8]))]
    assert {(c.first, c.last) for c in possible(line, 0.0)} >= {(0, 1), (1, 2)}


@settings(max_examples=5, deadline=None)
@given(height=st.integers(32, 100), pen=st.floats(0.06, 0.15), extent=st.sampled_from([20.0, 24.0]))
def test_letters_of_any_size_and_pen_look_the_same(height: int, pen: float, extent: float) -> None:
    form, rng = replace(FORM, extent=extent), np.random.default_rng(0)
    hands = Hand(height=height, pen=max(pen, 3 / height), jitter=0), Hand(height=120, pen=0.1, jitter=0)
    images = [[fit(draw(letters()[c], hand, rng, c), form) for c in CLASSES] for hand in hands]
    one, other = (255 - np.array(row).astype(float) for row in images)
    assert np.median(np.abs(one - other).sum((1, 2)) / other.sum((1, 2))) < 0.45
    strokes = [float(np.mean([thickness(image > 127) for image in row])) for row in (one, other)]
    assert strokes[0] == pytest.approx(strokes[1], rel=0.25)


# --- ink and pieces ------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    high=st.integers(1, 70),
    wide=st.integers(1, 70),
    level=st.floats(0.3, 1),
    slope=st.floats(-0.3, 0.3),
    noise=st.sampled_from([0, 0.001]),
)
def test_paper_has_no_ink(high: int, wide: int, level: float, slope: float, noise: float) -> None:
    rows, columns = np.linspace(-1, 1, high)[:, None], np.linspace(-1, 1, wide)
    paper = level + slope * (rows + columns) / 2 + noise * np.random.default_rng(0).normal(size=(high, wide))
    assert read_it(np.clip(paper, 0, 1).astype(np.float32)).text == ""


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (2, 2), (50, 50), (700, 900)])
@pytest.mark.parametrize("noise", [0, 0.02, 0.1])
def test_an_empty_page_of_any_size_is_read_as_nothing(shape: tuple[int, int], noise: float) -> None:
    paper = 0.8 + noise * np.random.default_rng(0).normal(size=shape)
    assert read_it(np.clip(paper, 0, 1).astype(np.float32)) == Reading([])


LIGHT = {
    "even": lambda y, x: 0.9 + 0 * x * y,
    "a gradient": lambda y, x: 0.4 + 0.5 * x + 0 * y,
    "a shadow's edge": lambda y, x: np.where(x + 0.3 * y > 0.6, 0.4, 0.9),
}


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("light", LIGHT)
def test_ink_is_what_was_drawn(light: str, negative: bool) -> None:
    drawn = np.zeros((300, 400), bool)
    drawn[60:240, 80:88] = drawn[60:68, 80:300] = drawn[150:158, 80:250] = drawn[60:240, 300:308] = True
    rows, columns = np.linspace(0, 1, 300)[:, None], np.linspace(0, 1, 400)[None, :]
    picture = (LIGHT[light](rows, columns) * np.where(drawn, 0.4, 1)).astype(np.float32)
    ink = find_ink(1 - picture if negative and light == "even" else picture)
    assert ink is not None
    assert (ink.mask & drawn).sum() / (ink.mask | drawn).sum() > 0.75
    assert ink.darkness.min() >= 0 and ink.darkness.max() <= 1


def test_what_is_no_letter_is_no_piece() -> None:
    mask = np.zeros((400, 600), bool)
    for left in (100, 160, 220, 280):  # four letters: outlines of 40×30
        mask[150:190, left : left + 30] = True
        mask[156:184, left + 6 : left + 24] = False
    alone, _ = find_pieces(ink_of(mask))
    assert sorted((p.top, p.left, p.bottom, p.right) for p in alone) == [
        (150, left, 190, left + 30) for left in (100, 160, 220, 280)
    ]
    mask[220:223, 50:550] = True  # a rule
    mask[0:300, 590:] = True  # the table beside the page
    mask[300:330, 20:50] = True  # something solid
    mask[186:190, 320:323] = True  # a speck
    with_others, _ = find_pieces(ink_of(mask))
    assert {(p.top, p.left) for p in with_others} == {(p.top, p.left) for p in alone}


def ink_of(mask: Array) -> Any:
    from dlcourse.reading.ink import Ink

    return Ink(mask.astype(np.float32), mask)


def box(top: float, left: float, high: float, wide: float, name: int) -> Piece:
    labels = frozenset([name])
    return Piece(round(top), round(left), round(top + high), round(left + wide), labels, labels)


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(2, 14), min_size=1, max_size=6),
    tilt=st.floats(-4, 4),
    leading=st.floats(0.8, 1.6),
    rng=st.randoms(use_true_random=False),
)
def test_lines_come_from_top_to_bottom_and_letters_from_left_to_right(
    lengths: list[int], tilt: float, leading: float, rng: Any
) -> None:
    pieces, expected, name = [], [], 0
    for number, length in enumerate(lengths):
        x, names = 40.0, []
        for _ in range(length):
            high, wide = 40 * rng.uniform(0.85, 1.15), 40 * rng.uniform(0.4, 0.9)
            top = number * 40 * (1 + leading) + math.tan(math.radians(tilt)) * x + rng.uniform(-3, 3) + 200
            pieces.append(box(top, x, high, wide, name))
            names.append(name)
            name, x = name + 1, x + wide + 40 * rng.uniform(0.1, 0.8)
        expected.append(names)
    rng.shuffle(pieces)
    assert [[next(iter(p.labels)) for p in line] for line in in_lines(pieces)] == expected
    assert in_lines([]) == []


def test_parts_of_broken_letters_belong_to_the_line_that_they_lie_in() -> None:
    row = [box(100, 50 * k, 40, 30, k) for k in range(6)] + [box(180, 50 * k, 40, 30, 10 + k) for k in range(6)]
    bar = box(98, 105, 6, 28, 20)  # of the third letter of the upper line
    upper, lower = in_lines([*row, bar])
    assert bar in upper and bar not in lower


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.integers(1, 6), st.randoms(use_true_random=False))
def test_seams_cross_the_least_ink(high: int, wide: int, rng: Any) -> None:
    strokes = np.array([[rng.random() < 0.5 for _ in range(wide)] for _ in range(high)])
    total, paths = seams(strokes)
    assert total.shape == (wide,) and paths.shape == (high, wide)
    ways = [w for w in product(range(wide), repeat=high) if all(abs(a - b) <= 1 for a, b in pairwise(w))]
    for column in range(wide):
        path = paths[:, column].tolist()
        assert path[-1] == column and tuple(path) in ways
        crossed = int(strokes[np.arange(high), path].sum())
        assert round(float(total[column])) == crossed
        assert crossed == min(int(strokes[np.arange(high), list(w)].sum()) for w in ways if w[-1] == column)


# --- words ---------------------------------------------------------------------------------------------------------


@given(
    narrow=st.lists(st.floats(-0.05, 0.35), min_size=3, max_size=40),
    wide=st.lists(st.floats(0.9, 1.3), min_size=1, max_size=10),
)
def test_a_space_is_the_wider_of_two_kinds_of_gap(narrow: list[float], wide: list[float]) -> None:
    assume(
        4 * len(wide) >= len(narrow) >= len(wide)
    )  # with one space in twenty gaps two kinds of narrow ones are told apart
    assert max(narrow) < space_between([*narrow, *wide]) < min(wide)


@given(st.lists(st.floats(0.25, 0.4), max_size=20))
def test_gaps_of_one_kind_are_no_spaces(gaps: list[float]) -> None:
    assert space_between(gaps) == math.inf


def word(text: str, line: int = 0, number: int = 0) -> list[Letter]:
    return [Letter((0, 0, 1, 1), c, 0.9, "A", line, number) for c in text]


@pytest.mark.parametrize(
    ("read_as", "means"),
    [
        ("B00K", "BOOK"),
        ("H3LL0", "H3LLO"),
        ("A1B2C3", "AIBZC3"),
        ("7O9I", "7091"),
        ("T0", "TO"),
        ("1O", "1O"),  # nothing else to go by
        ("O", "O"),
        ("A17", "A17"),  # as many letters as digits
        ("XYZ", "XYZ"),
    ],
)
def test_a_words_other_characters_settle_what_is_written_alike(read_as: str, means: str) -> None:
    after = settled([*word(read_as), *word("9999", 0, 1), *word("WWWW", 1, 0)])
    assert "".join(x.text for x in after[: len(read_as)]) == means
    for before, now in zip(word(read_as), after, strict=False):
        assert now.second == (before.text if now.text != before.text else "A")


# --- whole pages ---------------------------------------------------------------------------------------------------

HANDS = {
    "plain": PLAIN,
    "small": Hand(height=32),
    "large": Hand(height=200),
    "tight": replace(PLAIN, gap=0.12, space=0.7),
    "wide": replace(PLAIN, gap=0.8, space=2.2),
    "bold": replace(PLAIN, pen=0.18),
    "thin": Hand(height=80, pen=0.05),
    "rising": replace(PLAIN, tilt=-4.0),
    "falling": replace(PLAIN, tilt=4.0),
    "slanted": replace(PLAIN, slant=10.0),
    "slanted back": replace(PLAIN, slant=-10.0),
    "uneven": replace(PLAIN, jitter=0.16),
    "in shadow": replace(PLAIN, shadow=0.5),
    "noisy": replace(PLAIN, noise=0.04),
    "faint": replace(PLAIN, ink=0.2),
    "white on black": replace(PLAIN, negative=True),
    "all at once": Hand(height=80, shadow=0.4, noise=0.02, tilt=3, slant=6, ink=0.4),
}


@pytest.mark.parametrize("hand", HANDS)
def test_a_page_is_read(hand: str) -> None:
    picture = page(hand=HANDS[hand])
    reading = read_it(picture)
    assert alike(reading.text) == alike(TEXT)
    for letter in reading.letters:
        top, left, bottom, right = letter.box
        assert 0 <= top < bottom <= picture.shape[0] and 0 <= left < right <= picture.shape[1]
        assert 0 < letter.probability <= 1 and letter.second in CLASSES and letter.second != letter.text


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("height", [40, 200])
@pytest.mark.parametrize("text", ["I", "L", "A7", "HELLO", "LET IT\nTILT"])
def test_a_word_that_fills_its_photo_is_read(text: str, height: int, negative: bool) -> None:
    assert alike(read_it(page(text, Hand(height=height, negative=negative))).text) == alike(text)


@pytest.mark.parametrize("turned", [0.0, 5.0])
def test_a_sheet_on_a_dark_table_is_read(turned: float) -> None:
    sheet = np.pad(page(), ((80, 80), (80, 80)), mode="edge")
    table = ndimage.rotate(np.pad(sheet, 100, constant_values=-1), turned, order=1, cval=-1)
    grain = 0.15 + 0.02 * ndimage.gaussian_filter(np.random.default_rng(0).normal(size=table.shape), 2)
    picture = np.where(table < 0, grain, table).astype(np.float32)
    assert alike(read_it(picture).text) == alike(TEXT)


def test_full_stops_are_no_letters() -> None:
    text = "1 MAKE A LIST\n2 CHECK IT\n3 REST"
    assert alike(read_it(page(text, replace(PLAIN, stops=True))).text) == alike(text)


def rate(hand: Hand, seeds: Sequence[int] = (0, 1, 2)) -> tuple[float, float]:
    """The error rate and the recall over some pages."""
    found = [compare(alike(TEXT), alike(read_it(page(hand=hand, seed=seed)).text)) for seed in seeds]
    return float(np.mean([c.error_rate for c in found])), float(np.mean([c.recall for c in found]))


def test_broken_letters_are_joined_mostly() -> None:
    error, recall = rate(replace(PLAIN, broken=0.5))
    assert error < 0.25 and recall > 0.95


def test_touching_letters_are_cut_mostly() -> None:
    error, recall = rate(replace(PLAIN, gap=0.0, space=0.8))
    assert error < 0.45 and recall > 0.75


def test_a_gap_parts_a_stroke_and_the_pen_is_as_thick_as_it_says() -> None:
    rng = np.random.default_rng(0)
    whole, broken = (draw(letters()["I"], Hand(height=100, broken=p, jitter=0), rng, "I") for p in (0, 1))
    assert thickness(whole > 0.5) == pytest.approx(0.09 * 100, rel=0.15)
    assert broken.sum() < whole.sum()
    line = skeletonize(whole > 0.5)
    assert (line & ~gap(line, 5.0, rng)).sum() < line.sum()


def test_composed_pages_are_drawn_from_their_seed_and_have_a_margin() -> None:
    assert (page() == page()).all() and (page() != page(seed=1)).any() if page().shape == page(seed=1).shape else True
    for tilt in (-4.0, 0.0, 4.0):
        picture = page(hand=replace(PLAIN, tilt=tilt, noise=0.0))
        ink = find_ink(picture)
        assert ink is not None and picture.dtype == np.float32
        for edge in (ink.mask[:20], ink.mask[-20:], ink.mask[:, :20], ink.mask[:, -20:]):
            assert not edge.any()


@pytest.mark.parametrize(
    ("turn", "way"), [(90, "turned to the right"), (180, "upside-down"), (270, "turned to the left")]
)
def test_a_turned_page_is_refused_and_read_turned_back(turn: int, way: str) -> None:
    turned = np.rot90(page(), -turn // 90)
    with pytest.raises(InputError, match=f"{way}: turn={turn} ") as raised:
        read_it(turned)
    assert "\n" not in str(raised.value)
    assert alike(read_it(turned, turn=turn).text) == alike(TEXT)
    assert compare(TEXT, read_it(turned, turn=0).text).error_rate > 0.4


def test_a_few_letters_are_no_reason_to_refuse_a_page() -> None:
    assert 0 < len(read_it(np.rot90(page("FPR\nG7"), 2)).letters) < 6


def test_context_is_off_unless_asked_for() -> None:
    picture = page("SOLD 2057")
    as_read, by_kind = read_it(picture), read_it(picture, context=True)
    assert by_kind.text == "SOLD 2057"
    assert alike(as_read.text) == alike(by_kind.text)
    assert [x.box for x in as_read.letters] == [x.box for x in by_kind.letters]


# --- photos --------------------------------------------------------------------------------------------------------


def grey_page() -> Image.Image:
    return Image.fromarray(np.rint(255 * page()).astype(np.uint8))


def saved(folder: Path, kind: str) -> Path:
    """The page as a photo of that kind."""
    grey, path = grey_page(), folder / f"{kind}.png"
    pixels = np.asarray(grey)
    if kind == "colour":
        grey = Image.merge("RGB", [grey.point(lambda v, f=f: int(v * f)) for f in (1.0, 0.95, 0.8)])
    elif kind == "transparent":
        ink = Image.fromarray(255 - pixels)
        grey = Image.merge("RGBA", [grey.point(lambda v: 0)] * 3 + [ink])
    elif kind == "grey with alpha":
        grey = Image.merge("LA", [grey.point(lambda v: 0), Image.fromarray(255 - pixels)])
    elif kind == "16 bits":
        grey = Image.fromarray(pixels.astype(np.uint16) * 200 + 500)
    elif kind == "floats":
        path, grey = path.with_suffix(".tiff"), Image.fromarray(pixels.astype(np.float32) / 17)
    elif kind == "palette":
        grey = grey.convert("RGB").quantize(16)
    elif kind == "black and white":
        grey = grey.point(lambda v: 255 * (v > 110)).convert("1")
    elif kind == "CMYK":
        path, grey = path.with_suffix(".jpg"), grey.convert("CMYK")
    grey.save(path)
    return path


@pytest.mark.parametrize(
    "kind",
    ["grey", "colour", "transparent", "grey with alpha", "16 bits", "floats", "palette", "black and white", "CMYK"],
)
def test_photos_of_all_kinds_are_read(kind: str, tmp_path: Path) -> None:
    picture, pixels = load(saved(tmp_path, kind))
    assert picture.dtype == np.float32 and picture.shape == page().shape and pixels == 1
    assert 0 <= picture.min() < picture.max() <= 1
    assert alike(read_it(picture).text) == alike(TEXT)


def test_a_photo_is_loaded_upright_and_no_larger_than_needed(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn to the right to see it so
    grey_page().transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    assert (load(tmp_path / "turned.png")[0] == np.rint(255 * page()) / np.float32(255)).all()
    Image.new("L", (4000, 3000)).save(tmp_path / "large.png")
    picture, pixels = load(tmp_path / "large.png")
    assert picture.shape == (SIDE * 3 // 4, SIDE) and pixels == pytest.approx(4000 / SIDE)
    Image.new("L", (9000, 1)).save(tmp_path / "thin.png")
    assert read_it(load(tmp_path / "thin.png")[0]).text == ""


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP"]),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8),
    kept=st.floats(0, 1),
)
def test_a_damaged_photo_is_a_sentence_or_a_picture(
    kind: str, changes: list[tuple[float, int]], kept: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged"
    Image.fromarray(np.arange(1200, dtype=np.uint8).reshape(30, 40)).save(path, kind)
    data = bytearray(path.read_bytes())
    for where, value in changes:
        data[int(where**2 * (len(data) - 1))] = value
    path.write_bytes(data[: max(1, int(math.sqrt(kept) * len(data)))])
    try:
        picture, _ = load(path)
    except InputError as error:
        assert str(error).startswith(f"page={path} can't be read as a picture: ") and "\n" not in str(error)
    else:
        assert picture.ndim == 2 and 0 <= picture.min() <= picture.max() <= 1
