"""python -m dlcourse.evaluate run=DIR [split=test|val|train] [data.KEY=VALUE ...] [out=FILE.json] [plugins=[MODULE]]

Tests the best checkpoint of a run (of a sweep's directory: its best run) again, on a split of the run's data or of
other data (data.root=..., data.limit_eval=...), and holds the figures against those that the run wrote down.
"""

import json
import logging
from pathlib import Path

from dlcourse import runs
from dlcourse.config import plugins
from dlcourse.core import cli
from dlcourse.core.errors import InputError, or_list

log = logging.getLogger(__name__)

# Which examples, and how they are read; not what the network sees of them.
CHANGEABLE = ["root", "source", "verify", "limit", "limit_eval", "eval_batch_size", "device", "workers", "memory_limit"]


def main(argv: list[str]) -> dict[str, float]:
    given = cli.parse_arguments(
        argv, __doc__, ("run",), ("out", "plugins", "data."), choices={"split": ("test", "train", "val")}
    )
    split = given["split"]
    plugins.grant(given.get("plugins"))
    run = runs.find_run(given["run"])
    changes = {k: v for k, v in given.items() if k.startswith("data.")}
    plain, result = runs.read_config(run), runs.read_result(run)
    plain["data"] = runs.with_changes(plain["data"], changes)
    for key in changes:
        if key.removeprefix("data.") not in CHANGEABLE:
            raise InputError(f"{key}: a run is evaluated as it was trained; what can change is {or_list(CHANGEABLE)}")
    from dlcourse.training.evaluation import evaluate_run

    metrics, data = evaluate_run(run, plain, split)
    log.info("%s of %s, %s data: %s", split, run, data["source"], data["provenance"])
    recorded = {} if changes else result["metrics"]
    if recorded and any(data[key] != result["data"].get(key) for key in ("source", "files", split)):
        log.warning(
            "not the data that the run had: %s data, %s", result["data"]["source"], result["data"]["provenance"]
        )
    for name, value in metrics.items():
        note = ""
        if name in recorded and split != "train":
            note = "  as recorded" if recorded[name] == value else f"  recorded: {recorded[name]}"
        log.info("%-16s %s%s", name, value, note)
    if "out" in given:
        text = json.dumps({"run": str(run), "split": split, "metrics": metrics}, indent=2)
        runs.write_text(Path(given["out"]).expanduser(), text + "\n")
    return metrics


if __name__ == "__main__":
    cli.run_command(main)
