"""A search for good values: Optuna's study in the directory of a sweep, and what a run tells it."""

import logging
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import lightning as L
import optuna
from filelock import FileLock, Timeout
from lightning.pytorch.callbacks import EarlyStopping
from omegaconf import OmegaConf
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from dlcourse import runs
from dlcourse.core.errors import InputError
from dlcourse.core.files import write_text
from dlcourse.core.seeds import mix_seeds
from dlcourse.tasks.task import mode_of

log = logging.getLogger(__name__)
JOURNAL, STUDY, INTERRUPTED = "optuna.log", "dlcourse", "interrupted"
optuna.logging.set_verbosity(optuna.logging.WARNING)


def storage(folder: Path) -> JournalStorage:
    """Of a sweep's directory: a file that is only ever appended to, so that several processes may, and none is lost."""
    return JournalStorage(JournalFileBackend(str(folder / JOURNAL)))


class Search:
    """The search of a sweep, to which one process at a time may add.

    space: what each key's values are drawn from. monitor: what is to be high or low, see `mode_of`.
    Raises InputError where the directory holds another search, or another process is at it.
    """

    def __init__(self, folder: Path, space: Mapping[str, BaseDistribution], monitor: str, sampler: str,
                 startup_trials: int, seed: int) -> None:  # fmt: skip
        self.folder, self.space, self.monitor = folder, dict(space), monitor
        self.sampler, self.startup_trials, self.seed = sampler, startup_trials, seed
        self.lock = FileLock(folder / ".optuna.lock")
        try:
            self.lock.acquire(timeout=0)
        except Timeout:
            raise InputError(f"{folder}: another process is at this search; hydra.sweeper.n_jobs=N has more") from None
        self.study = optuna.create_study(
            storage=storage(folder),
            study_name=STUDY,
            direction="minimize" if mode_of(monitor) == "min" else "maximize",
            load_if_exists=True,
        )
        asked = {key: distribution_to_json(kind) for key, kind in self.space.items()} | {"monitor": monitor}
        before = self.study.user_attrs.get("asked", asked)
        if before != asked:
            different = sorted(key for key in asked.keys() | before.keys() if asked.get(key) != before.get(key))
            raise InputError(f"{folder} holds another search ({', '.join(different)} differ): another hydra.sweep.dir=")
        self.study.set_user_attr("asked", asked)

    def __enter__(self) -> "Search":
        for trial in self.study.get_trials(states=[TrialState.RUNNING]):  # of a process that is no more
            Trial(self.study, trial._trial_id).set_user_attr(INTERRUPTED, True)
            self.study.tell(trial.number, state=TrialState.FAIL)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.lock.release()

    def finished(self) -> int:
        """Trials that came to an end, a failure included; one that was interrupted is replaced."""
        return sum(t.state.is_finished() and INTERRUPTED not in t.user_attrs for t in self.study.get_trials())

    def ask(self) -> Trial:
        """The next trial, drawn from the seed and its number: an interrupted search goes on as it would have."""
        seed = mix_seeds(self.seed, len(self.study.get_trials(deepcopy=False))) % 2**32
        self.study.sampler = (
            RandomSampler(seed)
            if self.sampler == "random"
            else TPESampler(n_startup_trials=self.startup_trials, seed=seed, constant_liar=True)
        )
        return self.study.ask(self.space)

    def tell(self, trial: Trial, returned: Any) -> None:
        """What became of a trial. returned: its run's score; anything but a number is a failure."""
        if self._epoch_of_pruning(trial.number):
            self.study.tell(trial, state=TrialState.PRUNED)
        elif isinstance(returned, int | float):
            self.study.tell(trial, returned)
        else:
            self.study.tell(trial, state=TrialState.FAIL)

    def _epoch_of_pruning(self, number: int) -> int | None:
        try:
            return runs.read_result(runs.numbered_run(self.folder, number)).get("pruned")
        except InputError:
            return None

    def conclude(self, path: Path) -> None:
        """Say which trial was best, and write it down."""
        trials = self.study.get_trials()
        complete = [t for t in trials if t.state == TrialState.COMPLETE]
        count = {state: sum(t.state == state for t in trials) for state in (TrialState.PRUNED, TrialState.FAIL)}
        rest = f"{count[TrialState.PRUNED]} pruned, {count[TrialState.FAIL]} failed or interrupted"
        if not complete:
            log.info("no trial of %d came to its end (%s)", len(trials), rest)
            return
        best: FrozenTrial = self.study.best_trial
        values = " ".join(f"{key}={value}" for key, value in best.params.items())
        log.info("best of %d trials (%s): %s; %s %.7g", len(trials), rest, values, self.monitor, best.value)
        found = {"name": "optuna", "best_params": best.params, "best_value": best.value, "best_trial": best.number}
        write_text(path, OmegaConf.to_yaml(OmegaConf.create(found)))


class Prune(EarlyStopping):
    """Tells a search what `monitor` is after each epoch that has it, and stops a run that the search gives up.

    Lightning's rule by name only, as `Convergence`: those are asked once the metrics of an epoch are there.
    """

    def __init__(self, folder: Path, number: int, monitor: str, pruner: str, startup_trials: int) -> None:
        super().__init__(monitor, mode=mode_of(monitor), check_on_train_epoch_end=True)
        pruners = {
            "median": MedianPruner(n_startup_trials=startup_trials),
            "hyperband": HyperbandPruner(),
            "none": NopPruner(),
        }
        study = optuna.load_study(study_name=STUDY, storage=storage(folder), pruner=pruners[pruner])
        (trial,) = (trial for trial in study.get_trials(deepcopy=False) if trial.number == number)
        self.trial, self.epoch = Trial(study, trial._trial_id), 0

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        value = trainer.callback_metrics.get(str(self.monitor))
        if value is None or not value.isfinite():
            return
        epoch = trainer.current_epoch + 1
        self.trial.report(float(value), epoch)
        if self.trial.should_prune():
            self.epoch = epoch
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        pass
