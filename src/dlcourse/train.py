"""`python -m dlcourse.train [GROUP=OPTION] [KEY=VALUE]`: train one run, or with -m a sweep of runs."""

import logging
import shlex
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from dlcourse import cli, runs
from dlcourse.config import check_overrides, conf_dir, resolved
from dlcourse.errors import InputError

log = logging.getLogger(__name__)

failures: list[str] = []


def job(cfg: DictConfig) -> float | None:
    """One run of Hydra's. In a sweep a failure is written down and the others go on."""
    hydra_cfg = HydraConfig.get()
    run = Path(hydra_cfg.runtime.output_dir)
    sweep = hydra_cfg.mode == RunMode.MULTIRUN
    command = shlex.join(["python", "-m", "dlcourse.train", *hydra_cfg.overrides.task])
    try:
        plain = resolved(cfg)
        if sweep and plain["trainer"]["devices"] != 1:
            raise InputError("a sweep runs on one device: trainer.devices=1, or start its runs one by one")
        from dlcourse.engine import (
            train,
        )  # here, because importing torch takes seconds that a typo should not

        return train(plain, run, command)
    except InputError as error:
        if sweep:
            log.error("error: %s", error)
            runs.write_result(run, {"status": "failed", "error": str(error), "command": command})
        else:
            runs.discard(run)
            print(f"error: {error}", file=sys.stderr)
        failures.append(str(error))
    except Exception as error:  # the traceback is in train.log, written by the engine
        failures.append(f"{type(error).__name__}: {error}")
        if not sweep:
            raise
    return None


def main(argv: list[str]) -> None:
    """Check the command line first, in well under a second, then hand over to Hydra."""
    options = [a for a in argv if a.startswith("-")]
    if set(options) <= {"-m", "--multirun"}:
        check_overrides([a for a in argv if not a.startswith("-")], sweep=bool(options))
    hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="train")(job)()
    if failures:
        sys.exit(2)


if __name__ == "__main__":
    cli.run(main)
