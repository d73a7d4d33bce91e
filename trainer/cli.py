"""The ``trainer`` command: train one network, or write arrays for ``linearize score``, on plain files."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from common.command_line import OneLineGroup
from common.files import replacing_folder
from common.losses import LOSSES
from trainer.checkpoint import load_weights, snapshot_name, state_bytes, weight_bytes
from trainer.data import DATASETS, DataSet, ImageOptions, check_ids, custom_kind, load
from trainer.data.augment import AUGMENTATIONS
from trainer.errors import Diverged, TrainerError
from trainer.files import require_free
from trainer.learners import LEARNERS
from trainer.models import MODELS, ModelSpec, build, family_of
from trainer.options import STATISTICS, options_for
from trainer.predict import accuracy, predict
from trainer.regimes import OPTIMIZERS, SCHEDULES, Ended
from trainer.targets import one_hot

Ids = NDArray[np.int64]
Decorated = TypeVar("Decorated", bound=Callable[..., Any])


SAID: dict[Ended, str] = {
    "tolerance": "converged",
    "accuracy": "reached its accuracy",
    "patience": "stopped getting better on the held-out images",
    "epochs": "did not converge",
}
"""What is said of a training by what ended it."""


class Numbers(click.ParamType):
    """Numbers with commas between them.

    Args:
        kind: int or float.

    """

    name = "numbers"

    def __init__(self, kind: type[int] | type[float]) -> None:
        self.kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int | float, ...]:
        """Return the numbers of a text.

        Args:
            value: the text.
            param: the option, for messages.
            ctx: of the command, for messages.

        """
        try:
            return tuple(self.kind(part) for part in str(value).split(","))
        except ValueError:
            self.fail(
                f"expected numbers such as {'0,10' if self.kind is int else '0.5,0.8'}, got {value!r}", param, ctx
            )


class _Group(OneLineGroup):
    bad_input = (TrainerError,)
    failures = (Diverged,)


_FIT_EXAMPLE = "Example: trainer fit --model cnn --n-labelled 100 --out runs/fit"
_EXPORT_EXAMPLE = "Example: trainer export --n-labelled 100 --pool 500 --out runs/arrays"


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise TrainerError(f"--set data.test_fraction: expected a number such as 0.2, got {text!r}") from error


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise TrainerError(
            f"--set: expected true or false, as data.skip_bad=true or data.stratified=true, got {text!r}"
        )
    return text.lower() == "true"


SETTABLE: dict[str, Callable[[str], Any]] = {
    "data.mode": str,
    "data.test_fraction": _share,
    "data.skip_bad": _truth,
    "data.classes": str,
    "data.stratified": _truth,
    "data.leave_out": str,
}


@click.group(cls=_Group, epilog=_FIT_EXAMPLE, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ntk-lookahead")
def cli() -> None:
    """Train networks on images, and write what the later stages read."""


def _data_options(command: Decorated) -> Decorated:
    """Add the options that say which images, shared by every command."""
    for option in reversed(
        (
            click.option(
                "--dataset",
                default="digits",
                show_default=True,
                help=f"One of {', '.join(DATASETS)}, or your own: folder:PATH, npz:PATH.",
            ),
            click.option("--image-size", help="Scale and crop your own images to N or HxW pixels."),
            click.option("--classes", help="Names of your own data's classes, such as cat,dog.  [those of its labels]"),
            click.option(
                "--set",
                "sets",
                multiple=True,
                metavar="data.KEY=VALUE",
                help=f"How your own data is read: {', '.join(SETTABLE)}.",
            ),
            click.option("--data-root", type=click.Path(path_type=Path), help="Folder in torchvision's layout."),
            click.option("--download", is_flag=True, help="Fetch missing files into the data root."),
            click.option(
                "--n-labelled",
                "--n-labeled",
                type=click.IntRange(min=1),
                help="Label that many training images at random.",
            ),
            click.option(
                "--labelled",
                "--labeled",
                type=click.Path(path_type=Path),
                help="JSON list of the ids of the labelled training images.",
            ),
            click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of every choice."),
            click.option("--out", type=click.Path(path_type=Path), required=True, help="A new or empty folder."),
        )
    ):
        command = option(command)
    return command


@cli.command(epilog=_FIT_EXAMPLE)
@_data_options
@click.option(
    "--model", default="cnn", show_default=True, help=f"One of {', '.join(MODELS)}, or your own: PKG.MOD:FACTORY."
)
@click.option(
    "--option", "model_options", multiple=True, metavar="KEY=VALUE", help="Option of the model, e.g. width=64."
)
@click.option("--init", type=click.Path(path_type=Path), help="Weights to start from (warm start).")
@click.option("--epochs", type=int, help="The most passes over the labelled images.")
@click.option("--batch-size", type=int, help="The most images in one step.")
@click.option("--max-lr", type=float, help="The highest learning rate of the schedule.")
@click.option("--optimizer", help=f"One of {', '.join(OPTIMIZERS)}.  [sgd]")
@click.option("--momentum", type=float, help="Of SGD; of Adam its beta 1.")
@click.option("--weight-decay", type=float, help="Of the optimiser.")
@click.option("--schedule", help=f"Of the learning rate: one of {', '.join(SCHEDULES)}.  [1cycle]")
@click.option("--cycle-momentum", is_flag=True, default=None, help="Let the momentum of a 1cycle fall and rise.")
@click.option("--milestones", type=Numbers(float), help="Shares of the epochs at which multi-step decays, as 0.5,0.8.")
@click.option("--decay", type=float, help="What multi-step multiplies the rate by.  [0.1]")
@click.option("--loss", help=f"One of {', '.join(LOSSES)}.")
@click.option("--learner", help=f"What is minimised: one of {', '.join(LEARNERS)}.  [supervised]")
@click.option("--tolerance", type=float, help="Stop once ||R||_F/sqrt(L) is at most this.")
@click.option("--until-accuracy", type=float, help="Stop once the labelled images' accuracy is above this, as 0.99.")
@click.option("--holdout", type=float, help="Share of the labelled images to hold out; needs --patience.")
@click.option("--patience", type=int, help="Stop after so many epochs without a lower loss on these, and go back.")
@click.option("--batch-norm", help=f"Its statistics in eval mode: {' or '.join(STATISTICS)}.  [restated]")
@click.option("--keep-epochs", type=Numbers(int), help="Keep the weights after these epochs too, as 0,10,100.")
@click.option("--restarts", type=int, help="How often a failing training begins again at a lower rate.  [8]")
@click.option("--augment", help=f"One of {', '.join(AUGMENTATIONS)}; training batches only.")
@click.option("--threads", type=click.IntRange(min=1), help="Of torch on the CPU.  [what suits network and machine]")
@click.option("--device", default="cpu", show_default=True, help="Where to train, e.g. cuda:0.")
def fit(
    dataset: str,
    image_size: str | None,
    classes: str | None,
    sets: tuple[str, ...],
    data_root: Path | None,
    download: bool,
    n_labelled: int | None,
    labelled: Path | None,
    seed: int,
    out: Path,
    model: str,
    model_options: tuple[str, ...],
    init: Path | None,
    threads: int | None,
    device: str,
    **training: Any,
) -> None:
    """Train one network to convergence and write its weights.

    Writes weights.safetensors, model.json, metrics.jsonl (one line an epoch, then the result) and labeled.json
    (the ids used) into --out, all at the end or none of them; of your own data samples.csv says which file or row each
    id is; with --keep-epochs also epoch-10.safetensors and so on; of a learner that trains something beside the
    network, beside.safetensors. Training options left out take the model's defaults.
    Training that diverges or dies starts again at a quarter of the learning rate, with a warning.
    """
    from trainer.loop import fit as train
    from trainer.restarts import LOWER, describe
    from trainer.threads import with_threads

    require_free(out)
    options = options_for(model, **training)
    given = _parse_options(model_options)
    family_of(model).resolve(given)
    data = _load(dataset, data_root, download, {"image_size": image_size, "classes": classes}, sets)
    data.require_augmentable(options.augment)
    ids = _labelled_ids(data, n_labelled, labelled, seed)
    spec = ModelSpec(model, data.input_shape, data.num_classes, given)
    network = build(spec, seed)
    if init is not None:
        load_weights(network, init)
    x, labels, tests = data.inputs("train", ids), data.labels("train", ids), len(data.test)
    threads = threads or _threads(network, x, options.batch_size, device)
    with with_threads(threads):
        try:
            result = train(network, x, labels, data.num_classes, options, seed=seed, device=device)
        except Diverged as error:
            raise Diverged(
                f"{error}; try --max-lr={error.max_lr * LOWER:.3g}" if error.max_lr else str(error)
            ) from error
        test = accuracy(predict(network, data.inputs("test"), device=device), data.labels("test")) if tests else None
    summary = {
        **result.figures(),
        "test_accuracy": test,
        "seconds": result.seconds,
        "threads": threads,
        **result.attempts(),
    }
    with replacing_folder(out) as folder:
        (folder / "weights.safetensors").write_bytes(weight_bytes(network))
        (folder / "model.json").write_text(spec.to_json(), encoding="utf-8")
        (folder / "metrics.jsonl").write_text(_json_lines([*result.history, summary]), encoding="utf-8")
        if result.beside:
            (folder / "beside.safetensors").write_bytes(state_bytes(result.beside))
        for epoch, kept in result.snapshots.items():
            (folder / snapshot_name(epoch)).write_bytes(state_bytes(kept))
        (folder / "labeled.json").write_text(_json_lines([ids.tolist()]), encoding="utf-8")
        if custom_kind(dataset):
            (folder / "samples.csv").write_text(_samples_csv(data, ids), encoding="utf-8")
    for line in describe(result.max_lr, result.restarts, result.at_chance, "--max-lr="):
        click.echo(f"warning: {line}", err=True)
    state = SAID[result.ended]
    click.echo(
        f"{state} after {result.epochs} epochs in {result.seconds:.1f} s: ||R|| = {result.residual_norm:.4f} "
        f"(||R||/sqrt(L) = {result.residual_rms:.4f}), train accuracy {result.train_accuracy:.4f}, "
        + ("no test images" if test is None else f"test accuracy {test:.4f}")
    )
    click.echo(str(out))


@cli.command(epilog=_EXPORT_EXAMPLE)
@_data_options
@click.option("--pool", type=click.IntRange(min=1), required=True, help="Unlabelled training images to draw.")
def export(
    dataset: str,
    image_size: str | None,
    classes: str | None,
    sets: tuple[str, ...],
    data_root: Path | None,
    download: bool,
    n_labelled: int | None,
    labelled: Path | None,
    seed: int,
    out: Path,
    pool: int,
) -> None:
    """Write labelled images and a pool as arrays, for 'linearize score'.

    Writes labelled.npz (x: inputs [L, C, H, W]; y: one-hot targets [L, classes]; ids [L]) and pool.npz (x, ids) into
    --out. Ids are positions in the training half; the pool has no labels and no labelled image. Of your own data
    samples.csv says which file or row each id is. The same --n-labelled and --seed choose the same images as
    'trainer fit'.
    """
    require_free(out)
    data = _load(dataset, data_root, download, {"image_size": image_size, "classes": classes}, sets)
    ids = _labelled_ids(data, n_labelled, labelled, seed)
    rest = np.setdiff1d(np.arange(len(data.train)), ids)
    if pool > len(rest):
        raise TrainerError(f"--pool asks for {pool} images, but only {len(rest)} are not labelled; ask for fewer")
    drawn = np.sort(_stream(seed, "pool").choice(rest, size=pool, replace=False))
    y = one_hot(data.labels("train", ids), data.num_classes)
    with replacing_folder(out) as folder:
        np.savez(folder / "labelled.npz", allow_pickle=False, x=data.inputs("train", ids), y=y, ids=ids)
        np.savez(folder / "pool.npz", allow_pickle=False, x=data.inputs("train", drawn), ids=drawn)
        if custom_kind(dataset):
            (folder / "samples.csv").write_text(_samples_csv(data, [*ids, *drawn]), encoding="utf-8")
    click.echo(f"{len(ids)} labelled images and a pool of {pool}")
    click.echo(str(out))


def _load(
    dataset: str, root: Path | None, download: bool, options: dict[str, str | None], sets: tuple[str, ...]
) -> DataSet:
    """Load a data set with classes; what it has to say about files it left out goes to standard error."""
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    for setting in sets:
        key, equals, value = setting.partition("=")
        if not equals or key not in SETTABLE:
            raise TrainerError(f"--set: expected one of {', '.join(SETTABLE)} with =VALUE, got {setting!r}")
        given[key.removeprefix("data.")] = SETTABLE[key](value)
    if given and not custom_kind(dataset):
        raise TrainerError(f"{next(iter(given))}: expected --dataset folder:PATH or npz:PATH with it, got {dataset!r}")
    data = load(dataset, root=root, download=download, images=ImageOptions(**given))
    for note in data.notes:
        click.echo(f"note: {note}", err=True)
    data.require_classes()
    return data


def _labelled_ids(data: DataSet, n_labelled: int | None, labelled: Path | None, seed: int) -> Ids:
    """Return the labelled ids in ascending order, from a file or drawn at random."""
    if (n_labelled is None) == (labelled is None):
        raise TrainerError("give either --n-labelled N or --labelled ids.json, not both and not neither")
    known = data.labelled_ids
    if n_labelled is not None:
        if n_labelled > len(known):
            known_ones = f"{len(known)}{' with a label' * (len(known) < len(data.train))}"
            raise TrainerError(
                f"--n-labelled asks for {n_labelled} images, but {data.name} has {known_ones}; ask for fewer"
            )
        stream = _stream(seed, "labeled")  # spelt as it always was: the name decides which images it draws
        return np.sort(known[stream.choice(len(known), size=n_labelled, replace=False)])
    assert labelled is not None
    try:
        listed = json.loads(labelled.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainerError(f"--labelled must name a JSON list of ids, but {labelled}: {error}") from error
    if not isinstance(listed, list) or not listed or not all(type(item) is int for item in listed):
        raise TrainerError(f"--labelled must name a JSON list of one or more integers; {labelled} holds something else")
    ids = check_ids(listed, len(data.train), str(labelled))
    if len(np.unique(ids)) != len(ids):
        raise TrainerError(f"{labelled} lists an id twice; list every id once")
    data.labels("train", ids)  # refuses one without a label
    return np.sort(ids)


def _stream(seed: int, use: str) -> np.random.Generator:
    """Return an independent random stream for each use of a seed."""
    return np.random.default_rng(np.random.SeedSequence([seed, *use.encode()]))


def _parse_options(pairs: Sequence[str]) -> dict[str, Any]:
    """Read model options from KEY=VALUE, values read as JSON."""
    options = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        try:
            options[key] = json.loads(value)
        except ValueError as error:
            raise TrainerError(f"--option must be KEY=VALUE with a number, true or false, got {pair!r}") from error
        if not equals:
            raise TrainerError(f"--option must be KEY=VALUE, got {pair!r}")
    return options


def _threads(network: nn.Module, x: NDArray[np.float32], batch_size: int, device: str) -> int:
    """Return with how many threads to train where nobody said."""
    from trainer.threads import choose_threads

    if device.partition(":")[0] != "cpu":
        return torch.get_num_threads()
    return choose_threads(network, torch.from_numpy(x[:1]), batch_size)


def _samples_csv(data: DataSet, ids: Iterable[int]) -> str:
    """Return a table that leads from training ids back to the user's own files or rows."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["sample_id", "path"])
    writer.writerows([int(sample), data.sample_path("train", int(sample))] for sample in ids)
    return text.getvalue()


def _json_lines(records: Sequence[Any]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def main() -> None:
    """Entry point of the console script."""
    cli(prog_name="trainer")
