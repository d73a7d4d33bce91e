"""What code of somebody else may change for the whole process without meaning to, put back and told."""

import contextlib
import locale
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

SIGNALS = (signal.SIGINT, signal.SIGTERM)
STREAMS = {"stdout": 1, "stderr": 2}
TORCH_FLAGS = (("mkldnn", "enabled"), ("cudnn", "enabled"), ("cudnn", "deterministic"), ("cudnn", "benchmark"))
JAX_FLAGS = ("jax_enable_x64", "jax_default_matmul_precision", "jax_default_device", "jax_disable_jit",
             "jax_default_prng_impl", "jax_threefry_partitionable", "jax_debug_nans", "jax_debug_infs",
             "jax_numpy_rank_promotion", "jax_numpy_dtype_promotion", "jax_random_seed_offset",
             "jax_transfer_guard")  # fmt: skip
"""Of those, what other values or errors would come of."""
ERRORS = (Exception, SystemExit, KeyboardInterrupt)
"""What those who call somebody's code handle; everything else becomes ``Ended``."""
_LEAST = [5e-324]
"""The least positive number, which processors can be told to take for zero."""


class SettingsChanged(RuntimeError):
    """Code changed what everything after it computes with; it was put back."""


class Ended(Exception):
    """Code raised what is no error: it would pass by whoever handles errors, and end the program with a traceback.

    Not a ``RuntimeError``, as which ``contextlib`` takes one that a ``StopIteration`` caused for that very one.
    """


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
    found += [_Setting(f"sys.{name}.close", partial(_closed, name), partial(_reopen, name)) for name in STREAMS]
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
    yield _Setting(
        "torch.inference_mode",
        torch.is_inference_mode_enabled,
        lambda on: torch.inference_mode(on).__enter__(),
    )
    for backend, flag in TORCH_FLAGS:
        at = getattr(torch.backends, backend)
        yield _Setting(
            f"torch.backends.{backend}.{flag}",
            partial(getattr, at, flag),
            partial(setattr, at, flag),
        )


def _of_jax() -> Iterator[_Setting]:
    config = getattr(sys.modules.get("jax"), "config", None)
    for name in JAX_FLAGS:
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

    Generators of random numbers, filters of warnings and what results do not depend on are put back without a word:
    every stage seeds its own of the ones, and libraries set the others when they are imported.  A copy of the process
    that code made with ``os.fork`` and let return here ends: two would go on with the work of one.

    Args:
        generators: whether those are put back too; not where the caller draws from them itself.

    Raises:
        SettingsChanged: a setting is another one; the message names the call that sets it.
        Ended: code raised neither an error nor an interrupt nor an exit, or what ends an iteration.

    """
    before, process = [(setting, setting.read()) for setting in _settings()], os.getpid()
    try:
        with _generators_kept() if generators else nullcontext(), _filters_kept(), _manners_kept():
            try:
                yield
            except BaseException as error:
                if isinstance(error, StopIteration | StopAsyncIteration) or not isinstance(error, ERRORS):
                    raise Ended(shown_error(error)).with_traceback(error.__traceback__) from error
                raise
            finally:
                if os.getpid() != process:
                    os._exit(1)
    finally:
        changed = []
        for setting, value in before:
            if (now := setting.read()) != value:
                values = "" if setting.read is _handlers else f" ({_shown(value)} -> {_shown(now)})"
                changed.append(f"{setting.name}{values}")
                setting.write(value)
    if changed:
        raise SettingsChanged(f"it changed {', '.join(changed)} for the whole program: leave that as it was")


def shown_error(error: BaseException, *, first_line: bool = False) -> str:
    """Return the kind of an error and what it says, as one line.

    Args:
        error: of a class that may be anybody's: that of ``Ended`` is what code raised.
        first_line: whether the first line of what it says is enough.

    """
    if isinstance(error, Ended):
        return str(error)
    try:
        lines = str(error).strip().splitlines()[: 1 if first_line else None]
    except Exception:  # it cannot say it
        lines = []
    said = " ".join(" ".join(lines).split())
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


@contextmanager
def _manners_kept() -> Iterator[None]:
    """Put back how the process speaks and writes, which no result depends on."""
    streams, depth, mine = (sys.stdout, sys.stderr), sys.getrecursionlimit(), _in_main_thread()
    mask, place, denormal = _mask() if mine else 0, locale.setlocale(locale.LC_ALL), _has_denormals()
    try:
        yield
    finally:
        if mine:
            sys.stdout, sys.stderr = streams
            os.umask(mask)
            with contextlib.suppress(RecursionError):  # deeper now than that
                sys.setrecursionlimit(depth)
        if locale.setlocale(locale.LC_ALL) != place:
            locale.setlocale(locale.LC_ALL, place)
        if _has_denormals() != denormal and "torch" in sys.modules:
            sys.modules["torch"].set_flush_denormal(not denormal)


def _mask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _has_denormals() -> bool:
    """Whether this thread computes with numbers next to zero, or takes them for zero."""
    return _LEAST[0] * 1.0 != 0


def _closed(name: str) -> bool:
    return bool(getattr(getattr(sys, name), "closed", False))


def _reopen(name: str, closed: bool) -> None:
    """Open a stream anew that was closed, so that this can be said."""
    if not closed:
        with contextlib.suppress(OSError):  # its number is closed, too
            again = os.fdopen(STREAMS[name], "w", buffering=1, errors="backslashreplace", closefd=False)
            setattr(sys, name, again)


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
