"""The papers' experiments as presets: one YAML file each, at the paper's scale, with a small variant for two cores."""

from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from common.naming import one_of
from pipeline.config import Section, load_config
from pipeline.errors import PipelineError
from pipeline.parsing import Dumper, parse_yaml
from pipeline.plain import merged
from pipeline.sweep.grid import Grid, parse_seeds, parse_strategies, unnamed

SUFFIX, HIDDEN = ".yaml", "_"


class Variant(Section):
    """What the small variant of a preset replaces.

    Args:
        strategies: names of query strategies.
        seeds: such as ``0-5``.
        run: any of the fields of ``RunConfig``, merged into the preset's.

    """

    strategies: list[str] | None = None
    seeds: str | None = None
    run: dict[str, Any] = Field(default_factory=dict)


class Preset(Section):
    """An experiment of a paper.

    Args:
        description: what it is, and what of it the paper leaves open.
        source: the paper, with section and figures.
        strategies: names of query strategies.
        seeds: such as ``0-5``.
        run: the fields of ``RunConfig`` that the paper fixes, without ``query.strategy`` and ``seed``.
        small: what is different on two CPU cores.

    """

    description: str
    source: str
    strategies: list[str]
    seeds: str
    run: dict[str, Any]
    small: Variant = Variant()

    def scaled_down(self) -> "Preset":
        """Return the small variant, as a preset without one; a preset without one stays as it is."""
        if self.small == Variant():
            return self
        given = {key: value for key in ("strategies", "seeds") if (value := getattr(self.small, key)) is not None}
        text = f"Scaled down to two CPU cores; the fields below are what runs. At the paper's scale: {self.description}"
        return self.model_copy(
            update={**given, "description": text, "run": merged(self.run, self.small.run), "small": Variant()}
        )

    def grid(
        self,
        strategies: str | None = None,
        seeds: str | None = None,
        config_file: Path | None = None,
        options: Mapping[str, Any] | None = None,
        sets: Iterable[str] = (),
    ) -> Grid:
        """Return the comparison that the preset describes; what is given wins over it as it does over defaults.

        Args:
            strategies: such as ``random,entropy``, instead of the preset's.
            seeds: such as ``0-5``, instead of the preset's.
            config_file: a YAML file of fields.
            options: fields by name.
            sets: ``A.B=C`` each.

        Raises:
            PipelineError: an unknown key, a wrong type or a value out of range; one line.

        """
        names = parse_strategies(strategies or ",".join(self.strategies))
        first = {"query.strategy": names[0]}  # the grid checks the others
        config = load_config(config_file, {**(options or {}), **first}, sets, base=self.run)
        return Grid.of(config, names, parse_seeds(seeds or self.seeds), unnamed(strategies))

    def size(self) -> str:
        """Say in half a line how large the experiment is."""
        grid = self.grid()
        config = grid.cells()[0].config
        last = config.query.n_init + config.query.answers * (config.cycles - 1)
        labels = f"{config.query.n_init:,} to {last:,} labels"
        return f"{config.model.name}, {labels}, {len(grid.strategies)} strategies, {len(grid.seeds)} seeds"

    def to_yaml(self) -> str:
        """Return the preset in the form of its file, every field of its runs written out."""
        plain = self.model_dump(mode="json", exclude={"small"})
        plain |= {"description": _Text(self.description), "run": self.grid().resolved()}
        return yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=116)


class _Text(str):
    """Text that YAML shows folded into lines, without quotes."""


class _Dumper(Dumper):
    """Writes plain values and ``_Text``."""


_Dumper.add_representer(_Text, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style=">"))


def preset_names() -> list[str]:
    """Return the names of all presets, without those that are only the base of others."""
    names = [entry.name.removesuffix(SUFFIX) for entry in files(__name__).iterdir() if entry.name.endswith(SUFFIX)]
    return sorted(name for name in names if not name.startswith(HIDDEN))


def read_preset(name: str) -> Preset:
    """Return a preset by name.

    Args:
        name: of the preset.

    Raises:
        PipelineError: there is none of that name; the message lists those there are.

    """
    if name not in preset_names():
        raise PipelineError(f"experiments: {one_of(name, preset_names())}")
    return parse_preset(_text_of(name), name)


def _text_of(name: str) -> str:
    return (files(__name__) / f"{name}{SUFFIX}").read_text(encoding="utf-8")


def _over_base(plain: Any) -> Any:
    """Return the fields of a preset, those of its base among them."""
    if not isinstance(plain, dict) or "base" not in plain:
        return plain
    common = ""
    result = {key: value for key, value in plain.items() if key != "base"}
    base = plain["base"]
    while base is not None:
        below = parse_yaml(_text_of(str(base)), str(base))
        if str(base).startswith(HIDDEN):
            common += f" {below['description'].strip()}"
        base = below.pop("base", None)
        result = merged(below, result)
    return result | {"description": f"{result['description'].strip()}{common}"}


def parse_preset(text: str, name: str) -> Preset:
    """Read a preset from YAML, over its ``base`` if it names one: another preset, whose fields stand where it has none.

    Of ``run`` and ``small`` each field stands for itself; the description of a base that is no preset itself follows.

    Args:
        text: the YAML.
        name: of the preset, for messages.

    Raises:
        PipelineError: a key is missing, unknown or of another type.

    """
    try:
        return Preset.model_validate(_over_base(parse_yaml(text, name)))
    except ValidationError as error:
        found = error.errors()[0]
        raise PipelineError(f"{name}: {'.'.join(map(str, found['loc']))}: {found['msg'].lower()}") from error
