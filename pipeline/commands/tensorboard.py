"""``pipeline tensorboard``: finished cycles as logs that TensorBoard shows."""

from pathlib import Path

import click


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Log directory to make.")
def tensorboard(runs: tuple[Path, ...], out: Path) -> None:
    """Write what each RUN, or each run of a grid, has measured as logs for TensorBoard; the runs are not changed.

    Metrics by labels and by cycle, training loss by epoch. Needs the package tensorboard.

    Example: pipeline tensorboard runs/compare-mnist --out runs/logs && tensorboard --logdir runs/logs
    """
    from pipeline.tensorboard import runs_by_name, write_logs

    for name, points in write_logs(runs_by_name(runs), out).items():
        click.echo(f"{name}: {points} points" if points else f"{name}: no finished cycle yet, left out")
    click.echo(f"look at them with: tensorboard --logdir {out}")
