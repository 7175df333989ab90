"""`hydra/sweeper=optuna`: a multirun that searches instead of trying every combination.

Hydra finds its plugins by importing every module of this package: nothing heavy is imported before a search.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)
RESULTS = "optimization_results.yaml"


@dataclass
class OptunaConf:
    """n_trials: in all, those of earlier calls of the same command included. n_jobs: so many are launched at once.

    sampler: tpe | random. pruner: median | hyperband | none, which stops hopeless trials after an epoch.
    startup_trials: so many are drawn at random, and none is stopped, before there is anything to go by.
    """

    _target_: str = "hydra_plugins.dlcourse_optuna.OptunaSweeper"
    n_trials: int = 20
    n_jobs: int = 1
    sampler: str = "tpe"
    pruner: str = "median"
    startup_trials: int = 5
    seed: int = 0


ConfigStore.instance().store(group="hydra/sweeper", name="optuna", node=OptunaConf, provider="dlcourse")


class OptunaSweeper(Sweeper):
    """Asks Optuna for values, launches runs with them, and tells it what their tasks monitored.

    The search is kept in the sweep's directory and goes on when the same command is given again.
    """

    def __init__(self, n_trials: int, n_jobs: int, sampler: str, pruner: str, startup_trials: int, seed: int) -> None:
        from dlcourse.core.errors import InputError

        for name, number in (("n_trials", n_trials), ("n_jobs", n_jobs)):
            if number < 1:
                raise InputError(f"hydra.sweeper.{name} must be 1 or more, got {number}")
        for name, value, known in (("sampler", sampler, SAMPLERS), ("pruner", pruner, PRUNERS)):
            if value not in known:
                raise InputError(f"hydra.sweeper.{name} must be {', '.join(known[:-1])} or {known[-1]}, got {value}")
        self.n_trials, self.n_jobs, self.startup_trials, self.seed = n_trials, n_jobs, startup_trials, seed
        self.sampler = sampler

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(hydra_context, task_function, config)

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        from dlcourse.core.errors import InputError
        from dlcourse.training.search import Search

        assert self.launcher is not None and self.config is not None
        parser = OverridesParser.create(config_loader=self.context.config_loader)
        overrides = parser.parse_overrides(arguments)
        fixed = [str(o.input_line) for o in overrides if not o.is_sweep_override()]
        space = {str(o.get_key_element()): distribution(o) for o in overrides if o.is_sweep_override()}
        if not space:
            example = "optimizer.lr='tag(log,interval(1e-4,1))'"
            raise InputError(f"hydra/sweeper=optuna has nothing to search: give a key several values, as {example}")
        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        returned: list[Sequence[JobReturn]] = []
        with Search(folder, space, self._monitor(fixed, space), self.sampler, self.startup_trials,
                    self.seed) as search:  # fmt: skip
            while number := min(self.n_jobs, self.n_trials - search.finished()):
                trials = [search.ask() for _ in range(number)]
                jobs = [[*fixed, *(f"{k}={v}" for k, v in trial.params.items())] for trial in trials]
                returned.append(self.launcher.launch(jobs, initial_job_idx=trials[0].number))
                for trial, job in zip(trials, returned[-1], strict=True):
                    search.tell(trial, job.return_value)
            search.conclude(folder / RESULTS)
        return returned

    def _monitor(self, fixed: Sequence[str], space: Mapping[str, "optuna.distributions.BaseDistribution"]) -> str:
        """What the runs monitor; raises InputError where that depends on what is searched."""
        from dlcourse.config.search import groups
        from dlcourse.core.errors import InputError

        assert self.config is not None
        known = groups()
        chosen = [[f"{key}={c}"] for key, kind in space.items() if key in known for c in getattr(kind, "choices", ())]
        compose = self.context.config_loader.load_sweep_config
        monitors = {str(compose(self.config, [*fixed, *choice]).model.monitor) for choice in chosen or [[]]}
        if len(monitors) > 1:
            raise InputError(
                f"these runs monitor {' and '.join(sorted(monitors))}: set model.monitor=... for all of them"
            )
        return monitors.pop()


SAMPLERS, PRUNERS = ("tpe", "random"), ("median", "hyperband", "none")


def distribution(override: Override) -> "optuna.distributions.BaseDistribution":
    """Where a key's values are drawn from; raises InputError for an interval that is none."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    from dlcourse.core.errors import InputError, first_line

    value: Any = override.value()
    try:
        if override.is_interval_sweep():
            kind = IntDistribution if isinstance(value.start, int) else FloatDistribution
            return kind(value.start, value.end, log="log" in value.tags)
        values = list(override.sweep_string_iterator())
        if override.is_range_sweep() and not value.shuffle:
            low, high, step = (type(value.start)(v) for v in (values[0], values[-1], value.step))
            return (IntDistribution if isinstance(low, int) else FloatDistribution)(low, high, step=step)
        return CategoricalDistribution(values)
    except ValueError as error:
        raise InputError(f"{override.input_line}: {first_line(error)}") from error
