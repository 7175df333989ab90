"""`python -m dlcourse.train [GROUP=OPTION] [KEY=VALUE]`: train one run, with -m a sweep, with study=NAME a study;
with --summary only print the network's layers."""

import logging
import os
import shlex
import sys
import time
from functools import partial
from pathlib import Path

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from dlcourse import runs
from dlcourse.config import plugins, search
from dlcourse.config.schema import check
from dlcourse.core import cli
from dlcourse.core.errors import InputError, first_line
from dlcourse.launch.completion import BASH, completions
from dlcourse.launch.compose import compose_config, resolve
from dlcourse.launch.help import help_text
from dlcourse.launch.jobs import Failure, check_engines, run_hydra
from dlcourse.launch.overrides import check_overrides, named_plugins, sweep_values
from dlcourse.launch.sweeps import Sweep, outcome, plan_sweep, status_before
from dlcourse.runs.differences import describe, split_words

log = logging.getLogger(__name__)


def job(cfg: DictConfig, sweep: Sweep | None = None) -> float | Failure | None:
    """One run of Hydra's. A failure is returned, and in a sweep written down."""
    hydra_cfg = HydraConfig.get()
    run = Path(hydra_cfg.runtime.output_dir)
    command = shlex.join(["python", "-m", "dlcourse.train", *search.command_line(), *hydra_cfg.overrides.task])
    try:
        plain = resolve(cfg)
        check(plain)
        if sweep and (plain["trainer"]["devices"], plain["trainer"]["num_nodes"]) != (1, 1):
            raise InputError("a sweep's runs have one device each: trainer.devices=1, or start its runs one by one")
        from dlcourse.training.fit import complete, train  # here: importing torch takes seconds that a typo should not

        if not sweep:
            return train(plain, run, command)
        prune = None
        if hydra_cfg.sweeper["_target_"].endswith("OptunaSweeper"):
            from dlcourse.training.search import Prune

            rule = (str(hydra_cfg.sweeper.pruner), int(hydra_cfg.sweeper.startup_trials))
            prune = Prune(sweep.folder, hydra_cfg.job.num, plain["model"]["monitor"], *rule)
        return complete(plain, run, command, prune)
    except (InputError, OSError) as error:
        failure = Failure(cli.error_sentence(error), code=2)
        if not sweep:
            runs.discard_run(run)
            return failure
        log.error("error: %s", failure.sentence)
    except Exception as error:
        failure = Failure(f"{type(error).__name__}: {error}", code=1)
        log.exception("%s", error)
    except (KeyboardInterrupt, SystemExit):
        runs.discard_run(run)
        raise
    runs.write_failure(run, failure.sentence, command)
    return failure


def sweep_job(cfg: DictConfig, sweep: Sweep) -> float | Failure | None:
    """One run of a sweep's, perhaps in a process of its own: it logs to its train.log, and one line is printed."""
    hydra_cfg = HydraConfig.get()
    run, number, began = Path(hydra_cfg.runtime.output_dir), int(hydra_cfg.job.num), time.time()
    before = status_before(run)
    alone = hydra_cfg.launcher["_target_"].endswith("BasicLauncher")
    with cli.at_place(f"job {sweep.place(number)}" if alone else None), cli.log_apart(run / "train.log"):
        returned = job(cfg, sweep)
    now = time.time()
    said = outcome(run, before, returned.sentence if isinstance(returned, Failure) else "", now - began)
    left = sweep.time_left(number, now)
    what = describe(split_words(hydra_cfg.overrides.task), sweep.varied) or run.name
    print(f"[{sweep.place(number)}] {what}: {said}{f'; {cli.clock(left)} left' if left else ''}", flush=True)
    return returned


