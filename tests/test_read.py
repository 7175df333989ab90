"""`python -m dlcourse.read`: what it prints and leaves, and what it says to photos, runs and words that are none."""

import csv
import json
import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from dlcourse import read as reading
from dlcourse import runs
from dlcourse.core import cli
from dlcourse.reading import Hand, compare, compose, load
from dlcourse.reading.reader import FORM, open_reader
from letters import CLASSES, alike, letters

pytestmark = pytest.mark.xdist_group("reader")  # trained once

TEXT = "PACK MY BOX\nWITH 25 JUGS\nAND FLY"
NIST36 = ("data=nist36", "data.source=stand-in", "trainer.accelerator=cpu", "trainer.figures=false", "logger=none")

Ran = tuple[int, str, str]  # exit code, stdout, stderr


@pytest.fixture(scope="module")
def trained(config: Callable[..., dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small convnet on letters drawn with fonts, trained for seconds."""
    from dlcourse.training import fit

    folder = tmp_path_factory.mktemp("reader") / "run"
    folder.mkdir()
    schedule = ("optimizer=adamw", "optimizer.lr=0.003", "schedule=cosine", "data.batch_size=64", "data.epochs=3")
    fit.train(config(*NIST36, *schedule, "model=cnn", "model.net.channels=[16,32]"), folder)
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy, which a test may damage."""
    return Path(shutil.copytree(trained, tmp_path / "a run=ü"))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Ran]:
    """`command("run=...", "page=...")`: as it is typed, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging, "raiseExceptions", False)  # as cli.run leaves it

    def ran(*arguments: str) -> Ran:
        monkeypatch.setattr("sys.argv", ["read", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.run_command(reading.main)
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        return int(left.value.code or 0), captured.out, captured.err

    return ran


@pytest.fixture
def mistake(command: Callable[..., Ran]) -> Callable[..., str]:
    """The one sentence that is said to these arguments, with exit code 2."""

    def said(*arguments: str) -> str:
        code, out, err = command(*arguments)
        assert (code, out) == (2, "")
        assert err.startswith("error: ") and err.count("\n") == 1
        return err[7:-1]

    return said


def page(text: str = TEXT, hand: Hand | None = None) -> np.ndarray:
    return compose(text, letters(), hand or Hand(height=48), np.random.default_rng(0))


def save(picture: np.ndarray, path: Path, **options: Any) -> Path:
    Image.fromarray(np.rint(255 * picture).astype(np.uint8)).save(path, **options)
    return path


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return save(page(), tmp_path / "a [photo].png")


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "letters.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def boxes(folder: Path) -> np.ndarray:
    return np.array([[int(row[side]) for side in ("top", "left", "bottom", "right")] for row in table(folder)])


# --- what it leaves ------------------------------------------------------------------------------------------------


def test_a_page_is_printed_and_what_is_left_agrees(
    trained: Path, photo: Path, tmp_path: Path, command: Callable[..., Ran]
) -> None:
    (tmp_path / "truth.txt").write_text(TEXT.lower(), encoding="utf-8")
    code, printed, _ = command(f"run={trained}", f"page={photo}", "truth=truth.txt")
    out = tmp_path / "outputs" / "pages" / "a [photo]"
    assert code == 0 and sorted(p.name for p in out.iterdir()) == [
        "letters.csv", "letters.png", "scores.json", "text.txt",
    ]  # fmt: skip
    text = (out / "text.txt").read_text(encoding="utf-8")
    assert printed.startswith(text) and [len(line.split()) for line in text.splitlines()] == [3, 3, 2]
    assert compare(alike(TEXT), alike(text)).error_rate < 0.25

    rows = table(out)
    lines: dict[str, dict[str, str]] = {}
    for row in rows:
        words = lines.setdefault(row["line"], {})
        words[row["word"]] = words.get(row["word"], "") + row["text"]
    assert "\n".join(" ".join(words.values()) for words in lines.values()) + "\n" == text
    assert list(lines) == ["1", "2", "3"] and list(lines["1"]) == ["1", "2", "3"]
    assert all(0 < float(row["probability"]) <= 1 and row["second"] in CLASSES for row in rows)
    picture, _ = load(photo)
    for top, left, bottom, right in boxes(out):
        inside = picture[top:bottom, left:right]
        assert inside.min() < 0.5 * picture.max(), "there is ink in each box"

    scores, found = json.loads((out / "scores.json").read_text()), compare(TEXT, text)
    assert scores["error_rate"] == found.error_rate and scores["recall"] == found.recall
    assert (scores["characters"], scores["missed"], scores["made_up"]) == (25, found.missed, found.made_up)
    assert sum(pair["times"] for pair in scores["confused"]) == found.confused.total()
    assert Image.open(out / "letters.png").width > 500

    assert command(f"run={trained}", f"page={photo}")[0] == 0
    assert not (out / "scores.json").exists(), "none of an earlier reading stays"


def test_boxes_are_in_the_photos_own_pixels(trained: Path, tmp_path: Path, command: Callable[..., Ran]) -> None:
    picture = page("PACK MY BOX WITH\nFIVE JUGS")
    exif = Image.Exif()
    exif[0x0112] = 6
    photos = {
        "plain": save(picture, tmp_path / "plain.png"),
        "turned by the camera": save(np.rot90(picture), tmp_path / "turned.png", exif=exif),
        "large": save(np.kron(picture, np.ones((3, 3))), tmp_path / "large.png"),
    }
    found = {}
    for name, path in photos.items():
        assert command(f"run={trained}", f"page={path}", f"out=out/{name}")[0] == 0
        found[name] = boxes(tmp_path / "out" / name)
    assert max(Image.open(photos["large"]).size) > 2400, "so it is made smaller first"
    assert len(found["plain"]) == 21
    assert (found["turned by the camera"] == found["plain"]).all()
    np.testing.assert_allclose(found["large"], 3 * found["plain"], atol=2 * 3)


@pytest.mark.parametrize("kind", ["blank", "black", "noise", "50×50", "1×1"])
def test_an_empty_page_has_no_letters_and_still_its_files(
    kind: str, trained: Path, tmp_path: Path, command: Callable[..., Ran]
) -> None:
    sizes = {"50×50": (50, 50), "1×1": (1, 1)}
    picture = np.full(sizes.get(kind, (400, 300)), 0.0 if kind == "black" else 0.9)
    if kind == "noise":
        picture += 0.03 * np.random.default_rng(0).normal(size=picture.shape)
    path = save(np.clip(picture, 0, 1), tmp_path / "page.png")
    (tmp_path / "truth.txt").write_text("ABC")
    code, printed, _ = command(f"run={trained}", f"page={path}", "truth=truth.txt", "out=out")
    assert code == 0 and printed.startswith("(no letters)\n")
    assert (tmp_path / "out" / "text.txt").read_text() == "\n" and table(tmp_path / "out") == []
    assert (tmp_path / "out" / "letters.png").is_file()
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert (scores["error_rate"], scores["recall"], scores["missed"]) == (1, 0, 3)


def test_a_photo_of_something_else_is_doubted(
    trained: Path, tmp_path: Path, command: Callable[..., Ran], caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(0)
    blots = ndimage.gaussian_filter(rng.normal(size=(300, 400)), 5)
    path = save(np.where(blots > 1.2 * blots.std(), 0.2, 0.9), tmp_path / "blots.png")
    code, printed, _ = command(f"run={trained}", f"page={path}", "turn=0")
    assert code == 0 and not printed.startswith("(no letters)")
    assert "is this a page of capital letters and digits?" in caplog.text


def test_a_small_picture_of_one_letter(trained: Path, tmp_path: Path, command: Callable[..., Ran]) -> None:
    path = save(1 - np.pad(letters()["H"][0, ::2, ::2], 9), tmp_path / "h.png")
    code, printed, _ = command(f"run={trained}", f"page={path}")
    assert Image.open(path).size == (50, 50)
    assert code == 0 and printed.splitlines()[0] == "H"


def test_a_page_upside_down_is_a_sentence_and_turned_back_it_is_read(
    trained: Path, tmp_path: Path, command: Callable[..., Ran], mistake: Callable[..., str]
) -> None:
    path = save(np.rot90(page(), 2), tmp_path / "page.png")
    assert "upside-down: turn=180 " in mistake(f"run={trained}", f"page={path}")
    assert not (tmp_path / "outputs").exists()
    assert command(f"run={trained}", f"page={path}", "turn=180", "out=back")[0] == 0
    assert command(f"run={trained}", f"page={save(page(), tmp_path / 'upright.png')}", "out=out")[0] == 0
    text = (tmp_path / "back" / "text.txt").read_text()
    assert compare(TEXT, text).error_rate < 0.25
    np.testing.assert_allclose(boxes(tmp_path / "back"), boxes(tmp_path / "out"), atol=3)


def test_a_large_colour_photo_in_shadow_is_read_in_time(
    trained: Path, tmp_path: Path, command: Callable[..., Ran]
) -> None:
    grey = Image.fromarray(np.rint(255 * page(hand=Hand(height=80, shadow=0.5, tilt=2))).astype(np.uint8))
    colours = [grey.point(lambda v, f=f: int(v * f)) for f in (1.0, 0.93, 0.75)]
    Image.merge("RGB", colours).resize((4000, 3000)).save(tmp_path / "photo.jpg", quality=80)
    began = time.monotonic()
    code, printed, _ = command(f"run={trained}", f"page={tmp_path / 'photo.jpg'}")
    assert code == 0 and time.monotonic() - began < 15  # 3 on a machine of its own
    assert len(printed.splitlines()) >= 3


# --- what is no page, no run, no truth -----------------------------------------------------------------------------


def test_what_is_no_picture(trained: Path, photo: Path, tmp_path: Path, mistake: Callable[..., str]) -> None:
    def refused(path: Path) -> str:
        return mistake(f"run={trained}", f"page={path}")

    assert refused(tmp_path / "none.jpg").endswith("none.jpg: there is no such file")
    text, empty, cut_off = tmp_path / "text.jpg", tmp_path / "empty.png", tmp_path / "cut.jpg"
    text.write_text("A page?")
    empty.touch()
    Image.open(photo).save(cut_off)
    cut_off.write_bytes(cut_off.read_bytes()[:2000])
    for path in (text, empty, cut_off, tmp_path):
        assert f"page={path} can't be read as a picture" in refused(path)
    assert not (tmp_path / "outputs").exists()


def test_words_that_are_none(trained: Path, photo: Path, mistake: Callable[..., str]) -> None:
    both = (f"run={trained}", f"page={photo}")
    assert "run=... is missing" in mistake(both[1])
    assert "page=... is missing" in mistake(both[0])
    assert "did you mean run, turn or truth?" in mistake(*both, "trun=90")
    for turn in ("45", "360", "-90", "left", "1e9"):
        assert f"turn={turn}: it can be 0, 90, 180 or 270" in mistake(*both, f"turn={turn}")
    for context in ("yes", "1", "True"):
        assert f"context={context}: it can be false or true" in mistake(*both, f"context={context}")
    assert "'page.jpg' is not KEY=VALUE" in mistake("page.jpg")
    assert "page= is given twice" in mistake(*both, "page=x")


def test_help_is_the_usage(command: Callable[..., Ran]) -> None:
    code, printed, _ = command("--help")
    assert code == 0 and printed.strip() == str(reading.__doc__).strip()


def test_a_truth_that_is_none(trained: Path, photo: Path, tmp_path: Path, mistake: Callable[..., str]) -> None:
    def refused(truth: Path) -> str:
        return mistake(f"run={trained}", f"page={photo}", f"truth={truth}")

    assert "there is no such file" in refused(tmp_path / "none.txt")
    assert "can't be read as a text" in refused(tmp_path)
    assert "can't be read as a text" in refused(photo)
    (tmp_path / "dots.txt").write_text(" ...\n")
    assert "has no letter or digit" in refused(tmp_path / "dots.txt")
    assert not (tmp_path / "outputs").exists(), "said before anything is read"


def test_out_is_a_directory_of_its_own(
    run: Path, photo: Path, tmp_path: Path, command: Callable[..., Ran], mistake: Callable[..., str]
) -> None:
    before = sorted(p.name for p in run.iterdir())
    assert f"out={photo} is a file" in mistake(f"run={run}", f"page={photo}", f"out={photo}")
    assert f"out={run} is a run" in mistake(f"run={run}", f"page={photo}", f"out={run}")
    assert sorted(p.name for p in run.iterdir()) == before
    code, _, err = command(f"run={run}", f"page={photo}", f"out={photo}/below")
    assert code == 2 and err.startswith("error: ") and err.count("\n") == 1


def test_context_makes_words_of_one_kind(trained: Path, tmp_path: Path, command: Callable[..., Ran]) -> None:
    path = save(page("SOLD BOOKS\n93784 60847"), tmp_path / "page.png")
    for context in ("true", "false"):
        code, _, _ = command(f"run={trained}", f"page={path}", f"context={context}", f"out={context}")
        assert code == 0
    settled, as_read = (table(tmp_path / name) for name in ("true", "false"))
    assert [alike(row["text"]) for row in settled] == [alike(row["text"]) for row in as_read]
    for a, b in zip(settled, as_read, strict=True):
        assert a == b or (a["second"], a["probability"]) == (b["text"], b["probability"])


RUNS = {
    "digits": (("data=mnist", "model=linear"), "reading takes a run on letters"),
    "an autoencoder": (("data=mnist", "model=autoencoder"), "only a classifier predicts classes"),
    "photos": (("data=cifar10", "model=linear"), "reading takes a run on letters"),
    "points": (("data=clusters", "model=mlp"), "reading takes a run on letters"),
}


@pytest.mark.parametrize("kind", RUNS)
def test_a_run_that_tells_no_letters_apart(
    kind: str, train: Callable[..., Path], photo: Path, mistake: Callable[..., str]
) -> None:
    options, sentence = RUNS[kind]
    other = train(*options, "trainer.max_epochs=1", "trainer.figures=false")
    assert sentence in mistake(f"run={other}", f"page={photo}")


@pytest.mark.parametrize("options", [("model=linear",), ("model=scratch",), ("model=mlp", "data.classes_kept=[A,B,C]")])
def test_any_run_on_letters_reads(
    options: tuple[str, ...], train: Callable[..., Path], photo: Path, command: Callable[..., Ran]
) -> None:
    other = train("data=nist36", *options, "trainer.max_epochs=1", "trainer.figures=false")
    code, printed, err = command(f"run={other}", f"page={photo}", "turn=0")
    assert (code, err) == (0, "") and len(printed.splitlines()) >= 3


def test_a_run_that_is_none_or_not_whole(
    run: Path, photo: Path, tmp_path: Path, command: Callable[..., Ran], mistake: Callable[..., str]
) -> None:
    assert "there is no such directory" in mistake(f"run={tmp_path / 'none'}", f"page={photo}")
    (tmp_path / "empty").mkdir()
    assert "is no run" in mistake(f"run={tmp_path / 'empty'}", f"page={photo}")
    assert command(f"run={run.parent}", f"page={photo}")[0] == 0, "the best run of a folder of runs"
    (run / runs.BEST).write_bytes(b"nothing")
    assert "is damaged or no checkpoint" in mistake(f"run={run}", f"page={photo}")
    (run / runs.BEST).unlink()
    assert "has no best.ckpt" in mistake(f"run={run}", f"page={photo}")
    (run / runs.CONFIG).unlink()
    assert "has no config.yaml" in mistake(f"run={run}", f"page={photo}")


# --- the form that a run keeps -------------------------------------------------------------------------------------


def test_a_form_is_measured_once_and_again_where_it_is_damaged(run: Path) -> None:
    (run / FORM).unlink(missing_ok=True)
    first = open_reader(run)
    kept = (run / FORM).read_text()
    assert first.classes == CLASSES and first.form.side == 32 and first.form.dark
    assert 16 < first.form.extent < 30 and 1.5 < first.form.thickness < 6
    whole = json.loads(kept)
    damaged = [
        "", "[]", kept[:200], json.dumps(whole | {"more": 1}), json.dumps(whole | {"side": 28}),
        json.dumps(whole | {"extent": "large"}), json.dumps(whole | {"slender": whole["slender"][:5]}),
    ]  # fmt: skip
    for text in damaged:
        (run / FORM).write_text(text)
        assert open_reader(run).form == first.form
        assert (run / FORM).read_text() == kept
    (run / FORM).write_bytes(b"\xff\xfe")
    assert open_reader(run).form == first.form


def test_a_run_taken_elsewhere_reads_with_its_form_and_asks_for_it_otherwise(
    run: Path, photo: Path, command: Callable[..., Ran], mistake: Callable[..., str]
) -> None:
    open_reader(run)
    result = runs.read_result(run)
    result["data"]["files"] = {"nist36_train.mat": "0" * 64}  # as if it had been trained on files that aren't here
    runs.write_result(run, result)
    assert command(f"run={run}", f"page={photo}")[0] == 0
    (run / FORM).unlink()
    sentence = mistake(f"run={run}", f"page={photo}")
    assert "was trained on other data than there are here" in sentence and FORM in sentence
    assert not (run / FORM).exists()
