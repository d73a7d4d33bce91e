"""A port on disk: ``model.safetensors``, ``graph.json``, ``report.json``; written atomically, read with suspicion."""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from common.files import replacing_folder, write_bytes
from common.reading import parse_json, read_regular
from migrator.decode import from_json
from migrator.errors import CorruptPort, CorruptWeights, PathTaken, PortMismatch, StateDictMismatch
from migrator.graph import COLLECTIONS, Graph, to_json
from migrator.module import apply_function, plan
from migrator.port import Migrated
from migrator.report import Report
from migrator.results import check_results
from migrator.weights import as_jax, fingerprint, get, put

MODEL, GRAPH, REPORT = "model.safetensors", "graph.json", "report.json"

NARROWED = {"int64": "int32"}
"""What JAX makes of torch's whole numbers while x64 is off."""

LARGEST_TEXT = 2**28
"""Bytes of the largest graph or report that is read."""


def save(migrated: Migrated, directory: str | os.PathLike[str]) -> Path:
    """Write a verified port.

    Args:
        migrated: after ``verify``, unchanged since.
        directory: where it goes; an existing port there is replaced as a whole.

    Returns:
        The directory.

    Raises:
        PortMismatch: the port was not verified, or its variables changed afterwards.
        PathTaken: the directory exists and holds something other than a port.
        OSError: it cannot be written; a port that was there is left as it was.

    Example:
        >>> import tempfile, numpy as np, torch
        >>> from migrator import load, migrate, save, verify
        >>> net = torch.nn.Linear(4, 2).eval()
        >>> port = migrate(net, torch.zeros(2, 4))
        >>> report = verify(net, port, np.ones((3, 4), np.float32))
        >>> directory = save(port, tempfile.mkdtemp() + "/port")
        >>> sorted(path.name for path in directory.iterdir())
        ['graph.json', 'model.safetensors', 'report.json']

    """
    if not migrated.report.verified or migrated.report.weights != fingerprint(migrated.graph, migrated.variables):
        raise PortMismatch("only a port that passed `verify`, and did not change since, is saved; verify it first")
    target = Path(directory).absolute()
    if target.exists() and not _replaceable(target):
        raise PathTaken(f"{target} exists and is not a saved port; choose another directory")
    tensors = {b.file_key: np.ascontiguousarray(get(migrated.variables, b)) for b in migrated.graph.bindings}
    shapes = {b.file_key: b.stored_shape for b in migrated.graph.bindings}
    model = save_tensors({key: value.reshape(shapes[key]) for key, value in tensors.items()})
    graph = _dump(to_json(migrated.graph))
    report = migrated.report.to_json()
    hashes = {
        name: hashlib.sha256(c).hexdigest() for name, c in ((MODEL, model), (GRAPH, graph), (REPORT, _dump(report)))
    }
    contents = {MODEL: model, GRAPH: graph, REPORT: _dump(report | {"sha256": hashes})}
    target.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack, replacing_folder(target) as draft:
        for name, content in contents.items():
            write_bytes(draft / name, content)
        stack.enter_context(_moved_aside(target))
    return target


@contextmanager
def _moved_aside(target: Path) -> Iterator[None]:
    """Make room for a port where there is one, which goes once the new one is there and comes back if it is not."""
    if not target.exists():
        yield
        return
    old = target.with_name(f"{target.name}.old-{secrets.token_hex(4)}")
    old.mkdir()
    try:
        target.rename(old / target.name)
        yield
    finally:
        if not target.exists():
            (old / target.name).rename(target)
        shutil.rmtree(old, ignore_errors=True)


def write_new(path: Path, content: bytes) -> None:
    """Write a file that does not exist yet, whole or not at all.

    Args:
        path: where it goes.
        content: its bytes.

    Raises:
        PathTaken: it exists.
        OSError: it cannot be written.

    """
    if path.exists():
        raise PathTaken(f"{path} exists; name another file")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, content)


def _dump(data: Any) -> bytes:
    return (json.dumps(data, indent=1, sort_keys=True) + "\n").encode()


def _replaceable(target: Path) -> bool:
    return target.is_dir() and {entry.name for entry in target.iterdir()} <= {MODEL, GRAPH, REPORT}


