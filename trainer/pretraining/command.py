"""``trainer pretrain``: features learned from images without their labels, for runs to start from."""

import copy
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import nn

from common.files import sha256_of
from trainer.checkpoint import WEIGHTS, initialise, read_weights
from trainer.data import DataSet
from trainer.errors import TrainerError
from trainer.features import last_layer_name
from trainer.models import ModelSpec, build, check_evaluation, source_sha256
from trainer.pretraining.folder import LOCK, Folder, read_backbone
from trainer.pretraining.probe import NEIGHBOURS
from trainer.pretraining.session import Session, Watched
from trainer.pretraining.training import Pixels, Regime, Training
from trainer.pretraining.views import ViewOptions
from trainer.threads import choose_threads, with_threads

WATCHED = 1000
"""The most labelled images whose neighbours are looked at."""
FEWEST = 20
"""With fewer labels their neighbours say nothing."""
HASHED_AT_ONCE = 1024  # images


@dataclass
class Body:
    """A network whose last layer was taken off.

    Args:
        net: the network; what it returns are its features.
        head: the name of the last layer.
        layer: that layer.

    """

    net: nn.Module
    head: str
    layer: nn.Linear


def learn(data: DataSet, spec: ModelSpec, options: dict[str, Any], folder: Folder) -> str:
    """Learn features of a data set's training images, or go on where an earlier call was ended.

    Args:
        data: of which the training half's images are learned from, labelled or not; labels are only looked at.
        spec: the network.
        options: of the command, by name.
        folder: where it is kept.

    Returns:
        The name of the network's last layer, which learned nothing.

    Raises:
        TrainerError: the images or the network are not fit for it, or others than the training was begun with.
        Diverged: the loss is not finite.

    """
    require_images(data)
    body = bodied(spec, options["init"], options["seed"])
    try:
        body.net.to(torch.device(options["device"]))
    except (RuntimeError, AssertionError) as error:
        raise TrainerError(f"device {options['device']!r} cannot be used ({error}); try 'cpu'") from error
    pixels = Pixels(data.train.images, data.scale, *_constants(data, options["init"]))
    facts = {
        "images": _images_sha256(pixels),
        "a network": source_sha256(spec.name) if ":" in spec.name else None,
        "first weights": None if options["init"] is None else sha256_of(weights_file(options["init"])),
    }
    if folder.begun:
        folder.require_facts(facts)
    else:
        folder.begin({"options": options, "facts": facts, "plan": _plan(body, pixels, options)})
    plan = folder.settings()["plan"]
    _say_what(data, plan, options)
    with with_threads(plan["threads"]):
        training = _training(body, pixels, options, plan)
        session = Session(training, folder, _watched(data, pixels, options["seed"]), click.echo)
        session.run()
        record = {
            "name": spec.name,
            "input_shape": list(spec.input_shape),
            "num_classes": spec.num_classes,
            "options": spec.options,
            "mean": list(pixels.mean),
            "std": list(pixels.std),
            "head": body.head,
            "method": options["method"],
            "dataset": data.name,
            "images": len(data.train),
            "data_sha256": facts["images"],
            "epochs": training.steps / training.steps_per_epoch,
            "seed": options["seed"],
            "batch_size": plan["batch_size"],
        }
        session.finish(body.net, body.head, body.layer, record)
    return body.head


@contextmanager
def locked(folder: Folder) -> Iterator[None]:
    """Keep a second process out of a training's folder; one in which nothing was begun goes again.

    Args:
        folder: where it is kept; made, if need be.

    Raises:
        TrainerError: another process is at work there.

    """
    was_there = folder.path.exists()
    folder.path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.path / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise TrainerError(f"--out: another process is at work in {folder.path}: wait for it or stop it") from error
    try:
        yield
    finally:
        lock.release()
        if folder.finished or not folder.begun:
            (folder.path / LOCK).unlink(missing_ok=True)
        if not folder.begun and not was_there:
            folder.path.rmdir()


def require_images(data: DataSet) -> None:
    """Refuse what no views can be made of.

    Args:
        data: the data set.

    Raises:
        TrainerError: features in place of images, or fewer than two.

    """
    if data.holds_features:
        raise TrainerError(f"{data.name}: expected images, but these are features, of which no views can be made")
    if len(data.train) < 2:
        raise TrainerError(
            f"{data.name}: expected at least 2 images in the training half, got {len(data.train)}; features are "
            "learned by telling images apart"
        )


def bodied(spec: ModelSpec, init: str | None, seed: int) -> Body:
    """Build a network, give it the weights to start from, and take its last layer off.

    Args:
        spec: which.
        init: a weights file or a folder that ``trainer pretrain`` wrote; None starts from random weights.
        seed: of its random weights.

    Raises:
        TrainerError: it has nothing to learn before its last layer, or the weights do not fit.

    """
    net = build(spec, seed)
    check_evaluation(spec)
    head = last_layer_name(net, np.zeros((2, *spec.input_shape), np.float32))
    if init is not None:
        initialise(net, read_weights(weights_file(init)), [head])
    layer = net.get_submodule(head) if head else net
    inside = {id(parameter) for parameter in layer.parameters()}
    if not head or all(id(parameter) in inside for parameter in net.parameters() if parameter.requires_grad):
        raise TrainerError(f"--model {spec.name} has nothing to learn before its last layer; choose a deeper one")
    assert isinstance(layer, nn.Linear)
    net.set_submodule(head, nn.Identity())
    return Body(net, head, layer)


