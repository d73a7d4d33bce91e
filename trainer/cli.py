"""The ``trainer`` command: train one network, or write arrays for ``linearize score``, on plain files."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

from common.cells import safe_path
from common.command_line import OneLineGroup
from common.files import replacing_folder
from common.naming import did_you_mean
from common.reading import parse_json, read_json, why
from trainer.backbones import from_anywhere
from trainer.backbones.command import embedder, with_bar
from trainer.backbones.tuned import FROZEN_MODEL, AsImages, tuned_model
from trainer.checkpoint import load_weights, trained_files
from trainer.command_options import SETTABLE, data_options, image_options, regime_options
from trainer.data import DataSet, ImageOptions, check_ids, custom_kind, holds_features, load
from trainer.errors import Diverged, TrainerError
from trainer.files import require_free
from trainer.learners import Trained
from trainer.models import MODELS, ModelSpec, build, check_evaluation, family_of
from trainer.models.on_backbone import PREFIX
from trainer.options import TrainOptions, options_for
from trainer.pretraining.options import pretrain_options
from trainer.regimes import Ended
from trainer.targets import one_hot

Ids = NDArray[np.int64]


SAID: dict[Ended, str] = {
    "tolerance": "converged",
    "accuracy": "reached its accuracy",
    "patience": "stopped getting better on the held-out images",
    "epochs": "did not converge",
    "solved": "solved",
}
"""What is said of a training by what ended it."""


class _Group(OneLineGroup):
    bad_input = (TrainerError,)
    failures = (Diverged,)


_FIT_EXAMPLE = "Example: trainer fit --model cnn --n-labelled 100 --out runs/fit"
_PRETRAIN_EXAMPLE = "Example: trainer pretrain --dataset folder:photos --image-size 32 --minutes 30 --out features"
_EXPORT_EXAMPLE = "Example: trainer export --n-labelled 100 --pool 500 --out runs/arrays"


@click.group(cls=_Group, epilog=_FIT_EXAMPLE, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ntk-lookahead")
def cli() -> None:
    """Train networks on images, and write what the later stages read."""


@cli.command(epilog=_FIT_EXAMPLE)
@data_options
@click.option("--model", help=f"One of {', '.join(MODELS)}, or your own: PKG.MOD:FACTORY.  [cnn; for features linear]")
@click.option(
    "--option", "model_options", multiple=True, metavar="KEY=VALUE", help="Option of the model, e.g. width=64."
)
@click.option("--init", type=click.Path(path_type=Path), help="Weights to start from (warm start).")
@regime_options
@click.option(
    "--threads", type=click.IntRange(min=1, max=4096), help="Of torch on the CPU.  [what suits network and machine]"
)
@click.option("--device", default="cpu", show_default=True, help="Where to train, e.g. cuda:0.")
def fit(
    dataset: str,
    image_size: str | None,
    classes: str | None,
    sets: tuple[str, ...],
    backbone: str | None,
    finetune: str | None,
    backbone_size: int | None,
    data_root: Path | None,
    download: bool,
    n_labelled: int | None,
    labelled: Path | None,
    seed: int,
    out: Path,
    model: str | None,
    model_options: tuple[str, ...],
    init: Path | None,
    threads: int | None,
    device: str,
    **training: Any,
) -> None:
    """Train one network to convergence and write its weights.

    Writes weights.safetensors, model.json, metrics.jsonl (one line an epoch, then the result) and labeled.json
    (the ids used) into --out, all at the end or none of them; samples.csv says which file or row each id is; with
    --keep-epochs also epoch-10.safetensors and so on; of a learner that trains something beside the network,
    beside.safetensors; of one that averages weights, whose averages are weights.safetensors, student.safetensors.
    Training options left out take the defaults of the learner and the model. Learners of images without labels learn
    from all training images that are not labelled.
    Training that diverges or dies starts again at a quarter of the learning rate, with a warning. Killed, the same
    command goes on from OUT.checkpoint.safetensors, which is written every 20 s.
    """
    from trainer.fitting import fit_on
    from trainer.restarts import describe
    from trainer.resumable import Checkpoint

    require_free(out)
    given = _parse_options(model_options)
    model, given = _network(model, given, dataset, Seen(backbone, finetune, backbone_size))
    options = options_for(model, given, **training)
    family_of(model).resolve(given)
    own = {"image_size": image_size, "classes": classes}
    data = _load(dataset, data_root, download, own, sets, Seen(backbone, finetune, backbone_size, device))
    data.require_augmentable(options.augment)
    options = options_for(model, given, num_classes=data.num_classes, **training)
    ids = _labelled_ids(data, n_labelled, labelled, seed)
    spec = ModelSpec(model, data.input_shape, data.num_classes, given)
    network = build(spec, seed)
    check_evaluation(spec)
    if init is not None:
        load_weights(network, init)
    checkpoint = Checkpoint(out.with_name(f"{out.name}.checkpoint.safetensors"))
    found = fit_on(data, ids, network, options, checkpoint, seed=seed, device=device, threads=threads)
    result = found.result
    texts = {
        "model.json": spec.to_json(),
        "metrics.jsonl": _json_lines([*result.history, found.summary()]),
        "labeled.json": _json_lines([ids.tolist()]),
        "samples.csv": _samples_csv(data, ids),
    }
    with replacing_folder(out) as folder:
        for name, content in (
            trained_files(network, result) | {name: text.encode() for name, text in texts.items()}
        ).items():
            (folder / name).write_bytes(content)
    checkpoint.remove()
    for line in describe(result.max_lr, result.restarts, result.at_chance, "--max-lr="):
        click.echo(f"warning: {line}", err=True)
    click.echo(_said(result, found.test, options))
    if result.averaged:
        shown = "" if found.student is None else f", with a test accuracy of {found.student:.4f}"
        click.echo(f"weights.safetensors holds the averages over the steps; student.safetensors the last ones{shown}")
    click.echo(str(out))


def _network(model: str | None, given: dict[str, Any], dataset: str, seen: "Seen") -> tuple[str, dict[str, Any]]:
    """Return which network is trained, and its options: the one named, else what the data wants."""
    if seen.backbone is not None and seen.finetune is not None:
        if model is not None:
            raise TrainerError("--model: --finetune trains the backbone itself: leave one of them out")
        tuned = tuned_model(from_anywhere(seen.backbone), seen.finetune, seen.size)  # model.json keeps the name
        return tuned["name"], tuned["options"] | given
    if model is not None and model.startswith(PREFIX):
        raise TrainerError(f"--model {model}: give --backbone {model.removeprefix(PREFIX)} --finetune all instead")
    if model is None and seen.backbone is not None:
        return FROZEN_MODEL["name"], FROZEN_MODEL["options"] | given
    return model or ("linear" if holds_features(dataset) else "cnn"), given


def _said(result: Trained, test: float | None, options: TrainOptions) -> str:
    """Return what is said of a training, in a line."""
    said = "ended" if result.ended == "epochs" and options.tolerance == 0 else SAID[result.ended]
    how = f"after {result.epochs} epochs" if result.ridge is None else f"with ridge {result.ridge:g}"
    return (
        f"{said} {how} in {result.seconds:.1f} s: ||R|| = "
        f"{result.residual_norm:.4f} (||R||/sqrt(L) = {result.residual_rms:.4f}), train accuracy "
        f"{result.train_accuracy:.4f}, " + ("no test images" if test is None else f"test accuracy {test:.4f}")
    )


@cli.command(epilog=_EXPORT_EXAMPLE)
@data_options
@click.option("--pool", type=click.IntRange(min=1), required=True, help="Unlabelled training images to draw.")
def export(
    dataset: str,
    image_size: str | None,
    classes: str | None,
    sets: tuple[str, ...],
    backbone: str | None,
    finetune: str | None,
    backbone_size: int | None,
    data_root: Path | None,
    download: bool,
    n_labelled: int | None,
    labelled: Path | None,
    seed: int,
    out: Path,
    pool: int,
) -> None:
    """Write labelled images and a pool as arrays, for 'linearize score'.

    Writes labelled.npz (x: inputs [L, C, H, W]; y: one-hot targets [L, classes]; ids, paths [L]) and pool.npz (x, ids,
    paths) into --out. Ids are positions in the training half; the pool has no labels and no labelled image. The paths,
    also in samples.csv, say which file or row each id is; 'linearize score' hands them on. The same --n-labelled and
    --seed choose the same images as 'trainer fit'.
    """
    require_free(out)
    own = {"image_size": image_size, "classes": classes}
    data = _load(dataset, data_root, download, own, sets, Seen(backbone, finetune, backbone_size))
    ids = _labelled_ids(data, n_labelled, labelled, seed)
    rest = np.setdiff1d(np.arange(len(data.train)), ids)
    if pool > len(rest):
        raise TrainerError(f"--pool asks for {pool} images, but only {len(rest)} are not labelled; ask for fewer")
    drawn = np.sort(_stream(seed, "pool").choice(rest, size=pool, replace=False))
    y = one_hot(data.labels("train", ids), data.num_classes)
    with replacing_folder(out) as folder:
        for name, of, more in (("labelled", ids, {"y": y}), ("pool", drawn, {})):
            paths = np.array([data.sample_path("train", int(sample)) for sample in of])
            x = data.inputs("train", of)
            np.savez(folder / f"{name}.npz", allow_pickle=False, x=x, ids=of, paths=paths, **more)
        (folder / "samples.csv").write_text(_samples_csv(data, [*ids, *drawn]), encoding="utf-8")
    click.echo(f"{len(ids)} labelled images and a pool of {pool}")
    click.echo(str(out))


@cli.command(epilog=_PRETRAIN_EXAMPLE)
@image_options
@pretrain_options
def pretrain(
    dataset: str,
    image_size: str | None,
    classes: str | None,
    sets: tuple[str, ...],
    data_root: Path | None,
    download: bool,
    model: str,
    model_options: tuple[str, ...],
    out: Path,
    **options: Any,
) -> None:
    """Learn features from all training images, labelled or not, without their labels.

    Writes weights.safetensors, the network with a last layer of zeros, and backbone.json, which says what it is, into
    --out. Ended at any time, the same command goes on where it was and ends in the same weights.
    """
    from trainer.pretraining.command import learn, locked
    from trainer.pretraining.folder import Folder

    given = _parse_options(model_options)
    resolved = family_of(model).resolve(given)
    images: dict[str, Any] = {"dataset": dataset, "image_size": image_size, "classes": classes, "set": list(sets)}
    options = {**images, "model": model, "option": given, **options}
    folder = Folder(out)
    if folder.begun:
        folder.require_options(options)
    if folder.finished:
        click.echo(f"{out} is finished: nothing to do; another training wants another --out")
        return
    data = _load(
        dataset, data_root, download, {"image_size": image_size, "classes": classes}, sets, classes_needed=False
    )
    spec = ModelSpec(model, data.input_shape, max(2, data.num_classes), resolved)
    with locked(folder):
        head = learn(data, spec, options, folder)
    weights = out / "weights.safetensors"
    known = f" with these {data.num_classes} classes" if data.num_classes > 1 else ""
    click.echo(f"a linear network learns from its features by --backbone {out}")
    click.echo(f"a run of this network{known} begins with it by --init-weights {weights}")
    click.echo(f"{'with others' if known else 'with classes'} also --set model.init_skip={head}, a new last layer")
    click.echo(str(out))


class Seen(NamedTuple):
    """By which pretrained network images are seen, and at which size; by none where it has no name."""

    backbone: str | None
    finetune: str | None
    size: int | None
    device: str = "cpu"


def _load(
    dataset: str,
    root: Path | None,
    download: bool,
    options: dict[str, str | None],
    sets: tuple[str, ...],
    seen: Seen | None = None,
    classes_needed: bool = True,
) -> DataSet:
    """Load a data set, with classes if need be; what it says about files it left out goes to standard error."""
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    for setting in sets:
        key, equals, value = setting.partition("=")
        if not equals or key not in SETTABLE:
            names = ", ".join(SETTABLE)
            meant = did_you_mean(key, SETTABLE)
            raise TrainerError(f"--set: expected one of {names} with =VALUE, got {setting!r}{meant}")
        given[key.removeprefix("data.")] = SETTABLE[key](value)
    eye = embedder(*(seen or Seen(None, None, None)), given.pop("feature_store", None))
    if given and not custom_kind(dataset):
        raise TrainerError(f"{next(iter(given))}: expected --dataset folder:PATH or npz:PATH with it, got {dataset!r}")
    images = ImageOptions(**given)
    if eye is not None and dataset.startswith("folder:"):
        images = eye.options(images)
    data = load(dataset, root=root, download=download, images=images)
    data = eye(data) if isinstance(eye, AsImages) else data if eye is None else with_bar(eye, data)
    for note in data.notes:
        click.echo(f"note: {note}", err=True)
    if classes_needed:
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
        listed = read_json(labelled)
    except (OSError, ValueError) as error:
        raise TrainerError(f"--labelled must name a JSON list of ids, but {labelled}: {why(error)}") from error
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
            options[key] = parse_json(value)
        except ValueError as error:
            raise TrainerError(f"--option must be KEY=VALUE with a number, true or false, got {pair!r}") from error
        if not equals:
            raise TrainerError(f"--option must be KEY=VALUE, got {pair!r}")
    return options


def _samples_csv(data: DataSet, ids: Iterable[int]) -> str:
    """Return a table that leads from training ids back to files or rows."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["sample_id", "path"])
    writer.writerows([int(sample), safe_path(data.sample_path("train", int(sample)))] for sample in ids)
    return text.getvalue()


def _json_lines(records: Sequence[Any]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def main() -> None:
    """Entry point of the console script."""
    cli(prog_name="trainer")