def load(directory: str | os.PathLike[str]) -> Migrated:
    """Read a saved port; torch is not needed.

    Args:
        directory: as written by ``save``.

    Returns:
        The port, with the report of its verification.

    Raises:
        CorruptPort: a file is missing, damaged or not of this version.
        CorruptWeights: the weights are damaged.
        StateDictMismatch: the weights do not fit the graph.

    Example:
        >>> import tempfile, numpy as np, torch
        >>> from migrator import load, migrate, save, verify
        >>> net = torch.nn.Linear(4, 2).eval()
        >>> port = migrate(net, torch.zeros(2, 4))
        >>> report = verify(net, port, np.ones((3, 4), np.float32))
        >>> again = load(save(port, tempfile.mkdtemp() + "/port"))
        >>> again.apply_fn(again.variables, np.ones((3, 4), np.float32)).shape
        (3, 2)

    """
    source = Path(directory)
    graph_bytes, report_bytes = (_read(source / name, LARGEST_TEXT) for name in (GRAPH, REPORT))
    data = _parse(report_bytes, REPORT)
    hashes = data.pop("sha256", None) if isinstance(data, dict) else None
    if not isinstance(hashes, dict):
        raise CorruptPort(f"{source / REPORT} has no checksums; convert the model again")
    _check_hash(source / GRAPH, graph_bytes, hashes)
    _check_hash(source / REPORT, _dump(data), hashes)
    graph = from_json(_parse(graph_bytes, GRAPH))
    plan(graph)
    numbers = sum(math.prod(binding.stored_shape) for binding in graph.bindings)
    model = _read(source / MODEL, LARGEST_TEXT + 16 * numbers)
    _check_hash(source / MODEL, model, hashes)
    report = Report.from_json(data)
    variables = _variables(graph, model, source / MODEL)
    if not report.proven or report.weights != fingerprint(graph, variables):
        raise CorruptPort(f"{source / REPORT} does not belong to this graph and these weights; convert the model again")
    port = Migrated(apply_function(graph), variables, graph, report)
    _try(port, source)
    return port


def _try(port: Migrated, source: Path) -> None:
    """Run a port on shapes alone: a graph may be well-formed and still make no sense."""
    try:
        check_results(port.graph, port.variables)
    except CorruptPort as error:
        raise CorruptPort(f"{source / GRAPH}: {error}; convert the model again") from error
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise CorruptPort(f"{source / GRAPH} cannot be run ({type(error).__name__}: {reason})") from error


def _check_hash(path: Path, content: bytes, hashes: Mapping[str, Any]) -> None:
    if hashlib.sha256(content).hexdigest() != hashes.get(path.name):
        kind = CorruptWeights if path.name == MODEL else CorruptPort
        raise kind(f"{path} does not have the recorded SHA-256; it was damaged or changed")


def _read(path: Path, limit: int) -> bytes:
    try:
        return read_regular(path, limit)
    except (OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or error or "not enough memory"
        raise CorruptPort(f"cannot read {path} ({reason}); expected a port that `migrator convert` wrote") from error


def _parse(content: bytes, name: str) -> Any:
    try:
        return parse_json(content, _once)
    except ValueError as error:
        raise CorruptPort(f"{name} is not JSON ({error}); convert the model again") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return dict(pairs)


def _variables(graph: Graph, content: bytes, path: Path) -> Mapping[str, Any]:
    try:
        tensors = load_tensors(content)
    except Exception as error:  # a damaged header can make it raise anything
        raise CorruptWeights(f"{path} is not a safetensors file ({type(error).__name__}: {error})") from error
    wanted = {binding.file_key for binding in graph.bindings}
    if wanted != set(tensors):
        lacking, extra = sorted(wanted - set(tensors))[:8], sorted(set(tensors) - wanted)[:8]
        raise StateDictMismatch(f"{path}: missing {lacking}, unexpected {extra}")
    variables: dict[str, Any] = {name: {} for name in COLLECTIONS}
    for binding in graph.bindings:
        value = tensors[binding.file_key]
        if value.shape != binding.stored_shape:
            expected, came = list(binding.stored_shape), list(value.shape)
            raise StateDictMismatch(f"{path}: {binding.file_key} expected shape {expected}, found {came}")
        if value.dtype.name not in (binding.spec.dtype, NARROWED.get(binding.spec.dtype)):
            raise StateDictMismatch(f"{path}: {binding.file_key} expected {binding.spec.dtype}, found {value.dtype}")
        if binding.collection == "batch_stats" and binding.path[-1] == "var" and (value < 0).any():
            raise CorruptWeights(f"{path}: {binding.file_key} has a negative variance")
        masks = binding.collection == "buffers"  # may hold -inf
        bad = np.isnan(value) if masks else ~np.isfinite(value)
        if np.issubdtype(value.dtype, np.floating) and bad.any():
            raise CorruptWeights(f"{path}: {binding.file_key} holds NaN or infinite values")
        put(variables, binding, as_jax(value, binding.file_key))
    return variables
