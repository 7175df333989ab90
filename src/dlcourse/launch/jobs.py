"""Jobs: what Hydra's launchers run, in this process or in others, and what became of each."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.types import HydraContext, RunMode, TaskFunction
from omegaconf import DictConfig

from dlcourse.config import plugins, search
from dlcourse.core.errors import InputError, did_you_mean, or_list
from dlcourse.launch import resolvers  # noqa: F401  a process that unpickles a job needs them to read its config

ENGINES = {  # choices that need an extra: its name, and the package that it brings
    "hydra/launcher=joblib": ("joblib", "hydra_plugins.hydra_joblib_launcher"),
    "hydra/launcher=submitit_slurm": ("slurm", "hydra_plugins.hydra_submitit_launcher"),
    "hydra/launcher=submitit_local": ("slurm", "hydra_plugins.hydra_submitit_launcher"),
    "hydra/launcher=ray": ("ray", "hydra_plugins.hydra_ray_launcher"),
    "hydra/sweeper=optuna": ("optuna", "optuna"),
}


def check_engines(overrides: Sequence[str], several: bool) -> None:
    """Refuse a launcher that is not installed, or that a single run (not `several`) has no use for."""
    for override in overrides:
        if override in ENGINES and not several:
            raise InputError(f"{override} is for several runs: add -m")
        extra, package = ENGINES.get(override, ("", ""))
        if extra and not is_installed(package):
            raise InputError(f"{override} is not installed: pip install 'dlcourse[{extra}]'")


LOGGERS = {"WandbLogger": "wandb", "MLFlowLogger": "mlflow"}  # those that need an extra, which has the package's name


def loggers_in_use(plain: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the loggers of a config are to be built of, by where it says so: none, one, or those that logger.use names.

    Raises InputError for one that isn't there, or not installed.
    """
    group = plain["logger"]
    chosen = {f"logger.{name}": group.get(name) for name in group.get("use", ())}
    chosen |= {"logger": group} if "_target_" in group else {}
    for key, spec in chosen.items():
        if not isinstance(spec, dict):
            name, known = key.partition(".")[2], [name for name in group if name != "use"]
            raise InputError(f"logger.use: there is no {name}{did_you_mean(name, known)} (there is {or_list(known)})")
        extra = LOGGERS.get(str(spec.get("_target_")).rsplit(".", 1)[-1])
        if extra and not is_installed(extra):
            raise InputError(f"logger={extra} is not installed: pip install 'dlcourse[{extra}]'")
    return chosen


def is_installed(package: str) -> bool:
    """Whether a package can be imported, found without importing it."""
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # not even the package around it
        return False


@dataclass(frozen=True)
class Failure:
    """What a job returns that failed: a sentence, and the exit code (2 for a user's mistake, 1 for anything else).

    Returned, not raised: a sweeper of Hydra's stops at an exception, and its launchers bring what is returned back
    from whatever process or machine the job ran on.
    """

    sentence: str
    code: int


@dataclass
class Portable:
    """A task that may run in another process: what the user named in this one is named there, too."""

    task: TaskFunction
    folder: str | None = field(default_factory=lambda: next(iter(search.command_line()[1:]), None))
    plugins: str = field(default_factory=lambda: os.environ.get(plugins.VARIABLE, ""))

    def __call__(self, cfg: DictConfig) -> Any:
        search.use_folder(self.folder)
        if self.plugins:
            plugins.grant(self.plugins)
        return self.task(cfg)


@contextmanager
def hydra_in(folder: str | None = None) -> Iterator[Any]:
    """Hydra, with our folder of configs or another one."""
    with initialize_config_dir(str(Path(folder or search.conf_dir()).absolute()), job_name="train", version_base="1.3"):
        yield GlobalHydra.instance().hydra


def run_hydra(
    task: TaskFunction, overrides: Sequence[str], sweep: bool, folder: str | None = None, name: str | None = None
) -> list[Any]:
    """Have Hydra run one job, or with `sweep` those of a sweep; returns what each of them returned.

    folder, name: another primary config than ours, as `--config-path` and `--config-name` give it.
    """
    words = [*overrides, *search.hydra_override(), f"hydra.mode={'MULTIRUN' if sweep else 'RUN'}"]
    with hydra_in(folder) as hydra:
        run = hydra.multirun if sweep else hydra.run
        returned = run(config_name=name or "train", task_function=Portable(task), overrides=words)
    return _values(returned)


def launch_jobs(task: TaskFunction, jobs: Sequence[Sequence[str]], words: Sequence[str]) -> list[Any]:
    """Have a launcher of Hydra's run jobs, each with overrides of its own; returns what each of them returned.

    words: overrides that name and set the launcher, and say where the jobs' directories are.
    """
    with hydra_in() as hydra:
        cfg = hydra.compose_config(
            "train", [*words, *search.hydra_override()], RunMode.MULTIRUN, with_log_configuration=False
        )
        context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks(cfg))
        launcher = Plugins.instance().instantiate_launcher(context, Portable(task), cfg)
        return _values(launcher.launch([list(job) for job in jobs], initial_job_idx=0))


def _values(returned: Any) -> list[Any]:
    """What jobs returned, out of what a sweeper makes of them: batches, or nothing of Hydra's."""
    if isinstance(returned, JobReturn):
        return [returned.return_value]
    return [value for part in returned for value in _values(part)] if isinstance(returned, list | tuple) else []
