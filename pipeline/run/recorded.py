"""Opening what somebody wrote, a run, a grid or a configuration: code that it names runs only where the user trusts it.

A run directory may come from anybody, and its configuration may name any function of any module as its network or
strategy.  So its hash is compared first, then what would run is shown, with the file that it lies in: nothing here
imports any of it.
"""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from common.files import sha256_of
from pipeline.annotators.plugins import is_plugin
from pipeline.config import RunConfig, gather
from pipeline.errors import PipelineError
from pipeline.queries import strategy_code
from pipeline.run.context import RunContext, open_context
from pipeline.run.events import Event
from pipeline.run.rundir import check_configuration
from trainer.backbones import own_code
from trainer.models import own_factory

MOST_SHOWN = 200
"""Characters of a name or of arguments in a message."""


@dataclass(frozen=True)
class Code:
    """Code that a configuration names.

    Args:
        role: what it is taken for: ``model``, ``strategy``, ``annotator`` or ``backbone``.
        name: what it is called there.
        target: ``MODULE:OBJECT``.
        arguments: that it is called with.

    """

    role: str
    name: str
    target: str
    arguments: dict[str, Any] | None = None

    @property
    def file(self) -> Path | None:
        """The file that importing its module would run; None where none is found."""
        origin = getattr(_found(self.target.partition(":")[0]), "origin", None)
        return Path(origin) if origin and Path(origin).is_file() else None

    @property
    def sha256(self) -> str | None:
        """The hash of that file."""
        try:
            return sha256_of(self.file) if self.file else None
        except OSError:
            return None

    def shown(self, start: Event | None) -> str:
        """Say in one line what would run, and whether its file is the one that the run began with.

        Args:
            start: the run's first event; None where there is none.

        """
        called = "" if self.name == self.target else f" ({_short(self.target)})"
        given = f" with {_short(self.arguments)}" if self.arguments else ""
        digest = self.sha256
        if digest is None:
            return f"{self.role} {_short(self.name)}{called}{given}, whose file is not found"
        now = f"SHA-256 {digest[:12]}"
        known, recorded = _of(start, "code", self.target), _of(start, "versions", self.name)
        if known or recorded:
            same = known == digest if known else recorded == now  # of the file that defines it, another one maybe
            state = "as when the run began" if same else "CHANGED since the run began" if known else "perhaps changed"
            now = f"{now}, {state}"
        return f"{self.role} {_short(self.name)}{called}{given} from {self.file} ({now})"


def named_code(config: RunConfig) -> list[Code]:
    """Return the code that a configuration names: a network, strategy or annotator that is not built in.

    Args:
        config: of a run.

    """
    backbone = config.data.backbone or ""
    return _code_of(config.model.name, config.model.options, config.query.strategy, config.who, backbone)


def code_of_file(
    file: Path | None, options: Mapping[str, Any], sets: Sequence[str], base: Mapping[str, Any] | None = None
) -> list[Code]:
    """Return the code that a YAML file of fields names and the command does not: that may be somebody else's.

    Args:
        file: as of ``load_config``, like all that follow.
        options: dotted paths to values.
        sets: settings.
        base: any subset of the fields.

    Raises:
        PipelineError: an unreadable file, or a setting that is none.

    """
    if file is None:
        return []
    given = {(code.role, code.name) for code in _code_of(*_names(gather(None, options, sets, base)))}
    named = _code_of(*_names(gather(file, options, sets, base)))
    return [code for code in named if (code.role, code.name) not in given]


def _names(values: Mapping[str, Any]) -> tuple[str, dict[str, Any], str, str, str]:
    """Return network, its options, strategy, annotator and backbone as plain values name them; else nothing."""

    def section(key: str) -> dict[str, Any]:
        return found if isinstance(found := values.get(key), dict) else {}

    places = (("model", "name"), ("query", "strategy"), ("annotator", "name"), ("data", "backbone"))
    named = (section(key).get(field) for key, field in places)
    network, strategy, annotator, backbone = (name if isinstance(name, str) else "" for name in named)
    options = section("model").get("options")
    return network, options if isinstance(options, dict) else {}, strategy, annotator, backbone


