"""Sweeps: which jobs there will be, what their directories are called, how far they are."""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from dlcourse import runs
from dlcourse.config import search
from dlcourse.core.errors import InputError
from dlcourse.launch.jobs import hydra_in

EXCLUDED = "hydra.job.config.override_dirname.exclude_keys"  # Hydra's list of what a job's directory isn't named by


@dataclass(frozen=True)
class Sweep:
    """jobs: how many there will be. done: how many of them are, from an earlier call. varied: keys with several values.

    figures: whether its runs are to be drawn, and so its report.
    """

    folder: Path
    jobs: int
    varied: tuple[str, ...]
    done: int = 0
    figures: bool = True
    began: float = field(default_factory=time.time)

    def place(self, number: int) -> str:
        """`3/12` for the job of number 2."""
        return f"{number + 1}/{max(self.jobs, number + 1)}"

    def time_left(self, number: int, now: float) -> float | None:
        """Seconds until the last job ends, when that of this number has ended and all take equally long."""
        made, missing = number + 1 - self.done, self.jobs - number - 1
        return (now - self.began) / made * missing if made > 0 and missing > 0 else None


def plan_sweep(overrides: Sequence[str], folder: str | None, name: str | None) -> tuple[Sweep, list[str]]:
    """What a command line with several values leads to, and the overrides that fix its directories' names.

    folder, name: another primary config than ours, see `run_hydra`.
    """
    words = [*overrides, *search.hydra_override()]
    with hydra_in(folder) as hydra:
        cfg = hydra.compose_config(name or "train", words, RunMode.MULTIRUN, with_log_configuration=False)
        parser = OverridesParser.create(config_loader=hydra.config_loader)
        parsed = parser.parse_overrides([*_parameters(cfg), *cfg.hydra.overrides.task])
    varied = {o.key_or_group: o for o in parsed if o.is_sweep_override()}
    fixed = [o.key_or_group for o in parsed if not o.is_sweep_override()]
    trials = cfg.hydra.sweeper.get("n_trials")
    jobs = trials or math.prod(len(list(o.sweep_iterator())) for o in varied.values() if o.is_discrete_sweep())
    top = Path(cfg.hydra.sweep.dir)
    done = 0
    for result in top.glob(f"*/{runs.RESULT}"):
        try:
            done += runs.read_result(result.parent)["status"] == "done"
        except InputError:
            continue
    figures = bool(OmegaConf.select(cfg, "trainer.figures", default=True))
    fixing = [f"hydra.sweep.dir={json.dumps(str(top))}", f"{EXCLUDED}={json.dumps(fixed)}"]
    return Sweep(top, int(jobs), tuple(varied), min(done, int(jobs)), figures), fixing


def status_before(run: Path) -> str:
    """What a job's directory says before the job begins; empty where nothing is there."""
    try:
        result = runs.read_result(run) if (run / runs.RESULT).is_file() else {}
    except InputError:
        return "damaged"
    return str(result.get("status", "")) and f"{result['status']} after {runs.length(result)}"


def outcome(run: Path, before: str, failure: str, seconds: float) -> str:
    """What became of a job, in a line. before: see `status_before`. failure: its sentence, empty where none."""
    if failure:
        return f"failed: {failure}"
    result = runs.read_result(run)
    score = "never a number" if result["score"] is None else f"{result['score']:.4f}"
    text = f"{result['monitor']} {score}, {runs.length(result)}"
    if before.startswith("done"):
        return f"done already: {text}"
    notes = [f"it had been {before}"] if before else []
    notes += [f"given up after epoch {result['pruned']}"] if "pruned" in result else []
    notes += [f"diverged in epoch {result['diverged']['epoch']}"] if "diverged" in result else []
    return f"{text} in {seconds:.1f} s" + "".join(f"; {note}" for note in notes)


def _parameters(cfg: DictConfig) -> list[str]:
    """What the sweeper's own settings sweep over."""
    return [f"{key}={value}" for key, value in (cfg.hydra.sweeper.get("params") or {}).items()]
