"""What a user types: every mistake is one sentence that names it, found before torch is imported."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dlcourse import config as configs
from dlcourse.config.identity import config_hash, flatten
from dlcourse.config.schema import RULES, TOP, check
from dlcourse.config.search import conf_dir, groups
from dlcourse.core.errors import InputError, did_you_mean
from dlcourse.launch.overrides import check_overrides

Config = Callable[..., dict[str, Any]]
FLOAT = re.compile(r"[-+]?[0-9]+[.]?[0-9]*(e[-+]?[0-9]+)?", re.IGNORECASE)

# What is typed, and what the sentence must name: the key, what was given, what is possible.
MISTAKES = [
    ("model=mpl", "model=mpl", "did you mean mlp", "squeezenet"),
    ("model=null", "model=null", "linear"),
    ("model=[linear,mlp]", "model=[linear, mlp]", "linear"),
    ("model={a:1}", "model={a: 1}", "linear"),
    ("~model", "model", "linear"),
    ("schedule=null", "schedule=none"),
    ("experiment=null", "experiment=null"),
    ("~optimizer=5", "optimizer"),
    ("modle=mlp", "modle", "did you mean model"),
    ("lr=0.1", "lr", "optimizer.lr"),
    ("optimzer.lr=1", "optimzer.lr", "optimizer.lr"),
    ("optimizer.momentum=0.9", "optimizer.momentum", "optimizer.lr"),
    ("stopping.patience=3", "stopping.patience"),
    ("+foo=1", "foo"),
    ("~foo", "foo"),
    ("~seed", "seed is missing", "seed=VALUE"),
    ("~trainer.devices", "trainer.devices is missing"),
    ("~optimizer.lr", "optimizer.lr is missing"),
    ("model.net=null", "model.net._target_ is missing"),
    ("++stopping.foo=1", "stopping._target_ is missing", "early"),
    ("++optimizer.lr={a:1}", "optimizer.lr"),
    ("seed=???", "seed is missing"),
    ("optimizer.lr=-1", "optimizer.lr", "above 0", "-1"),
    ("optimizer.lr=0", "optimizer.lr", "above 0"),
    ("optimizer.lr=", "optimizer.lr", "''"),
    ("optimizer.lr=abc", "optimizer.lr", "'abc'"),
    ("optimizer.lr=null", "optimizer.lr", "null"),
    ("optimizer.lr=true", "optimizer.lr", "true"),
    ("optimizer.lr=nan", "optimizer.lr", "nan"),
    ("optimizer.lr=inf", "optimizer.lr", "inf"),
    ("optimizer.betas=5", "optimizer.betas", "a list", "5"),
    ("data.batch_size=0", "data.batch_size", "from 1 up or all", "0"),
    ("data.batch_size=1.5", "data.batch_size", "1.5"),
    ("data.batch_size=some", "data.batch_size", "'some'"),
    ("data.source=fake", "data.source", "stand-in"),
    ("data.classes_kept=3", "data.classes_kept", "a list", "3"),
    ("data.classes_kept=[1,1]", "data.classes_kept", "different"),
    ("data.shape=[0,1]", "data.shape", "[0, 1]"),
    ("data.val=1.5", "data.val", "1.5"),
    ("data.augment.flip=1", "data.augment.flip", "true or false"),
    ("data.augment.thickness=-1", "data.augment.thickness", "a number of pixels from 0 to 16"),
    ("data=folder", "data.root is missing"),
    ("seed=-1", "seed", "-1"),
    ("seed=4294967296", "seed", "4294967295"),
    ("name=a/b", "name", "'a/b'"),
    ("trainer.max_epochs=0", "trainer.max_epochs", "0"),
    ("trainer.limit_train_batches=0", "trainer.limit_train_batches", "0"),
    ("model.net=5", "model.net", "a group of keys"),
    ("seed=${foo}", "seed", "foo"),
    ("name=${name}", "name"),
    ("seed=0,1", "seed=0,1", "-m"),
    ("seed=range(3)", "seed=range(3)", "-m"),
    ("seed", "'seed'", "KEY=VALUE"),
    ("", "''", "KEY=VALUE"),
    ("=", "'='", "KEY=VALUE"),
    ("seed==", "'seed=='", "KEY=VALUE"),
    ("name='a b", "KEY=VALUE"),
    ("name={a", "KEY=VALUE"),
    ("hydra.run.dri=x", "dri"),
    ("hydra/launcher=slrum", "hydra/launcher/slrum"),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda m: m[0])
def test_a_mistake_is_one_sentence(mistake: tuple[str, ...]) -> None:
    with pytest.raises(InputError) as raised:
        check_overrides([mistake[0]], sweep=False)
    sentence = str(raised.value)
    assert "\n" not in sentence
    assert [part for part in mistake[1:] if part not in sentence] == []


@pytest.mark.parametrize(
    "typed",
    [
        ["model=mlp", "model.net.hidden=[8,8]", "optimizer.lr=1e-3", "data.batch_size=all"],
        ["optimizer=sgd", "optimizer.momentum=0.9", "schedule=cosine", "stopping=early", "stopping.patience=2"],
        ["~schedule", "logger=none", "data.val=test", "data.shuffle=once", "seed=0", "name='a (b) ü'"],
        ["data.classes_kept=[a,2]", "+model.extra=1", "optimizer.lr=${data.augment.shift}", "data.augment.shift=0.1"],
        ["hydra.run.dir='a b=c'", "hydra/launcher=basic"],
    ],
)  # fmt: skip
def test_what_is_right_passes(typed: list[str]) -> None:
    check_overrides(typed, sweep=False)


def test_a_sweep_is_checked_for_names_in_each_of_its_choices_and_leaves_values_to_its_jobs() -> None:
    check_overrides(["model=linear,mlp", "seed=range(3)", "optimizer.lr=-1,0.1"], sweep=True)
    with pytest.raises(InputError, match="model=mpl"):
        check_overrides(["model=linear,mpl"], sweep=True)
    with pytest.raises(InputError, match=r"there is no key optimizer\.momentum"):
        check_overrides(["optimizer=sgd,adam", "optimizer.momentum=0,0.9"], sweep=True)


def test_an_edited_config_is_refused(config: Config) -> None:
    """What check() says of configs that no command line gives: those of config.yaml after somebody's edits."""
    for key, value, part in [
        ("optimizer", {}, "optimizer._target_ is missing"),
        ("trainer", 3, "trainer"),
        ("schedule", None, "schedule must be a group of keys, got null"),
        ("extra", 1, "there is no key extra"),
        ("seed", "0", "seed must be"),
    ]:
        with pytest.raises(InputError, match=part):
            check(config() | {key: value})


