"""`hydra/launcher=population`: jobs of a multirun that can make their steps together are trained at once, others alone.

Hydra finds its plugins by importing every module of this package: nothing heavy is imported before a launch.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, configure_log, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

log = logging.getLogger(__name__)


@dataclass
class PopulationConf:
    """members: how many runs are trained at once; more wait until those are done."""

    _target_: str = "hydra_plugins.dlcourse_population.PopulationLauncher"
    members: int = 64


ConfigStore.instance().store(group="hydra/launcher", name="population", node=PopulationConf, provider="dlcourse")


class PopulationLauncher(Launcher):
    """Each job leaves the directory that it would have left alone."""

    def __init__(self, members: int) -> None:
        self.members = members

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from dlcourse.training.population import Population, alike

        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        configs = [self._config(list(words), initial_job_idx + i) for i, words in enumerate(job_overrides)]
        returns: dict[int, JobReturn] = {}
        for jobs in alike([_plain(cfg) for cfg in configs], self.members):
            log.info(
                "%d jobs are trained at once" if len(jobs) > 1 else "%d job has a network or data of its own", len(jobs)
            )
            members = [lambda cfg=configs[i]: self._run(cfg) for i in jobs]
            for i, returned in zip(jobs, Population().run(members), strict=True):
                if not isinstance(returned, JobReturn):
                    raise returned
                returns[i] = returned
        return [returns[i] for i in range(len(configs))]

    def _config(self, overrides: list[str], number: int) -> DictConfig:
        cfg = self.context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(cfg):
            cfg.hydra.job.id = cfg.hydra.job.num = number
        return cfg

    def _run(self, cfg: DictConfig) -> JobReturn:
        return run_job(
            hydra_context=self.context,
            task_function=self.task,
            config=cfg,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
            configure_logging=False,
        )


def _plain(cfg: DictConfig) -> dict[str, Any] | None:
    """A job's resolved config; None for one that is wrong, which it says itself when it is run."""
    from dlcourse.core.errors import InputError
    from dlcourse.launch.compose import resolve

    own = cfg.copy()
    with open_dict(own):
        del own["hydra"]
    try:
        return resolve(own)
    except InputError:
        return None
