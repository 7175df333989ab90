"""--help: one screen; what a choice is and sets; what the tab key completes."""

import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from dlcourse.config.search import groups
from dlcourse.core.errors import InputError
from dlcourse.launch.completion import BASH, completions
from dlcourse.launch.help import help_text, option_names
from dlcourse.launch.overrides import check_overrides


def test_what_matters_fits_on_a_screen() -> None:
    lines = help_text([]).splitlines()
    assert len(lines) <= 45 and max(map(len, lines)) <= 100
    assert all(any(line.startswith(f"  {group} ") for line in lines) for group in option_names())
    assert any("optimizer.lr" in line and "0.001" in line and "learning rate" in line for line in lines)


def test_every_choice_is_explained() -> None:
    for group, options in option_names().items():
        listed = help_text([group])
        for option in options:
            assert f"  {group}={option}" in listed
            text = help_text([f"{group}={option}"])
            assert f"Example: python -m dlcourse.train {group}={option}" in text, text


def test_a_choice_says_what_it_sets_where_it_is_told_and_how_to_use_it() -> None:
    text = help_text(["model=denoising"])  # three keys of its own, the others are the autoencoder's
    assert re.search(r"^  model.noise +gaussian +gaussian: add noise_std", text, re.MULTILINE)
    assert re.search(r"^  model.net.widths +\[64\]$", text, re.MULTILINE) and "the last is the code" in text
    assert "It chooses data=nist36, model=cnn, optimizer=sgd." in help_text(["experiment=cmu/q6_1_2_cnn"])
    assert re.search(r"data.augment.rotate +0.0 +up to this many degrees", help_text(["data"]))
    assert "seed=0,1,2,3,4" in help_text(["study=cmu/q3"]) and "budget=quick" in help_text(["study=cmu/q3"])
    assert "a number above 0" in help_text(["optimizer.lr"])


@pytest.mark.parametrize("model", ["cnn", "denoising", "finetune", "knn"])
def test_its_example_can_be_typed(model: str) -> None:
    (example,) = [line for line in help_text([f"model={model}"]).splitlines() if line.startswith("Example: ")]
    check_overrides(shlex.split(example)[4:], sweep=False)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["modle=cnn"], "there is no modle; did you mean model"),
        (["model=cnm"], "there is no model=cnm; did you mean"),
        (["optimizer.rate"], "did you mean optimizer.lr"),
        (["model", "data"], "one thing at a time"),
    ],
)
def test_what_can_not_be_explained(words: list[str], part: str) -> None:
    with pytest.raises(InputError, match=part):
        help_text(words)


def test_the_command_line_answers_without_torch() -> None:
    code = "import sys; from dlcourse import train; train.main(['--help', 'model=cnn']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("Convolutions, pooling") and done.stdout.endswith("False\n"), done.stderr


def test_what_the_tab_key_finds() -> None:
    assert completions("model=c") == ["model=cnn"]
    assert completions("-m model=linear,ml") == ["model=linear,mlp"]
    assert completions("study=cmu/q6_1_") == ["study=cmu/q6_1_3", "study=cmu/q6_1_4"]
    assert completions("model=knn model.net.k") == ["model.net.k="] and completions("model.net.k") == [
        "model.net.kernel="
    ]
    assert {f"{group}=" for group in groups()} <= set(completions(""))
    assert completions("model=nothing x") == [] == completions("nothing=c")


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash")
def test_bash_asks_it() -> None:
    python = f'python() {{ {shlex.quote(sys.executable)} "$@"; }}\n'
    asked = 'COMP_LINE="python -m dlcourse.train -m model=kn"; _dlcourse; echo "${COMPREPLY[@]}"\n'
    other = 'COMP_LINE="python -m pip inst"; _dlcourse; echo "${#COMPREPLY[@]}"\n'
    done = subprocess.run(
        ["bash", "-c", BASH + "\n" + python + asked + other], capture_output=True, text=True, timeout=60, env=os.environ
    )
    assert done.stdout.split() == ["model=knn", "0"], done.stderr
