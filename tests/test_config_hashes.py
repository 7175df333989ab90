"""A run is known by its config's hash: those of the first version's experiments, models and data sets stay."""

import json
from pathlib import Path

import pytest

from dlcourse.config.identity import config_hash
from dlcourse.config.search import groups
from dlcourse.launch.compose import compose_config, resolve

HASHES: dict[str, str] = json.loads((Path(__file__).parent / "hashes_of_7330b49.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("overrides", HASHES)
def test_is_what_it_was(overrides: str) -> None:
    assert config_hash(resolve(compose_config(overrides.split()))) == HASHES[overrides]


def test_every_experiment_of_then_is_there() -> None:
    assert {key.removeprefix("experiment=") for key in HASHES if key.startswith("experiment=")} <= set(
        groups()["experiment"]
    )
