"""python -m dlcourse.resume run=DIR [trainer.max_epochs=N] [plugins=[MODULE]]

Goes on after the last whole epoch of a run that was interrupted or failed, in its own directory; the end is the one
that the run would have had. A run that is done goes on when trainer.max_epochs is raised, and one that
trainer.max_time stopped for as long again.
"""

import logging
from pathlib import Path

from dlcourse import runs
from dlcourse.config import plugins
from dlcourse.core import cli
from dlcourse.core.errors import InputError

log = logging.getLogger(__name__)


def main(argv: list[str]) -> float | None:
    given = cli.parse_arguments(argv, __doc__, ("run",), ("trainer.max_epochs", "plugins"))
    plugins.grant(given.get("plugins"))
    run = runs.find_run(given["run"]).resolve()
    from dlcourse.runs.lock import hold_run  # here, like what comes below: they take longer than a mistake should

    with hold_run(run):
        return go_on(run, given)


def go_on(run: Path, given: dict[str, str]) -> float | None:
    plain, result = runs.read_config(run), runs.read_result(run)
    raised = False
    if "trainer.max_epochs" in given:
        epochs = given["trainer.max_epochs"]
        if not epochs.isdigit() or int(epochs) < 1:
            raise InputError(f"trainer.max_epochs must be a whole number from 1 up, got {epochs}")
        raised = int(epochs) > result["epochs"]
        if int(epochs) != plain["trainer"]["max_epochs"] == plain["schedule"].get("T_max"):
            raise InputError(
                f"trainer.max_epochs={epochs}: the run's learning rates were planned for {plain['schedule']['T_max']}"
            )
        plain["trainer"]["max_epochs"] = int(epochs)
    if result["status"] == "done" and not raised and "stopped" not in result:
        log.info("run %s is done, after %s epochs: nothing to resume", given["run"], result["epochs"])
        return result["score"]
    runs.checkpoint_path(run, runs.LAST)
    from dlcourse.training.fit import train
    from dlcourse.training.loading import epochs_done

    done = epochs_done(run)
    if done > plain["trainer"]["max_epochs"]:
        raise InputError(
            f"trainer.max_epochs={plain['trainer']['max_epochs']}: run {given['run']} has {done} epochs already"
        )
    if runs.main_process():
        cli.log_to_file(run / "train.log")
    log.info("resuming %s after epoch %s", given["run"], done)
    return train(plain, run, result.get("command", ""), resume=True)


if __name__ == "__main__":
    cli.run_command(main)
