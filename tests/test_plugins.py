"""Other people's code is imported where the user has named it, and nowhere else."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dlcourse import evaluate, predict, resume, runs
from dlcourse.config import plugins
from dlcourse.config.identity import config_hash
from dlcourse.config.instantiate import locate
from dlcourse.core.errors import InputError
from dlcourse.nets import MLP

SRC = Path(__file__).parents[1] / "src"
NET = """
from pathlib import Path

from dlcourse.nets import MLP

Path("imported").touch()


class Mine(MLP):
    pass


def no_class(inputs, outputs):
    Path("ran").touch()
"""
QUICK = ("data=clusters", "trainer=cpu", "trainer.max_epochs=1", "trainer.figures=false", "logger=none")
MINE = ("model=mlp", "model.net.hidden=[4]", "model.net._target_=mynet.Mine")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with mynet.py, which nobody has named yet."""
    (tmp_path / "mynet.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(plugins.VARIABLE, "")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "mynet", raising=False)
    return tmp_path


def typed(module: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *words],
        env=os.environ | {"PYTHONPATH": str(SRC)} | environment,
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_a_sweep_with_a_plugin_and_a_run_that_needs_it(here: Path) -> None:
    """Named on the command line or by the environment it is used; a run remembers that it is needed."""
    done = typed("dlcourse", "train", "-m", *MINE, *QUICK, "plugins=[mynet]", "seed=0,1", "hydra.sweep.dir=sweep")
    assert done.returncode == 0, done.stderr
    assert runs.read_config(here / "sweep" / "1_seed=1")["plugins"] == ["mynet"]
    (here / "imported").unlink()
    done = typed("dlcourse.evaluate", "run=sweep/0")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "add plugins=[mynet]" in done.stderr
    assert not (here / "imported").exists()
    assert "as recorded" in typed("dlcourse.evaluate", "run=sweep/0", DLCOURSE_PLUGINS="mynet").stdout


def test_nothing_is_imported_that_only_a_run_names(
    here: Path, train: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train(
        "model=mlp",
        "model.net.hidden=[4]",
        "data=clusters",
        "data.source=auto",
        "data.limit=null",
        "trainer.max_epochs=1",
        "trainer.figures=false",
    )
    text = (run / runs.CONFIG).read_text()
    (run / runs.CONFIG).write_text(
        text.replace("dlcourse.nets.MLP", "mynet.Mine") + "plugins: [mynet]\n" * ("plugins" not in text)
    )
    result = (run / runs.RESULT).read_text()
    (run / runs.RESULT).write_text(result.replace('"done"', '"interrupted"'))
    with pytest.raises(InputError, match=r"model\.net\._target_=mynet\.Mine needs the plugin mynet"):
        resume.main([f"run={run}", "trainer.max_epochs=2"])
    (run / runs.CONFIG).write_text(text.replace("dlcourse.tasks.Classify", "mynet.no_class"))
    for command in (evaluate.main, lambda words: predict.main([*words, "images=mynet.py"])):
        with pytest.raises(InputError):
            command([f"run={run}", "plugins=[other]"])
    assert not (here / "imported").exists() and not (here / "ran").exists()


def test_what_may_be_named(here: Path) -> None:
    with pytest.raises(
        InputError, match=r"needs the plugin mynet, which can run any code: if you trust it, add plugins=\[mynet\]"
    ):
        locate("mynet.Mine", MLP, "model.net")
    plugins.grant("[mynet]")
    assert locate("mynet.Mine", MLP, "model.net").__name__ == "Mine"
    for target, sentence in (
        ("mynet.no_class", "only MLP classes of"),
        ("mynet.Path", "only MLP classes of"),
        ("mynet.Other", "there is no Other in .*mynet.py"),
        ("os.system", "Python's own modules"),
        ("mynet2.Mine", r"add plugins=\[mynet2\]"),
    ):
        with pytest.raises(InputError, match=sentence):
            locate(target, MLP, "model.net")
    assert not (here / "ran").exists()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("[nowhere]", "there is no module nowhere"),
        ("my-net", "is the name of a module"),
        ("[broken]", "it can't be imported: boom"),
        (3, "it is a list of modules"),
    ],
)
def test_a_mistake_in_naming_one_is_a_sentence(given: object, sentence: str, here: Path) -> None:
    (here / "broken.py").write_text("raise RuntimeError('boom')\n")
    with pytest.raises(InputError, match=sentence):
        plugins.grant(given)  # type: ignore[arg-type]


def test_an_installed_package_offers_its_modules(here: Path) -> None:
    """By an entry point, as pip would install it."""
    about = here / "site" / "mine-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[dlcourse]\nmynet = mynet\n")
    (here / "mynet.py").rename(here / "site" / "mynet.py")
    path = f"{SRC}{os.pathsep}{here / 'site'}"
    done = typed("dlcourse.train", *MINE, *QUICK, "hydra.run.dir=run", PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    assert typed("dlcourse.evaluate", "run=run", PYTHONPATH=path).returncode == 0


def test_naming_a_plugin_changes_no_hash(config: Callable[..., dict[str, object]]) -> None:
    plain = config("model=mlp")
    assert config_hash(plain) == config_hash(plain | {"plugins": ["mynet"]})


def test_the_list_of_commands_and_a_mistyped_one() -> None:
    done = typed("dlcourse")
    assert done.returncode == 0 and all(name in done.stdout for name in ("train", "evaluate", "report", "theory"))
    done = typed("dlcourse", "trian")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and "did you mean train?" in done.stderr
    done = typed("dlcourse", "train", "optimizer.rl=1")
    assert done.returncode == 2 and "did you mean optimizer.lr" in done.stderr
