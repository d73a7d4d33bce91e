"""What code of somebody else may change for the whole process without meaning to, put back and told."""

import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class SettingsChanged(RuntimeError):
    """Code changed what everything after it computes with; it was put back."""


class _Setting(NamedTuple):
    """Something of the process that results depend on.

    Args:
        name: of the call that sets it.
        read: returns it.
        write: puts it back.

    """

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], Any]


def _settings() -> list[_Setting]:
    """Return the settings of what is imported; nothing is imported for it."""
    found = [_Setting("os.chdir", _folder, _enter)]
    if _in_main_thread():
        found += [_Setting("signal.signal", _handlers, _handle)]
    return [*found, *_of_numpy(sys.modules.get("numpy")), *_of_torch(sys.modules.get("torch")), *_of_jax()]


def _of_numpy(numpy: Any) -> Iterator[_Setting]:
    if numpy is not None:
        yield _Setting("numpy.seterr", numpy.geterr, lambda value: numpy.seterr(**value))


def _of_torch(torch: Any) -> Iterator[_Setting]:
    if torch is None or not hasattr(torch, "get_default_device"):
        return
    yield _Setting("torch.set_default_dtype", torch.get_default_dtype, torch.set_default_dtype)
    yield _Setting("torch.set_default_device", torch.get_default_device, torch.set_default_device)
    yield _Setting("torch.set_num_threads", torch.get_num_threads, torch.set_num_threads)
    yield _Setting("torch.set_grad_enabled", torch.is_grad_enabled, torch.set_grad_enabled)
    yield _Setting(
        "torch.use_deterministic_algorithms",
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    )
    yield _Setting(
        "torch.set_float32_matmul_precision",
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
    )
    yield _Setting(
        "torch.set_autocast_enabled",
        lambda: torch.is_autocast_enabled("cpu"),
        lambda on: torch.set_autocast_enabled("cpu", on),
    )


def _of_jax() -> Iterator[_Setting]:
    config = getattr(sys.modules.get("jax"), "config", None)
    for name in ("jax_enable_x64", "jax_default_matmul_precision", "jax_default_device", "jax_disable_jit"):
        if config is not None and hasattr(config, name):
            yield _Setting(
                f"jax.config.update({name!r})",
                lambda name=name: getattr(config, name),  # type: ignore[misc]
                lambda value, name=name: config.update(name, value),  # type: ignore[misc]
            )


def _folder() -> str:
    """The working directory; nothing where it was deleted."""
    try:
        return str(Path.cwd())
    except OSError:
        return ""


def _enter(folder: str) -> None:
    if folder:
        os.chdir(folder)


def _handlers() -> tuple[Any, ...]:
    return tuple(signal.getsignal(number) for number in SIGNALS)


def _handle(handlers: tuple[Any, ...]) -> None:
    for number, handler in zip(SIGNALS, handlers, strict=True):
        if handler is not None:  # one that C code had set cannot be set from here
            signal.signal(number, handler)


@contextmanager
def kept(*, generators: bool = True) -> Iterator[None]:
    """Put back what code changes of the process meanwhile, and refuse what results depend on.

    Generators of random numbers and filters of warnings are put back without a word: every stage seeds its own of the
    ones, and libraries set the others when they are imported.

    Args:
        generators: whether those are put back too; not where the caller draws from them itself.

    Raises:
        SettingsChanged: a setting is another one; the message names the call that sets it.

    """
    before = [(setting, setting.read()) for setting in _settings()]
    with _generators_kept() if generators else nullcontext(), _filters_kept():
        try:
            yield
        finally:
            changed = []
            for setting, value in before:
                if (now := setting.read()) != value:
                    values = "" if setting.read is _handlers else f" ({_shown(value)} -> {_shown(now)})"
                    changed.append(f"{setting.name}{values}")
                    setting.write(value)
    if changed:
        raise SettingsChanged(f"it changed {', '.join(changed)} for the whole program: leave that as it was")


def _filters_kept() -> AbstractContextManager[Any]:
    """Keep the filters of warnings, which are the whole process's: not from beside its main thread."""
    return warnings.catch_warnings() if _in_main_thread() else nullcontext()


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextmanager
def _generators_kept() -> Iterator[None]:
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    mine = random.getstate()
    its = numpy.random.get_state() if numpy is not None else None
    theirs = torch.get_rng_state() if torch is not None and hasattr(torch, "get_rng_state") else None
    try:
        yield
    finally:
        random.setstate(mine)
        if numpy is not None and its is not None:
            numpy.random.set_state(its)
        if torch is not None and theirs is not None:
            torch.set_rng_state(theirs)


def _shown(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else f"{text[:60]}…"