def weights_file(init: str) -> Path:
    """Return the weights file that ``--init`` names: itself, or that of a folder.

    Args:
        init: a path.

    """
    path = Path(init).expanduser()
    return path / WEIGHTS if path.is_dir() else path


def _constants(data: DataSet, init: str | None) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation: those that the first weights were learned with, where that is known."""
    if init is None or not Path(init).expanduser().is_dir():
        return data.mean, data.std
    record = read_backbone(Path(init).expanduser())
    mean, std = tuple(record["mean"]), tuple(record["std"])
    if not len(mean) == len(std) == len(data.mean):
        raise TrainerError(
            f"--init {init} was learned from images of {len(mean)} channels, but these have {len(data.mean)}; "
            "use --set data.mode=rgb or grey"
        )
    return mean, std


def _plan(body: Body, pixels: Pixels, options: dict[str, Any]) -> dict[str, Any]:
    """Return what this call decides once for all that go on with the training."""
    images, channels = len(pixels.images), pixels.images.shape[1]
    plan: dict[str, Any] = {
        "batch_size": min(options["batch_size"], images),
        "flip": channels == 3 if options["flip"] is None else options["flip"],
        "threads": options["threads"],
    }
    x = torch.zeros(1, *pixels.images.shape[1:])
    on_cpu = options["device"].partition(":")[0] == "cpu"
    if plan["threads"] is None:
        plan["threads"] = choose_threads(body.net, x, 2 * plan["batch_size"]) if on_cpu else torch.get_num_threads()
    per_epoch = images // plan["batch_size"]
    if options["minutes"] is None:
        plan["steps"] = options["epochs"] * per_epoch
        return plan
    with with_threads(plan["threads"]):
        spare = Body(copy.deepcopy(body.net), body.head, body.layer)
        seconds = _training(spare, pixels, options, plan | {"steps": 100}).seconds_a_step()
    plan["steps"] = max(1, round(60 * options["minutes"] / seconds))
    return plan


def _training(body: Body, pixels: Pixels, options: dict[str, Any], plan: dict[str, Any]) -> Training:
    regime = Regime(
        method=options["method"],
        batch_size=plan["batch_size"],
        max_lr=options["max_lr"],
        weight_decay=options["weight_decay"],
        views=ViewOptions(options["smallest_crop"], plan["flip"], options["colour"]),
        low_precision=options["precision"] == "bfloat16",
        seed=options["seed"],
    )
    return Training(body.net, body.layer.in_features, pixels, regime, plan["steps"])


def _watched(data: DataSet, pixels: Pixels, seed: int) -> Watched:
    """Return some labelled training images; none where there are too few, or of one class."""
    ids = data.labelled_ids
    rng = np.random.default_rng(np.random.SeedSequence([seed, *b"watched"]))
    ids = np.sort(rng.choice(ids, min(WATCHED, len(ids)), replace=False))
    labels = data.train.labels[ids]
    if len(ids) < FEWEST or len(np.unique(labels)) < 2:
        ids, labels = ids[:0], labels[:0]
    view = data.view("train")
    return Watched(type(view)(view.images, view.scale, pixels.mean, pixels.std, view.what)(ids), labels)


def _say_what(data: DataSet, plan: dict[str, Any], options: dict[str, Any]) -> None:
    """Say what is learned from, and what was decided that nobody asked for."""
    tests = f"; the {len(data.test):,} for testing are not looked at" if len(data.test) else ""
    click.echo(f"{options['method']} from all {len(data.train):,} training images, without their labels{tests}")
    if plan["batch_size"] < options["batch_size"]:
        click.echo(f"note: batches of {plan['batch_size']}: there are no more images", err=True)
    if options["flip"] is None:
        why = "in colour: --no-flip where left and right matter" if plan["flip"] else "grey: --flip where they may be"
        click.echo(f"images are {'' if plan['flip'] else 'not '}mirrored, being {why}")
    if len(data.labelled_ids) >= FEWEST:
        click.echo(f"labels are only looked at: of how many images do most of {NEIGHBOURS} neighbours have the class")


def _images_sha256(pixels: Pixels) -> str:
    """Return a hash of all images that are learned from, in their order, and of what normalises them."""
    digest = hashlib.sha256(json.dumps([pixels.images.shape, pixels.scale, pixels.mean, pixels.std]).encode())
    for start in range(0, len(pixels.images), HASHED_AT_ONCE):
        digest.update(np.ascontiguousarray(pixels.images[start : start + HASHED_AT_ONCE]).data.cast("B"))
    return digest.hexdigest()