def main(argv: list[str]) -> None:
    """Check the command line first, in well under a second, then hand over to Hydra."""
    summary, argv = "--summary" in argv, [word for word in argv if word != "--summary"]
    given = get_args_parser().parse_intermixed_args(argv)
    sys.argv[1:] = [word for word in argv if word not in given.overrides] + given.overrides  # Hydra wants options first
    search.use_folder(given.config_dir)
    plugins.grant(named_plugins(given.overrides))
    if given.help:
        print(help_text(given.overrides))
        return
    if given.shell_completion and given.overrides in (["install=bash"], ["query=bash"]):
        query = given.overrides == ["query=bash"]
        print("\n".join(completions(os.environ.get("COMP_LINE", ""))) if query else BASH)
        return
    studied = any(override.startswith("study=") for override in given.overrides)
    sweep = given.multirun or "hydra.mode=MULTIRUN" in given.overrides
    check_engines(given.overrides, several=studied or sweep)
    if summary:
        summarise(given.overrides, single=not (studied or sweep))
        return
    if studied:
        study(given.overrides)
        return
    asked = given.hydra_help or given.shell_completion or given.cfg or given.info  # runs nothing
    # Another primary config than ours: Hydra knows it, and ddp starts its processes so.
    if not (given.hydra_help or given.shell_completion or given.config_path or given.config_name):
        check_overrides(given.overrides, sweep, values=not given.cfg and not given.info)
        if runs.main_process():
            refuse_used(given.overrides)
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra hands errors on instead of printing them its way
    try:
        if asked:
            hydra.main(version_base="1.3", config_path=str(search.conf_dir()), config_name="train")(job)()
            return
        if sweep:
            planned, words = plan_sweep(given.overrides, given.config_path, given.config_name)
            task, words = partial(sweep_job, sweep=planned), [*given.overrides, *words]
            returned = run_hydra(task, words, True, given.config_path, given.config_name)
        else:
            returned = run_hydra(job, given.overrides, False, given.config_path, given.config_name)
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(first_line(error.__cause__ or error)) from error
    if sweep:
        from dlcourse.reports.sweep import conclude

        conclude(planned.folder, planned.figures)
    failed = [value for value in returned if isinstance(value, Failure)]
    if failed and not sweep and failed[0].code == 2:
        raise InputError(failed[0].sentence)
    if failed:
        print(f"error: failed runs: {len(failed)}; see train.log in the directory of each", file=sys.stderr)
        sys.exit(min(failure.code for failure in failed))


def summarise(overrides: list[str], single: bool) -> None:
    """Print the table of a network's layers, instead of training it."""
    if not single:
        raise InputError("--summary is of one network: without -m and study=")
    check_overrides(overrides, sweep=False)
    plain = resolve(compose_config(overrides))
    from dlcourse.training.layers import describe

    print(describe(plain))


def study(arguments: list[str]) -> None:
    """Run what is missing of a study and write its report: study=COURSE/NAME [budget=quick] [KEY=VALUE]."""
    launcher = [word for word in arguments if word.startswith(("hydra/launcher=", "hydra.launcher."))]
    overrides = sweep_values([word for word in arguments if word not in launcher])
    if "hydra/sweeper" in overrides:
        raise InputError("hydra/sweeper is for sweeps: a study says itself which runs there are")
    name, budget = overrides.pop("study"), overrides.pop("budget", "full")
    if budget not in ("full", "quick"):
        raise InputError(f"budget must be full or quick, got {budget!r}")
    quick = budget == "quick"
    from dlcourse.studies.study import load_study  # pandas and torch, in this order, cost those who don't need them

    load_study(name)
    folder = overrides.pop("hydra.sweep.dir", f"outputs/studies/{name}{'-quick' if quick else ''}")
    from dlcourse.studies.runner import run_study

    command = shlex.join(["python", "-m", "dlcourse.train", *sys.argv[1:]])
    failed = run_study(name, overrides, quick, Path(folder).absolute(), command, launcher)
    if failed:
        print(f"error: failed runs: {failed}; the same command tries them again", file=sys.stderr)
        sys.exit(1)


def refuse_used(overrides: list[str]) -> None:
    """Refuse a hydra.run.dir that holds a run, before Hydra writes anything there."""
    for override in overrides:
        key, _, value = override.partition("=")
        if key != "hydra.run.dir":
            continue
        if not value:
            raise InputError("hydra.run.dir= has no value: the directory of the run")
        run = Path(value.strip("'\""))
        if (run / runs.LOCK).is_file():
            from dlcourse.runs.lock import refuse_busy

            refuse_busy(run)
        if (run / runs.RESULT).is_file():
            raise InputError(f"{override} already holds a run: python -m dlcourse.resume run=DIR, or another directory")


if __name__ == "__main__":
    cli.run_command(main)
