"""Whether anything may be fetched."""

import os


def is_offline() -> bool:
    """Whether $DLCOURSE_OFFLINE forbids downloads."""
    return os.environ.get("DLCOURSE_OFFLINE", "0") not in ("", "0")
