"""What the tests share: configs composed in this process, small runs on the 5,000 digits that are always there."""

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir

from dlcourse.config.search import conf_dir
from dlcourse.launch.compose import resolve

DATA = Path(os.environ.get("DLCOURSE_DATA", Path(__file__).parents[2] / "shared" / "data")).resolve()
SMALL = ("data.source=stand-in", "data.limit=200", "data.limit_eval=100", "trainer.accelerator=cpu", "logger=none")


@pytest.fixture(scope="session", autouse=True)
def _environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One cache for all tests and their subprocesses, no real data unless a test asks for them, one thread a worker."""
    before = dict(os.environ)
    os.environ["DLCOURSE_CACHE"] = str(tmp_path_factory.getbasetemp().parent / "dlcourse-cache")
    os.environ["HF_HOME"] = str(tmp_path_factory.getbasetemp().parent / "hf-cache")
    os.environ.pop("DLCOURSE_DATA", None)
    os.environ["DLCOURSE_OFFLINE"] = "1"
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    """A command tried in this process sets up logging for its own stdout; the next test's is another one."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    for handler in [handler for handler in root.handlers if handler not in before]:
        root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data; tests that need it are skipped, saying so, where it is not."""
    if not DATA.is_dir():
        pytest.skip(f"no real data: {DATA} does not exist (set DLCOURSE_DATA)")
    return DATA


@pytest.fixture(scope="session")
def config() -> Callable[..., dict[str, Any]]:
    """`config("model=mlp", "seed=1")`: the resolved config that this command line gives."""

    def composed(*overrides: str) -> dict[str, Any]:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            return resolve(compose("train", list(overrides)))

    return composed


@pytest.fixture
def train(config: Callable[..., dict[str, Any]], tmp_path: Path) -> Callable[..., Path]:
    """`train("model=mlp", run="a")`: a small run in a directory of its own, trained in this process; the directory."""
    from dlcourse.training import fit

    def trained(*overrides: str, run: str = "run") -> Path:
        folder = tmp_path / run
        folder.mkdir()
        fit.train(config(*SMALL, *overrides), folder, "python -m dlcourse.train")
        return folder

    return trained


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium without a window; tests that look at pages are skipped, saying so, where it or playwright is not."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
    if CHROMIUM is None:
        pytest.skip("no chromium on the path: apt-get install chromium")
    flags = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield chromium
        chromium.close()


@pytest.fixture
def alone(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No download, no data of this machine, a cache of one's own."""
    monkeypatch.setenv("DLCOURSE_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("DLCOURSE_OFFLINE", "1")
    monkeypatch.delenv("DLCOURSE_DATA", raising=False)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of one's own, no data of this machine, no downloads but those that a test offers."""
    monkeypatch.setenv("DLCOURSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DLCOURSE_OFFLINE", "1")
    monkeypatch.delenv("DLCOURSE_DATA", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path
