"""Immutable stage directories: complete means renamed into place and matching its manifest."""

import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from common.files import sha256_of, sync_file, sync_folder
from common.reading import read_json
from pipeline.files import naming, write_json
from pipeline.foreign import guarded
from pipeline.run.former_names import existing
from pipeline.run.stages.binding import Binding

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """What a complete stage left behind.

    Args:
        files: SHA-256 of every file by name.
        seconds: wall-clock time that the stage took, waiting for labels left out.
        binding: where it belongs and what it was made from; older versions wrote none.

    """

    files: dict[str, str]
    seconds: float
    binding: Binding | None = None


def read_manifest(directory: Path) -> Manifest | None:
    """Return the manifest of a complete and undamaged stage, else None."""
    manifest, faults = examined(directory)
    return manifest if next(faults, None) is None else None


def examined(directory: Path) -> tuple[Manifest | None, Iterator[tuple[Path, str]]]:
    """Return what a stage says that it holds, and in what it does not: paths and what is wrong, as they are looked at.

    Args:
        directory: the stage's.

    Returns:
        The manifest, None where it cannot be read, and the faults.

    """
    path = directory / MANIFEST
    if not path.is_file():  # reading a pipe would wait for a writer
        return None, iter([(path, "is missing")])
    try:
        content = read_json(path)
        entries = {str(name): (str(entry["sha256"]), int(entry["bytes"])) for name, entry in content["files"].items()}
        binding = Binding.parse(content["binding"]) if "binding" in content else None
        files = {name: digest for name, (digest, _) in entries.items()}
        manifest = Manifest(files, float(content["seconds"]), binding)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None, iter([(path, "is damaged")])
    return manifest, _faults(directory, entries)


def _faults(directory: Path, entries: Mapping[str, tuple[str, int]]) -> Iterator[tuple[Path, str]]:
    for name, (digest, size) in entries.items():
        path = directory / name
        try:
            if not path.is_file():
                yield path, "is missing"
            elif path.stat().st_size != size or sha256_of(path) != digest:
                yield path, "is damaged: it has not the SHA-256 that its manifest says"
        except (OSError, ValueError) as error:  # a name that is none, or a file that cannot be read
            yield path, f"cannot be read ({error})"


def read_seconds(directory: Path) -> float | None:
    """Return the time that a complete stage took, without checking its files; None where there is no stage."""
    manifest = directory / MANIFEST
    return float(read_json(manifest)["seconds"]) if manifest.is_file() else None


def read_stage_seconds(cycle: Path, stage: str) -> float | None:
    """Return the time that a stage of a cycle took; ``score`` with what a sequential query added to it.

    Args:
        cycle: the cycle's folder.
        stage: its name.

    """
    seconds = read_seconds(cycle / stage)
    if stage == "score" and seconds is not None:
        seconds += read_seconds(existing(cycle, "sequential")) or 0.0
    return seconds


def write_stage(directory: Path, build: Callable[[Path], float | None], binding: Binding | None = None) -> Manifest:
    """Build a stage in a temporary sibling and rename it into place once every file and the manifest are durable.

    Args:
        directory: where the stage belongs; must not exist.
        build: writes the stage's files into the directory it is given; it may return how many seconds of its time
            count, where it also waited for somebody.
        binding: where it belongs and what it is made from.

    Returns:
        The manifest written.

    Raises:
        RunFailedError: code that is not ours ended the program or changed what all of it computes with.

    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    where = f"cycle {binding.cycle}: stage {directory.name}" if binding else f"stage {directory.name}"
    with _temporary_sibling(directory) as temporary, naming(directory):
        started = time.perf_counter()
        with guarded(where, generators=False):  # a user's network runs wherever it is trained or asked
            counted = build(temporary)
        seconds = time.perf_counter() - started if counted is None else counted
        manifest = seal(temporary, seconds, binding)
        temporary.rename(directory)
    sync_folder(directory.parent)
    return manifest


def seal(directory: Path, seconds: float, binding: Binding | None = None) -> Manifest:
    """Make a stage's files durable and write their manifest.

    Args:
        directory: the stage's.
        seconds: that it took.
        binding: where it belongs and what it was made from.

    """
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    for path in files:
        sync_file(path)
    digests = {str(path.relative_to(directory)): sha256_of(path) for path in files}
    entries = {name: {"sha256": digest, "bytes": (directory / name).stat().st_size} for name, digest in digests.items()}
    bound = {} if binding is None else {"binding": binding.plain()}
    write_json(directory / MANIFEST, {"seconds": round(seconds, 3), **bound, "files": entries})
    return Manifest(digests, seconds, binding)


def set_aside(directory: Path) -> Path:
    """Rename a stage that is damaged or not the one that belongs there, and return its new place."""
    aside = directory.with_name(f"{directory.name}.damaged-{secrets.token_hex(4)}")
    directory.rename(aside)
    return aside


def remove_leftovers(run: Path) -> None:
    """Remove the temporary directories and files that a killed process left in a run's directory."""
    for leftover in [*run.glob("*.tmp-*"), *run.glob("report/*.tmp-*"), *run.glob("cycles/*/*.tmp-*")]:
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


@contextmanager
def _temporary_sibling(directory: Path) -> Iterator[Path]:
    temporary = directory.with_name(f"{directory.name}.tmp-{secrets.token_hex(4)}")
    temporary.mkdir()
    try:
        yield temporary
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