def _code_of(model: str, options: Mapping[str, Any], strategy: str, annotator: str, backbone: str) -> list[Code]:
    found = []
    if factory := own_factory(model):
        found.append(Code("model", model, factory, dict(options)))
    if own_code(backbone) and own_factory(model) != backbone:
        found.append(Code("backbone", backbone, backbone))
    if is_plugin(annotator):
        found.append(Code("annotator", annotator, annotator))
    return found + strategies_code([strategy])


def strategies_code(names: Iterable[str]) -> list[Code]:
    """Return the code of those strategies that are not built in.

    Args:
        names: of strategies.

    """
    return [Code("strategy", name, target) for name in names if (target := strategy_code(name))]


def code_sha256(config: RunConfig) -> dict[str, str]:
    """Return the hash of every file that a configuration's code would be imported from, by ``MODULE:OBJECT``."""
    return {code.target: code.sha256 for code in named_code(config) if code.sha256}


def confirm_code(
    where: Path, codes: Iterable[Code], trust: bool, say: Callable[[str], None], start: Event | None = None
) -> None:
    """Refuse code that a record names, or say what runs where it is trusted.

    Args:
        where: the run's or grid's directory, or the configuration's file.
        codes: what it names.
        trust: whether the user gave ``--trust-code``.
        say: told, one line each, what runs.
        start: the run's first event, which knows the files' hashes.

    Raises:
        PipelineError: the code is not trusted; the message shows what would run.

    """
    shown = [code.shown(start) for code in codes]
    if shown and not trust:
        raise PipelineError(
            f"{where} names code that is not part of this program and would run: {'; '.join(shown)}. If you trust it, "
            "give --trust-code"
        )
    for line in shown:
        say(f"--trust-code: runs {line}")


def open_recorded(
    run: Path,
    config: RunConfig,
    events: list[Event],
    trust_code: bool,
    say: Callable[[str], None],
    cache: Path | None = None,
) -> RunContext:
    """Return the context of a run that was recorded, once nothing that it names can run unasked.

    Args:
        run: its directory.
        config: as it stands there.
        events: of the run; none where it was killed before the first.
        trust_code: whether code that the configuration names may run.
        say: told, one line each, what code runs.
        cache: folder of its decoded images, where it keeps them.

    Raises:
        PipelineError: the configuration was changed, names code that is not trusted, or as of ``open_context``.

    """
    confirm_recorded(run, config, events, trust_code, say)
    return open_context(config, cache, run=run)


def confirm_recorded(
    run: Path, config: RunConfig, events: list[Event], trust_code: bool, say: Callable[[str], None]
) -> None:
    """Check a run that was recorded before anything of it is used, and before anything is written to it.

    Args:
        run: as of ``open_recorded``, like all that follow.
        config: its own.
        events: its own.
        trust_code: whether its code may run.
        say: told what code runs.

    Raises:
        PipelineError: the configuration was changed, or names code that is not trusted.

    """
    start = events[0] if events else None
    if start is not None:
        check_configuration(start, config)
    confirm_code(run, named_code(config), trust_code, say, start)


def _found(module: str) -> ModuleSpec | None:
    """Return where a module would be imported from, as custom networks and strategies are; import nothing."""
    if module in sys.modules:
        return sys.modules[module].__spec__
    parts, path, spec = module.split("."), None, None
    here = str(Path.cwd())
    try:
        for depth in range(1, len(parts) + 1):
            name = ".".join(parts[:depth])
            spec = PathFinder.find_spec(name, [here]) if depth == 1 and here not in sys.path else None
            found = (finder.find_spec(name, path) for finder in sys.meta_path if hasattr(finder, "find_spec"))
            spec = spec or next((one for one in found if one is not None), None)
            if spec is None:
                return None
            path = list(spec.submodule_search_locations or ())
    except (ImportError, OSError, AttributeError, KeyError, ValueError, TypeError):
        return None
    return spec


def _of(start: Event | None, field: str, name: str) -> Any:
    values = (start or {}).get(field)
    return values.get(name) if isinstance(values, dict) else None


def _short(value: object) -> str:
    text = value if isinstance(value, str) and value.isprintable() else repr(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"
