"""Objects from `{_target_: dotted.name, argument: value, ...}`, and from nothing that could run code of its own."""

import inspect
from typing import Any, TypeVar

from dlcourse.config.plugins import OURS, find_object, is_granted
from dlcourse.core.errors import InputError, memory_mistake

T = TypeVar("T")


def locate(target: Any, kind: type[T], key: str) -> type[T]:
    """The class named `target`: a subclass of `kind` that one of the packages OURS or an allowed plugin defines.

    Looking at what the name leads to, rather than at the name alone, also refuses `torch.serialization.os.system`.
    """
    refused = InputError(
        f"{key}._target_={target}: only {kind.__name__} classes of {', '.join(OURS)} or of a plugin may be named there"
    )
    if not isinstance(target, str) or "." not in target:
        raise refused
    cls = find_object(target, f"{key}._target_")
    if not (inspect.isclass(cls) and issubclass(cls, kind)):
        raise refused
    if cls.__module__.split(".")[0] not in OURS and not is_granted(cls.__module__):
        raise refused
    return cls


def build(spec: dict[str, Any], kind: type[T], key: str, *args: Any, **kwargs: Any) -> T:
    """An object of the class that `spec` names, made with its other entries (and `args`, `kwargs`) as arguments.

    `key` is where the spec stands in the config, for messages. Raises InputError for a class that may not be used, an
    argument that it doesn't take, and whatever it refuses (with TypeError, ValueError, RuntimeError, LookupError, ...).
    """
    cls = locate(spec.get("_target_"), kind, key)
    arguments = {k: v for k, v in spec.items() if k != "_target_"} | kwargs
    try:
        inspect.signature(cls).bind(*args, **arguments)
    except (TypeError, ValueError) as error:
        raise InputError(f"{key}: {cls.__name__} {error}") from None
    try:
        return cls(*args, **arguments)
    except (TypeError, ValueError, RuntimeError, ImportError, MemoryError, LookupError, AttributeError) as error:
        if mistake := memory_mistake(error):
            raise mistake from error
        why, *_ = str(error).splitlines() or [type(error).__name__]
        raise InputError(f"{key}: {why}") from error
