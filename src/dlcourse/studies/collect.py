"""Runs that were made elsewhere, taken into the studies whose configs they have."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dlcourse import runs
from dlcourse.config.identity import config_hash, hashed_values
from dlcourse.core.errors import InputError
from dlcourse.launch.overrides import override_text
from dlcourse.reports.overview import FOLLOWS
from dlcourse.runs.lock import BusyRunError, hold_run
from dlcourse.studies.runner import damage, plan_runs
from dlcourse.studies.runs import run_status
from dlcourse.studies.study import Job, load_study

FEW = 3  # keys that are named of a run that no study has


def collect_runs(top: Path, studies: Mapping[str, Path], overrides: Mapping[str, Any], quick: bool) -> Iterator[str]:
    """Copy each run below `top` into the folder of the study that has a run of the same config; a sentence for each.

    studies: names with their folders. overrides, quick: as a study is run with them. A run's checkpoints may be
    missing: then what is measured on its network is, too. Its result.json says `collected`, from where. Raises
    InputError where there is no run.
    """
    offered: dict[str, tuple[Path, dict[str, Any]]] = {}
    found = runs.find_runs([str(top)])
    if not found:
        raise InputError(f"there is no run in {top}, nor in a directory below")
    for run in found:
        try:
            result = runs.read_result(run)
            if result["status"] != "done":
                yield f"{run}: not taken, it is not done ({result['status']})"
            elif result["config_hash"] in offered:
                yield f"{run}: not taken, it is the same run as {offered[result['config_hash']][0]}"
            else:
                offered[result["config_hash"]] = run, config_as_hashed(run, result)
        except InputError as error:
            yield f"{run}: not taken, {error}"
    known: list[tuple[str, Job]] = []
    placed = set()
    for name, folder in studies.items():
        for _, entries in plan_runs(load_study(name), overrides, quick, folder):
            for job, place in entries:
                known.append((name, job))
                if job.hash in offered and place not in placed:  # several studies may have the same run
                    placed.add(place)
                    run, _ = offered[job.hash]
                    yield f"{run}: {take_run(run, job, place)}"
    hashes = {job.hash for _, job in known}
    for hash_, (run, plain) in offered.items():
        if hash_ not in hashes:
            yield f"{run}: not taken, {nearest(plain, known)}"


def config_as_hashed(run: Path, result: Mapping[str, Any]) -> dict[str, Any]:
    """A run's config, an encoder by its hash: it lay elsewhere. Raises InputError for another than the run's own."""
    plain = runs.read_config(run)
    if encoder := (result["data"].get("encoder") or {}).get("config_hash"):
        plain["data"]["encoder"] = encoder
    if config_hash(plain) != result["config_hash"]:
        raise InputError(f"its {runs.CONFIG} is not the one that it ran with")
    return plain


def take_run(run: Path, job: Job, place: Path) -> str:
    """Copy a run to where its study has it; in a sentence what became of it."""
    if run.resolve() == place.resolve():
        return "not taken, it is the study's own"
    plain = runs.read_config(run)
    if "encoder" in plain["data"]:  # the same run, elsewhere
        plain["data"]["encoder"] = job.plain["data"].get("encoder")
    place.mkdir(parents=True, exist_ok=True)
    try:
        with hold_run(place):
            if run_status(place) == "done" and not damage(place, job.hash):
                return f"{place} has it already"
            part = place.with_name(f".{place.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(run, part, ignore=shutil.ignore_patterns(runs.LOCK))
            for path in (part, *part.rglob("*")):  # what is kept read-only there is a run like any other here
                path.chmod(0o755 if path.is_dir() else 0o644)
            runs.write_config(part, plain)
            result = runs.read_result(run)
            runs.write_result(part, result | {"collected": str(run)})
            runs.clear_run(place)  # only now: it may be what was copied
            shutil.rmtree(place / ".hydra", ignore_errors=True)
            for path in sorted(part.iterdir(), key=lambda path: path.name == runs.RESULT):  # which makes it whole
                path.replace(place / path.name)
            part.rmdir()
    except BusyRunError:
        return f"not taken, another process is at {place}"
    return f"taken as {place} ({result['device']})"


def nearest(plain: dict[str, Any], known: Sequence[tuple[str, Job]]) -> str:
    """Of which study's run a config differs least, and in what."""
    own = hashed_values(plain)

    def differing(job: Job) -> list[str]:
        theirs = hashed_values(job.plain)
        every = own.keys() | theirs.keys()
        return sorted(key for key in every if own.get(key) != theirs.get(key) and key not in FOLLOWS)

    name, job = min(known, key=lambda entry: len(differing(entry[1])))
    keys, theirs = differing(job), hashed_values(job.plain)
    texts = [f"{k}={override_text(theirs.get(k))} instead of {override_text(own.get(k))}" for k in keys[:FEW]]
    more = [f"{len(keys) - FEW} more"] if len(keys) > FEW else []
    return f"no study has its config; the nearest run is of {name}, with {', '.join(texts + more)}"
