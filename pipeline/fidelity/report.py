"""The fidelity report: ``fidelity.json``, ``fidelity.csv`` and the scatter, and the lines that a person reads."""

import csv
import io
import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError
from pipeline.fidelity.agreement import Agreement, Interval
from pipeline.fidelity.changes import INFINITE_PROXIES, PROXIES, SAME
from pipeline.fidelity.figure import draw
from pipeline.fidelity.measure import EXTRA_SEEDS, PLACEBOS, Labels, Measured
from pipeline.fidelity.sample import RULE
from pipeline.fidelity.setting import Setting
from pipeline.fidelity.verdict import parameters, verdict
from pipeline.files import naming, write_atomically
from pipeline.places import check_place
from pipeline.report.figures import spell_seconds

COLUMNS = ("rank correlation", "best third", "cosine", "real / predicted")
JSON, CSV, FIGURE = "fidelity.json", "fidelity.csv", "fidelity"


def destination(run: Path, cycle: int, out: Path | None) -> Path:
    """Return where the report goes, RUN/fidelity/cycle-NNN unless said otherwise; nothing is made yet.

    Args:
        run: the run directory.
        cycle: number of the cycle.
        out: what the user named, if anything.

    Raises:
        PipelineError: there is something else.

    """
    path = out or run / "fidelity" / f"cycle-{cycle:03d}"
    if path.exists() and not path.is_dir():
        raise PipelineError(f"--out: expected a directory, but {path} is a file: name another")
    if path.is_dir() and not all(entry.name.lstrip(".").startswith(f"{FIGURE}.") for entry in path.iterdir()):
        raise PipelineError(
            f"--out: expected a new directory or an earlier report, but {path} is neither: name another"
        )
    check_place(path)
    return path


def write(path: Path, setting: Setting, measured: Measured, labels: Labels, repeats: int) -> None:
    """Write the report's files, each as a whole.

    Args:
        path: where to.
        setting: the cycle and its linearisation.
        measured: what the retrainings gave.
        labels: which labels were imagined.
        repeats: SGD seeds that each retraining is averaged over.

    """
    title = f"{setting.context.config.data.name}, {setting.context.config.model.name}, {len(setting.labelled)} labels"
    svg, png = draw(measured, title)
    with naming(path):
        path.mkdir(parents=True, exist_ok=True)
        for leftover in path.glob(".*.tmp-*"):  # of a process that was killed while it wrote
            leftover.unlink()
    write_atomically(path / CSV, rows_csv(setting, measured))
    write_atomically(path / f"{FIGURE}.svg", svg)
    write_atomically(path / f"{FIGURE}.png", png)
    content = _plain(summary(setting, measured, labels, repeats))
    write_atomically(path / JSON, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def summary(setting: Setting, measured: Measured, labels: Labels, repeats: int) -> dict[str, Any]:
    """Return everything that was measured as plain values; extrapolated ones say so by name.

    Args:
        setting: the cycle and its linearisation.
        measured: what the retrainings gave.
        labels: which labels were imagined.
        repeats: SGD seeds that each retraining is averaged over.

    """
    U = len(setting.candidates)
    extrapolated = U * repeats * measured.seconds
    return {
        "verdict": verdict(setting, measured),
        "cycle": setting.cycle,
        "labels": labels,
        "labelled": len(setting.labelled),
        "candidates": U,
        "retrained": len(measured.rows),
        "repeats": repeats,
        "start": setting.context.config.start,
        "sample": f"{RULE}; score: {measured.target.criterion.name}",
        "judged": measured.target.to_json(),
        "specific": measured.specific._asdict(),
        "finished": measured.finished and {"n": measured.finished.n, **_intervals(measured.finished)},
        "agreement": {
            proxy: {
                "description": (PROXIES | INFINITE_PROXIES)[proxy],
                **{name: {"n": one.n, **_intervals(one)} for name, one in scores.items()},
            }
            for proxy, scores in measured.agreement.items()
        },
        "background": asdict(measured.background)
        | {"seeds_compared": repeats + EXTRA_SEEDS, "placebos": PLACEBOS, "noise": measured.background.noise},
        "diagnostics": {
            "residual_rms": setting.summary["residual_rms"],
            "tolerance": setting.context.config.train_options.tolerance,
            "parameters": parameters(setting),
            **setting.look_ahead.diagnostics.to_json(),
        },
        "seconds": {
            "one_retraining": measured.seconds,
            "linearisation_of_all_candidates": setting.seconds,
            "retraining_all_candidates_extrapolated": extrapolated,
            "ratio_extrapolated": extrapolated / setting.seconds,
        },
    }


def _intervals(one: Agreement) -> dict[str, Any]:
    return {name: value._asdict() for name, value in one._asdict().items() if isinstance(value, Interval)}


def _plain(value: Any) -> Any:
    """Replace what JSON has no word for, NaN, by None."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def rows_csv(setting: Setting, measured: Measured) -> str:
    """Return one line a retrained candidate; the last column is what a person finds it by.

    Args:
        setting: the cycle and its linearisation.
        measured: what the retrainings gave.

    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [(proxy, key) for proxy, figures in measured.rows[0].figures.items() for key in figures]
    head = ["id", "sampled", "label", "unlearned", "converged"]
    writer.writerow([*head, *(f"{proxy}_{key}".replace("-", "_") for proxy, key in names), "path"])
    for row in measured.rows:
        values = [row.unlearned, row.converged, *(row.figures[proxy][key] for proxy, key in names)]
        path = setting.context.data.sample_path("train", int(row.id))
        writer.writerow([row.id, row.how, row.label, *(f"{value:.8g}" for value in values), path])
    return text.getvalue()


def lines(setting: Setting, measured: Measured, repeats: int) -> Iterator[str]:
    """Yield what a person reads: the agreement, the noise beside the effect, the cost, the verdict.

    Args:
        setting: the cycle and its linearisation.
        measured: what the retrainings gave.
        repeats: SGD seeds that each retraining is averaged over.

    """
    yield f"{'proxy':<11} {'score':<12} " + " ".join(f"{name:>22}" for name in COLUMNS)
    for proxy, scores in measured.agreement.items():
        for name, one in scores.items():
            cells = " ".join(f"{_spelled(cell):>22}" for cell in (one.spearman, one.top, one.cosine, one.slope))
            yield f"{proxy:<11} {name:<12} {cells}"
    yield (
        f"{len(measured.rows)} candidates; 95 % intervals by resampling them; best third: share of the really best "
        f"that is predicted, by chance about 0.33; {SAME}"
    )
    sizes = sorted(row.figures["linearized"]["actual_size"] for row in measured.rows)
    background = measured.background
    yield (
        f"Σ‖Δ‖ of a candidate, median {sizes[len(sizes) // 2]:.3g}; without one: another SGD seed "
        f"{background.seeds[0]:.3g}, a copy of a labelled image {background.placebo[0]:.3g}, training on "
        f"{background.drift[0]:.3g} (predicted {background.finishing:.3g}, cosine {background.finishing_cosine:.2f})"
    )
    whole = len(setting.candidates) * repeats * measured.seconds
    yield (
        f"retraining all {len(setting.candidates)} candidates would take {spell_seconds(whole)} (extrapolated), "
        f"linearising once took {spell_seconds(setting.seconds)} with compilation: {whole / setting.seconds:.0f} times"
    )
    yield verdict(setting, measured)


def _spelled(one: Interval) -> str:
    if one.value is None:
        return "undefined"
    return f"{one.value:.2f} [{one.low:.2f}, {one.high:.2f}]"
