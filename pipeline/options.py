"""The options of a run, which several commands have: each maps to one field of the configuration."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

RUN_OPTIONS: list[tuple[str, str, Any, str]] = [
    (
        "--dataset",
        "data.name",
        str,
        "Data set; 'pipeline list datasets' names them. Your own: folder:PATH, npz:PATH.  [digits]",
    ),
    ("--data-root", "data.root", str, "Directory of the data sets, in torchvision's layout."),
    ("--image-size", "data.image_size", str, "Scale and crop your own images to N or HxW pixels."),
    ("--classes", "data.classes", str, "Names of your own data's classes, such as cat,dog.  [those of its labels]"),
    (
        "--backbone",
        "data.backbone",
        str,
        "Learn from a pretrained network's features of the images; 'pipeline list backbones' names them.",
    ),
    ("--finetune", "data.finetune", str, "Train on the backbone with a new last layer: all of it, or the head alone."),
    ("--backbone-size", "data.backbone_size", int, "Pixels of a side that it sees.  [what suits it and the images]"),
    (
        "--model",
        "model.name",
        str,
        "Network; 'pipeline list models' names them. Your own: PKG.MOD:FACTORY.  [cnn; for features linear]",
    ),
    ("--init-weights", "model.init_weights", str, "Start from these weights, .safetensors or .pt.  [random ones]"),
    (
        "--strategy",
        "query.strategy",
        str,
        "Query strategy; see 'pipeline list strategies'. Your own: MODULE:STRATEGY.  [margin-influence-sequential]",
    ),
    ("--on", "query.on", str, "Whose outputs entropy, margin, least-confidence read: network (default), linearized."),
    ("--n-init", "query.n_init", int, "Labels to start with.  [40]"),
    (
        "--initial",
        "query.initial",
        str,
        "How those are chosen: auto, random, typiclust, k-means; balanced, by hidden labels (simulated).  [auto]",
    ),
    ("--query-size", "query.size", int, "Labels asked for in a query, of which a cycle has one.  [20]"),
    (
        "--subset-size",
        "query.subset",
        int,
        "Candidates scored in each cycle, drawn uniformly; at most the pool.  [400]",
    ),
    (
        "--query-mode",
        "query.mode",
        str,
        "How look-ahead chooses several: top, greedy or sequential.  [as the strategy's name says, else top]",
    ),
    (
        "--retrain-every",
        "query.retrain_every",
        int,
        "Labels asked for in a cycle, between two trainings.  [the query size]",
    ),
    ("--reference", "query.reference", str, "What look-ahead measures change from: network, linearized."),
    ("--distance", "query.distance", str, "And between what: outputs (default), simplex for probabilities."),
    ("--naive-candidates", "query.naive_candidates", int, "Candidates that 'naive' really retrains with."),
    (
        "--annotator",
        "annotator.name",
        str,
        "Who answers: simulated, files (see export and ingest), or your own MODULE:OBJECT.  [simulated]",
    ),
    (
        "--annotator-noise",
        "annotator.noise",
        float,
        "Share of labels that the simulated annotator gets wrong.  [0.0]",
    ),
    ("--annotator-skip", "annotator.skip", float, "Share that it skips.  [0.0]"),
    ("--annotator-disagree", "annotator.disagree", float, "Share on which two annotators differ until a third.  [0.0]"),
    ("--annotator-late", "annotator.late", float, "Share that it answers one question later.  [0.0]"),
    ("--annotator-missing", "annotator.missing", float, "Share that it never answers.  [0.0]"),
    ("--cycles", "cycles", int, "Networks trained; a query follows each but the last.  [6]"),
    ("--epochs", "train.epochs", int, "Most epochs of one training; it stops earlier once converged."),
    (
        "--learner",
        "train.learner",
        str,
        "How it is trained: supervised, loss-prediction, pi-model, mean-teacher, fixmatch.  [as the strategy needs]",
    ),
    ("--seed", "seed", int, "Seed of every random stream.  [0]"),
    ("--kernel", "kernel.head", str, "sum-of-logits, single-logit, trace or full (C² times larger).  [sum-of-logits]"),
    ("--memory-budget", "kernel.memory_budget", str, "For the kernel, such as 4GiB.  [half of what is free]"),
    ("--device", "device", str, "Where torch computes: cpu, cuda, auto.  [auto]"),
    ("--threads", "threads", int, "Of torch on the CPU.  [what suits network and machine]"),
]
FIELDS = {flag: name for flag, name, *_ in RUN_OPTIONS} | {"--download": "data.download"}
"""The field that each option of a run sets."""


def run_options(
    *without: str, defaults: Mapping[str, str] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options that a run's configuration is made of; see ``config_from``.

    Args:
        *without: options that it does not get.
        defaults: what it takes where an option is not given, if not what a run takes, as its help says it.

    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        command = click.option("--set", "sets", multiple=True, metavar="A.B=C", help="Set any field.")(command)
        path = click.Path(path_type=Path)
        command = click.option("--config", "config_file", type=path, help="YAML file with any of the fields.")(command)
        text = "Fetch the data set if it is missing."
        command = click.option("--download", "data__download", is_flag=True, default=None, help=text)(command)
        for flag, name, kind, text in reversed(RUN_OPTIONS):
            if flag not in without:
                taken = (defaults or {}).get(flag)
                said = text if taken is None else f"{text.rpartition('  [')[0]}  [{taken}]"
                command = click.option(flag, name.replace(".", "__"), type=kind, default=None, help=said)(command)
        return command

    return decorate


def config_from(
    config_file: Path | None, sets: tuple[str, ...], options: dict[str, Any], trust_code: bool = False
) -> Any:
    """Return the ``RunConfig`` of a command that has ``run_options``; code that the file alone names must be trusted.

    Args:
        config_file: what ``--config`` names.
        sets: what ``--set`` gives, ``A.B=C``.
        options: the other options, ``data__name`` for ``data.name``.
        trust_code: whether ``--trust-code`` is given.

    """
    from pipeline.config import load_config

    fields = {name.replace("__", "."): value for name, value in options.items()}
    confirm_file(config_file, sets, fields, trust_code)
    return load_config(config_file, fields, sets)


def confirm_file(
    config_file: Path | None, sets: tuple[str, ...], fields: dict[str, Any], trust_code: bool, base: Any = None
) -> None:
    """Refuse code that a configuration's file names and the command does not, or say what runs where it is trusted.

    Args:
        config_file: what ``--config`` names.
        sets: what ``--set`` gives.
        fields: the other options by the field that they set.
        trust_code: whether ``--trust-code`` is given.
        base: as of ``load_config``.

    Raises:
        PipelineError: the code is not trusted, or the file cannot be read.

    """
    from pipeline.run.recorded import code_of_file, confirm_code

    if config_file is not None:
        confirm_code(config_file, code_of_file(config_file, fields, sets, base), trust_code, note)


trust_code_option = click.option(
    "--trust-code", is_flag=True, help="Let code run that a file names: a network or a strategy that is not built in."
)

beside_option = click.option(
    "--beside-random/--no-beside-random",
    default=None,
    help="Train on as many images drawn at random, too, for a second curve.  [only where no option says what is run]",
)


def note(line: str) -> None:
    """Tell the user, on standard error, what is done."""
    click.echo(f"note: {line}", err=True)
