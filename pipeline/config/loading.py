"""Building a configuration from defaults, a YAML file, options and ``--set``."""

import copy
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import (
    ValidationError,
)

from common.naming import did_you_mean
from common.reading import why
from pipeline.config.run import RunConfig
from pipeline.config.sections import Section
from pipeline.errors import PipelineError
from pipeline.options import FIELDS
from pipeline.parsing import parse_yaml, read_yaml
from pipeline.plain import merged
from trainer import backbones
from trainer.models.on_backbone import PREFIX


def load_config(
    file: Path | None = None,
    options: Mapping[str, Any] | None = None,
    sets: Iterable[str] = (),
    base: Mapping[str, Any] | None = None,
) -> RunConfig:
    """Build a configuration: defaults, ``base``, the file, options, then ``a.b=c`` settings; the last one wins.

    Args:
        file: YAML with any subset of the fields.
        options: dotted paths to values; None values are ignored.
        sets: settings such as ``train.epochs=50``; the value is read as YAML.
        base: any subset of the fields, such as a preset's.

    Returns:
        The validated, fully resolved configuration.

    Raises:
        PipelineError: an unreadable file, an unknown key, a wrong type or a value out of range; one line.

    """
    flags = {field: flag for flag, field in FIELDS.items()}
    given = {field: flags[field] for field, value in (options or {}).items() if value is not None and field in flags}
    given |= {field: f"--set {field}" for field in (setting.partition("=")[0] for setting in sets)}
    return validate(from_anywhere(gather(file, options, sets, base), base), given=given)


def gather(
    file: Path | None = None,
    options: Mapping[str, Any] | None = None,
    sets: Iterable[str] = (),
    base: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return what ``load_config`` makes a configuration of, as plain values: nothing that they name is looked up.

    Args:
        file: as of ``load_config``, like all that follow.
        options: dotted paths to values.
        sets: settings.
        base: any subset of the fields.

    Raises:
        PipelineError: an unreadable file, or a setting that is none.

    """
    values = merged(base or {}, _read_yaml(file) if file else {})
    for path, value in (options or {}).items():
        if value is not None:
            _assign(values, path, copy.deepcopy(value))
    for setting in sets:
        path, separator, text = setting.partition("=")
        if not separator or not path:
            raise PipelineError(f"--set: expected key=value such as train.epochs=50, got {setting!r}")
        if not text.strip():
            raise PipelineError(f"--set {path}: expected a value after '=', got none")
        _assign(values, path, parse_yaml(text, f"--set {path}"))
    return values


def from_anywhere(values: dict[str, Any], base: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Let the folder of a backbone be absolute, so that a run goes on from whatever directory.

    Args:
        values: of a configuration; changed.
        base: what it was made of; a folder that this names stays, for a run was begun with it.

    """
    data, model = (section if isinstance(section := values.get(key), dict) else {} for key in ("data", "model"))
    name, before = data.get("backbone"), (base or {}).get("data")
    if not isinstance(name, str) or (isinstance(before, Mapping) and before.get("backbone") == name):
        return values
    data["backbone"] = backbones.from_anywhere(name)
    if model.get("name") == f"{PREFIX}{name}":  # as a run writes it down that trains on its backbone
        model["name"] = f"{PREFIX}{data['backbone']}"
    return values


def validate(values: Any, *, recorded: bool = False, given: Mapping[str, str] | None = None) -> RunConfig:
    """Turn plain values into a configuration.

    Args:
        values: any subset of the fields.
        recorded: whether these were valid when a run or grid wrote them down: a user's own strategy may be gone since.
        given: the options that fields were given by, for messages.

    Raises:
        PipelineError: an unknown key, a wrong type or a value out of range; one line.

    """
    if not isinstance(values, dict):
        got = "nothing" if values is None else f"a {type(values).__name__}"
        raise PipelineError(f"config: expected keys and values, got {got}")
    try:
        return RunConfig.model_validate(values, context={"recorded": recorded})
    except ValidationError as error:
        raise PipelineError("; ".join(_one_line(detail, given or {}) for detail in error.errors())) from error


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        values = read_yaml(file)
    except (OSError, UnicodeDecodeError) as error:
        raise PipelineError(f"config: cannot read {file}: {why(error)}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise PipelineError(f"config: expected {file} to hold keys and values, got {type(values).__name__}")
    return values


def _assign(values: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for depth, parent in enumerate(parents):
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise PipelineError(f"config: {'.'.join(parents[: depth + 1])} is a value, so {path} cannot be set")
    values[last] = value


def _one_line(detail: Any, given: Mapping[str, str]) -> str:
    where = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return f"config: {_no_key(where, detail['loc'])}"
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "value_error":
        return _by_option(where, message, given) or (f"config: {where}: {message}" if where else f"config: {message}")
    meant = did_you_mean(detail["input"], re.findall(r"'([^']*)'", detail.get("ctx", {}).get("expected", "")))
    place = given.get(where) or f"config: {where}"
    return f"{place}: {message[0].lower()}{message[1:]}, got {detail['input']!r}{meant}"


def _by_option(where: str, message: str, given: Mapping[str, str]) -> str | None:
    """Return a message that begins with the option by which its field was given; None where an option gave none.

    Args:
        where: field or section that was refused; empty for all of them.
        message: which may begin with the name of the field.
        given: the options by field.

    """
    name, mark, rest = re.match(r"([\w. ]*?)(:| must )(.*)|", message, re.DOTALL).groups("")  # type: ignore[union-attr]
    name = name.replace(" ", "_")
    for field, option in given.items():
        last = field.rpartition(".")[2]
        named = mark and name in (field, last, field.replace(".", "_"))
        if named and where in ("", field, field.partition(".")[0]):
            return f"{option}:{rest}" if mark == ":" else f"{option}{mark}{rest}"
    option = given.get(where) or given.get(f"{where}.name", "")
    return f"{option}: {message}" if option else None


def _no_key(where: str, place: tuple[Any, ...]) -> str:
    """Say that there is no such key, which one may have been meant, and which there are beside it."""
    section: Any = RunConfig()
    everywhere = {
        f"{name}.{key}": key for name, value in section for key in (type(value).model_fields if _holds(value) else ())
    } | {name: name for name in type(section).model_fields}
    for part in place[:-1]:
        section = getattr(section, part)
    if where in everywhere and "." in where:  # what --set takes, in a file
        parent, _, key = where.rpartition(".")
        return f"there is no key {where!r}: write {key} under {parent}, as in {parent}: {{{key}: ...}}"
    elsewhere = [path for path, key in everywhere.items() if key == place[-1]]
    meant = f": did you mean {' or '.join(elsewhere)}?" if elsewhere else did_you_mean(where, everywhere)
    return f"there is no key {where!r}; there are {', '.join(type(section).model_fields)}{meant}"


def _holds(value: Any) -> bool:
    return isinstance(value, Section)
