"""Configs as plain dicts: their keys in one line, and when two of them are the same."""

import hashlib
import json
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf


def flatten(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` as `{"a.b": 1}`."""
    out: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, dict):
            out.update(flatten(value, f"{prefix}{key}."))
        else:
            out[prefix + str(key)] = value
    return out


# Keys that say where or how comfortably a run runs, not what it computes.
NOT_HASHED = ("name", "plugins", "logger", "trainer.progress", "trainer.figures", "trainer.images",
              "trainer.accelerator", "trainer.stepping", "data.workers", "data.memory_limit", "data.device",
              "data.epochs", "data.of", "model.cache_features")  # fmt: skip


def hashed_values(plain: dict[str, Any]) -> dict[str, Any]:
    """The keys of a config, in one line each, that say what a run computes."""
    values = flatten(plain)
    skipped = (*NOT_HASHED, "optimizer.lr" if values.get("tune.lr") else "tune")  # a rate is found or given
    return {
        key: value
        for key, value in values.items()
        if value is not None and not any(key == skip or key.startswith(skip + ".") for skip in skipped)
    }  # without what is null: a new key that is off by default leaves finished runs what they are


def config_hash(plain: dict[str, Any]) -> str:
    """16 hex digits that are equal for two runs exactly when they compute the same thing of the same data."""
    what = hashed_values(plain)
    if Path(what.get("data.encoder", "")).joinpath("config.yaml").is_file():  # what a run computes, not where it is
        encoder = OmegaConf.to_container(OmegaConf.load(Path(what["data.encoder"], "config.yaml")))
        assert isinstance(encoder, dict)
        what["data.encoder"] = config_hash({str(key): v for key, v in encoder.items()})
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]
