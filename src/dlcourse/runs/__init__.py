"""A run is a directory: what is in it, how it is written and found again."""

from dlcourse.core.files import write_bytes, write_text
from dlcourse.runs.directory import (
    BEST,
    CONFIG,
    KEYS,
    LAST,
    METRICS,
    RESULT,
    STEPS,
    changed,
    checkpoint,
    commit,
    confusion_file,
    discard,
    encoder_run,
    find,
    main_process,
    read_config,
    read_result,
    versions,
    write_config,
    write_confusion,
    write_failure,
    write_result,
)

__all__ = [
    "BEST", "CONFIG", "KEYS", "LAST", "METRICS", "RESULT", "STEPS", "changed", "checkpoint", "commit", "confusion_file",
    "discard", "encoder_run", "find", "main_process", "read_config", "read_result", "versions", "write_bytes",
    "write_config", "write_confusion", "write_failure", "write_result", "write_text",
]  # fmt: skip
