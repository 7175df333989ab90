"""The page to play with: what it says of drawings and photos, whom it answers, and how it is used in a browser."""

import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import SMALL
from dlcourse import demo
from dlcourse.core.errors import InputError
from dlcourse.deploy.playground import Playground
from dlcourse.deploy.server import MOST, Server, open_server
from dlcourse.training import fit
from dlcourse.training.loading import load_task_and_data

QUICK = (*SMALL, "trainer.max_epochs=1", "trainer.figures=false")
SRC = Path(demo.__file__).parents[1]


@pytest.fixture(scope="module")
def trained(config: Callable[..., dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    def run(*overrides: str) -> Path:
        folder = tmp_path_factory.mktemp("run")
        fit.train(config(*QUICK, *overrides), folder, "python -m dlcourse.train")
        return folder

    return run


@pytest.fixture(scope="module")
def digits(trained: Callable[..., Path]) -> Playground:
    return Playground(trained("model=cnn", "model.net.channels=[4]", "model.net.hidden=[8]"))


@pytest.fixture(scope="module")
def server(digits: Playground) -> Iterator[Server]:
    with open_server(digits, 0) as opened:
        threading.Thread(target=opened.serve_forever, daemon=True).start()
        yield opened
        opened.shutdown()


def png(pixels: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def stored(digits: Playground, number: int) -> Any:
    _, data = load_task_and_data(digits.run)
    data.prepare()
    x, _ = data.splits["test"].__getitems__(torch.tensor([number]))
    return x[0, 0].numpy()


def seen(said: dict[str, Any], name: str = "seen") -> Any:
    with urllib.request.urlopen(said[name]) as file:
        return np.asarray(Image.open(io.BytesIO(file.read())), float)


# --- what it says ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(3))
def test_a_drawing_gets_the_form_of_the_training_data(digits: Playground, number: int) -> None:
    """A digit of MNIST, drawn large in a corner, is what it was: of its size, in its place, as thick."""
    digit = stored(digits, number)
    paper = np.full((280, 280), 255, np.uint8)
    paper[10:178, 90:258] = 255 - np.asarray(Image.fromarray(digit).resize((168, 168), Image.Resampling.BICUBIC))
    said = digits.answer(png(paper), drawn=True)
    back = seen(said)
    assert np.corrcoef(back.ravel(), digit.ravel())[0, 1] > 0.75
    assert sum(said["probabilities"]) == pytest.approx(1, abs=0.001)


def test_a_photo_of_a_digit_and_a_picture_of_the_right_size(digits: Playground) -> None:
    digit = stored(digits, 0)
    assert (seen(digits.answer(png(digit), drawn=False)) == digit).all()
    photo = np.full((300, 400), 190, np.uint8)
    photo[60:228, 100:268] -= np.asarray(Image.fromarray(digit // 2).resize((168, 168)))
    assert np.corrcoef(seen(digits.answer(png(photo), drawn=False)).ravel(), digit.ravel())[0, 1] > 0.8
    with pytest.raises(InputError, match="no ink"):
        digits.answer(png(np.full((300, 400), 190, np.uint8)), drawn=False)


def test_the_first_layer_and_the_place_among_the_training_images(digits: Playground) -> None:
    _, data = load_task_and_data(digits.run)
    data.prepare()
    x, _ = data.splits["train"].__getitems__(torch.tensor([5]))
    said = digits.answer(png(x[0, 0].numpy()), drawn=False)
    assert said["place"] == pytest.approx([v / 1000 for v in digits.codes["points"][5]], abs=0.001)
    assert said["first"]["what"].startswith("4 units")
    assert len(digits.codes["points"]) == 200


def test_an_autoencoder_gives_the_picture_back(trained: Callable[..., Path]) -> None:
    playground = Playground(trained("model=autoencoder", "model.net.widths=[32,2]"))
    digit = stored(playground, 1)
    said = playground.answer(png(digit), drawn=False)
    task, data = load_task_and_data(playground.run)
    with torch.inference_mode():
        x = data.transform(torch.from_numpy(digit.copy())[None, None])
        assert float(said["error"]) == pytest.approx(float((task(x) - x).square().mean()), rel=0.05)
        assert np.abs(seen(said, "back") - 255 * task(x)[0, 0].numpy()).max() <= 0.51
    assert "probabilities" not in said and "its two numbers" in playground.codes["what"]


def test_photos_in_colour_and_runs_without_pictures(trained: Callable[..., Path]) -> None:
    photos = Playground(trained("data=cifar10", "model=linear"))
    assert not photos.about["draw"] and not photos.about["page"]
    said = photos.answer(png(np.zeros((50, 80, 3), np.uint8)), drawn=False)
    assert len(said["probabilities"]) == 10 and seen(said).shape == (32, 32, 3)
    with pytest.raises(InputError, match="no images"):
        Playground(trained("data=clusters", "model=linear"))
    with pytest.raises(InputError, match="is a regress run"):
        Playground(trained("data=functions", "model=regression"))


# --- whom it answers -------------------------------------------------------------------------------------------------


def request(server: Server, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Any, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.request(method, path, body, headers)
    reply = connection.getresponse()
    kind, text = reply.headers["Content-Type"], reply.read()
    connection.close()
    return reply.status, json.loads(text) if kind == "application/json" else text.decode(), reply.headers


def test_the_page_asks_for_nothing_from_elsewhere(server: Server) -> None:
    status, text, headers = request(server, "GET", "/")
    assert status == 200 and text.startswith("<!doctype html>")
    assert set(re.findall(r"https?://[^\"'` ]+", text)) == {"http://www.w3.org/2000/svg"}  # a name, not an address
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert request(server, "GET", "/about")[1]["classes"] == list("0123456789")


def test_what_is_refused(server: Server, digits: Playground) -> None:
    digit, own = png(stored(digits, 0)), f"127.0.0.1:{server.server_port}"
    before = {path: path.stat().st_mtime_ns for path in digits.run.rglob("*")}
    assert request(server, "POST", "/drawing", digit, Origin=f"http://{own}")[0] == 200
    assert request(server, "POST", "/drawing", digit, Origin="http://evil.example")[0] == 403
    assert request(server, "POST", "/drawing", digit, Origin="null")[0] == 403
    assert request(server, "GET", "/about", Host=f"evil.example:{server.server_port}")[0] == 403
    assert request(server, "GET", "/../demo.html")[0] == 404
    assert request(server, "POST", "/photo", b"no picture")[:2] == (
        422, {"error": "this can't be read as a picture: no image format is recognised"},
    )  # fmt: skip
    assert "doesn't tell letters apart" in request(server, "POST", "/page", digit)[1]["error"]
    status, said, _ = request(server, "POST", "/photo", bytes(100_000_000))
    assert (status, said) == (413, {"error": f"this file has 100 MB: a picture may have {MOST // 10**6} MB"})
    huge = Image.new("1", (10_000, 6_000))
    huge.save(buffer := io.BytesIO(), "png")
    assert "60 megapixels" in request(server, "POST", "/photo", buffer.getvalue())[1]["error"]
    assert {path: path.stat().st_mtime_ns for path in digits.run.rglob("*")} == before
    assert request(server, "GET", "/about")[0] == 200


def test_a_port_that_is_taken(digits: Playground, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with open_server(digits, port) as server:
            assert server.server_port > port
            assert f"port {port} is taken: {server.server_port} instead" in caplog.text
    for given in ("x", "-1", "70000"):
        with pytest.raises(InputError, match="port="):
            demo.main([f"run={digits.run}", f"port={given}"])


def test_the_command_ends_with_ctrl_c(digits: Playground, tmp_path: Path) -> None:
    command = [sys.executable, "-u", "-m", "dlcourse.demo", f"run={digits.run}", "port=0"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = subprocess.Popen(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(SRC)}, **pipes)
    assert running.stdout is not None
    address = next(line.split(": ")[1].split()[0] for line in running.stdout if line.startswith("cnn on mnist: "))
    with urllib.request.urlopen(address) as page:
        assert page.status == 200
    running.send_signal(signal.SIGINT)
    out, errors = running.communicate(timeout=20)
    assert (running.returncode, out, errors) == (0, "ended\n", "")


# --- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture
def page(browser: Any, server: Server) -> Iterator[Any]:
    opened = browser.new_page(viewport={"width": 390, "height": 844})
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("request", lambda r: None if r.url.startswith((server.address, "data:")) else wrong.append(r.url))
    opened.goto(server.address)
    opened.wait_for_selector("[data-ready]")
    yield opened
    opened.close()
    assert wrong == []


def test_draw_and_see_the_answer(page: Any) -> None:
    box = page.locator("#paper").bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 150, box["y"] + 250, steps=8)
    page.mouse.up()
    page.wait_for_selector("#bars .best")
    assert page.inner_text("#answer")[0] in "0123456789"
    assert page.locator("#bars li").count() == 10
    assert page.locator("#seen").evaluate("image => image.naturalWidth") == 28
    assert page.is_visible("#first") and "nearest to it" in page.inner_text("#map-near")
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") == width
    page.click("#clear")
    assert page.inner_text("#answer") == "" and page.locator("#bars li").count() == 0


def test_draw_by_the_keyboard(page: Any) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "paper"
    for key in ("ArrowUp", "Space", *["ArrowDown"] * 6):
        page.keyboard.press(key)
    page.wait_for_selector("#bars .best")


def test_a_file_that_is_no_picture_or_too_large(page: Any, tmp_path: Path) -> None:
    wrong, large, right = tmp_path / "notes.txt", tmp_path / "large.png", tmp_path / "right.png"
    wrong.write_text("no picture")
    large.write_bytes(bytes(MOST + 10**6))
    right.write_bytes(png(np.tri(28, dtype=np.uint8) * 255))
    page.set_input_files("#file", wrong)
    page.wait_for_selector("text=notes.txt: This can't be read as a picture")
    page.set_input_files("#file", large)
    page.wait_for_selector("text=large.png has 21 MB: a picture may have 20 MB.")
    page.set_input_files("#file", right)
    page.wait_for_selector("#bars .best")
    assert page.is_hidden("#error")
