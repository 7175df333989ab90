"""Folders on the Hugging Face hub: written, and found again. A local folder takes a hub's place, as ./NAME."""

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dlcourse.core.errors import InputError, first_line
from dlcourse.core.network import is_offline

PREFIX = "hub:"  # of run=hub:USER/NAME


def push(folder: Path, name: str, message: str) -> str:
    """Write a folder's files to the repository `name`; returns where they are.

    A repository that isn't there yet is made, as a private one. Raises InputError where it can't be reached.
    """
    if (local := local_folder(name)) is not None:
        shutil.copytree(folder, local, dirs_exist_ok=True)
        return str(local)

    def upload(hub: Any) -> str:
        hub.create_repo(name, private=True, exist_ok=True)
        return str(hub.upload_folder(repo_id=name, folder_path=folder, commit_message=message))

    return ask(name, upload)


def fetch(name: str, files: Sequence[str]) -> Path:
    """The folder with those of `files` that the repository `name` has, where huggingface_hub keeps it."""
    if (local := local_folder(name)) is not None:
        return local
    return Path(ask(name, lambda hub: hub.snapshot_download(name, allow_patterns=list(files))))


def local_folder(name: str) -> Path | None:
    """The folder that `name` is, as ./NAME, ../NAME, ~/NAME or /NAME; None for a repository, as USER/NAME."""
    if name[:1] in (".", "~", "/"):
        return Path(name).expanduser()
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name, re.ASCII):
        raise InputError(f"{name} is no name on the hub: it is USER/NAME, or a local folder as ./NAME")
    return None


def ask(name: str, what: Callable[[Any], str]) -> str:
    """What the hub answers. Raises InputError, in one sentence, where it doesn't or refuses."""
    try:
        from huggingface_hub import HfApi
    except ImportError:
        raise InputError(f"hub:{name} needs huggingface_hub: pip install 'dlcourse[hub]'") from None
    if is_offline():
        raise InputError(
            f"hub:{name} is elsewhere, and $DLCOURSE_OFFLINE forbids to go there; ./NAME is a local folder"
        )
    try:
        return what(HfApi())
    except Exception as error:  # no network, no such repository, no permission: errors of three libraries
        needed = "a network is needed and, to write and for what is private, `hf auth login`"
        raise InputError(f"hub:{name} can't be had ({first_line(error).rstrip('.')}): {needed}") from error
