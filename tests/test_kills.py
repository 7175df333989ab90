"""Commands that are killed at random moments and given again: the short form of benchmarks/faults.py."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FAULTS = Path(__file__).parents[1] / "benchmarks" / "faults.py"


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_lost(seed: int, tmp_path: Path) -> None:
    """Runs, sweeps and populations, each killed up to three times, end as those do that nothing happens to."""
    words = ["kills=8", "workers=1", f"seed={os.environ.get('KILLS_SEED', seed)}", "kinds=run,sweep,population"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, FAULTS, *words], cwd=tmp_path, capture_output=True, text=True, env=environment
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    total = next(line for line in done.stdout.splitlines() if line.startswith("| all "))
    kills, lost = (int(cell) for cell in total.strip("| ").split(" | ")[-2:])
    assert (kills >= 8, lost) == (True, 0)
