"""``pipeline experiments``: the papers' experiments, listed, shown and run."""

from pathlib import Path
from typing import Any

import click

from pipeline.commands.compare import ENGINE_OPTIONS, carry_out, engine_options, refuse_fields_of_cells
from pipeline.options import confirm_file, run_options

ENGINE_FIELDS = ("dry_run", "trust_code", *(flag.lstrip("-").replace("-", "_") for flag, *_ in ENGINE_OPTIONS))
small_option = click.option("--small", is_flag=True, help="The variant for two CPU cores: narrower, fewer labels.")


@click.group()
def experiments() -> None:
    """List, show and run the papers' experiments.

    Example: pipeline experiments run lookahead-mnist-wrn1 --small --data-root data
    """


@experiments.command("list")
def list_() -> None:
    """List the presets, one line each, with size and source.

    Example: pipeline experiments list
    """
    from pipeline.experiments import preset_names, read_preset

    names = preset_names()
    width = max(map(len, names))
    for name in names:
        preset = read_preset(name)
        click.echo(f"{name:<{width}}  {preset.size()} ({preset.source})")


@experiments.command()
@click.argument("name")
@small_option
def show(name: str, small: bool) -> None:
    """Print what the preset NAME runs, every field written out, as YAML.

    Example: pipeline experiments show lookahead-mnist-wrn1 --small
    """
    from pipeline.experiments import read_preset

    preset = read_preset(name)
    click.echo((preset.scaled_down() if small else preset).to_yaml(), nl=False)


@experiments.command()
@click.argument("name")
@small_option
@click.option("--strategies", help="Names with commas.  [the preset's]")
@click.option("--seeds", help="Such as 0-5 or 0,3,7-9.  [the preset's]")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Grid to make or to go on with.  [runs/NAME or runs/NAME-small]"
)
@engine_options
@run_options("--strategy", "--on", "--seed", "--threads", "--annotator", "--dataset", "--image-size")
def run(
    name: str,
    small: bool,
    strategies: str | None,
    seeds: str | None,
    out: Path | None,
    config_file: Path | None,
    sets: tuple[str, ...],
    **options: Any,
) -> None:
    """Run the preset NAME: pipeline compare with the preset in place of its defaults, which options change.

    Options not given are the preset's. Given again with the same options it goes on with what is left.

    Example: pipeline experiments run lookahead-mnist-wrn1 --small --data-root data
    """
    from pipeline.experiments import read_preset

    refuse_fields_of_cells(sets)
    preset = read_preset(name)
    where = {key: options.pop(key) for key in list(options) if key in ENGINE_FIELDS}
    fields = {key.replace("__", "."): value for key, value in options.items()}
    chosen = {**fields, "query.strategy": "random"}  # whatever is compared, it is not what a file says
    confirm_file(config_file, sets, chosen, bool(where["trust_code"]))
    grid = (preset.scaled_down() if small else preset).grid(strategies, seeds, config_file, fields, sets)
    carry_out(grid, out or Path("runs") / f"{name}{'-small' * small}", **where)


for parameter in run.params:  # the defaults that their help names are those of a run without a preset
    if parameter.name and "__" in parameter.name and isinstance(parameter, click.Option) and parameter.help:
        parameter.help = parameter.help.partition("  [")[0]