def test_the_order_of_layers_and_sizes_that_flow(config: Config) -> None:
    plain = config("data=cifar10", "data.resize=48", "data.classes_kept=[0,3,5]", "model=mlp")
    assert plain["data"]["shape"] == plain["model"]["net"]["inputs"] == [3, 48, 48]
    assert plain["data"]["classes"] == plain["model"]["net"]["outputs"] == 3
    assert config("data=nist36")["trainer"]["max_epochs"] == 30
    assert config("trainer=smoke", "data=nist36")["trainer"]["max_epochs"] == 1


def test_every_choice_has_numbers_for_numbers_and_every_rule_a_key(config: Config) -> None:
    """`1e-3` is a text in YAML 1.1; a rule for a key that no choice has checks nothing."""
    keys: set[str] = set()
    needed = {"folder": ["data.root=."], "hf": ["data.name=owner/name", "data.classes=2"]}
    for group, choices in groups().items():
        for choice in choices if group in TOP else []:
            values = flatten(config(f"{group}={choice}", *needed.get(choice, [])))
            keys |= values.keys()
            assert [k for k, v in values.items() if isinstance(v, str) and FLOAT.fullmatch(v)] == []
    assert set(RULES) - keys == set()


def test_the_hash_is_of_what_is_computed(config: Config) -> None:
    same = config_hash(config())
    assert same == config_hash(config("name=x", "logger=none", "data.workers=2", "trainer.progress=false"))
    others = [config_hash(config(o)) for o in ("seed=1", "optimizer.lr=0.1", "data.limit=9", "trainer.max_epochs=7")]
    assert len({same, *others}) == 5


def test_a_folder_of_ones_own_counts_its_classes(config: Config, tmp_path: Path) -> None:
    for name in ("cat", "dog", "ape", ".hidden"):
        (tmp_path / name).mkdir()
    assert config("data=folder", f"data.root={tmp_path}")["data"]["classes"] == 3
    for name in ("train/a", "train/b", "test/a"):
        (tmp_path / "split" / name).mkdir(parents=True)
    assert config("data=folder", f"data.root={tmp_path / 'split'}")["data"]["classes"] == 2
    with pytest.raises(InputError, match="found 0 class folders"):
        config("data=folder", f"data.root={tmp_path / 'cat'}")
    with pytest.raises(InputError, match="no such folder"):
        config("data=folder", f"data.root={tmp_path / 'nothing'}")


def test_did_you_mean() -> None:
    assert did_you_mean("sede", ["seed", "name"]) == "; did you mean seed?"
    assert did_you_mean("xyz", ["seed", "name"]) == ""
    assert did_you_mean("trainer.lr", ["optimizer.lr", "seed"]) == "; did you mean optimizer.lr?"


def test_conf_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert (conf_dir() / "train.yaml").is_file()


def test_a_mistake_needs_no_torch_and_leaves_nothing(tmp_path: Path) -> None:
    script = (
        "import sys; from dlcourse import train; from dlcourse.core import cli; sys.argv[1:] = ['optimizer.lr=-1']\n"
        "try: cli.run_command(train.main)\n"
        "finally: print(sorted({'torch', 'lightning', 'numpy', 'matplotlib'} & set(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(configs.__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (2, "[]\n")
    assert done.stderr == "error: optimizer.lr must be a number above 0, got -1\n"
    assert list(tmp_path.iterdir()) == []
