"""Loading the data of a run: as it is now for one that begins, and as it was for one that has begun."""

from collections.abc import Callable
from pathlib import Path

from common.memory import available_memory
from pipeline.config import RunConfig
from pipeline.errors import PipelineError
from pipeline.places import refuse_runs
from pipeline.run.began import (
    come_and_gone,
    first_event,
    kept_files,
    read_beginning,
    ways_to_read,
    what_changed,
)
from pipeline.run.embedding import Eye, embedder_of, features_of, fingerprint_with, stand_in
from trainer.data import Before, DataSet, load
from trainer.errors import TrainerError

SHARE_OF_IMAGES = 2
"""A user's own images may take what is free, divided by this; the rest is for training and the kernel."""


def load_data(
    config: RunConfig,
    cache: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    run: Path | None = None,
    *,
    checked: bool = True,
    embedding: Callable[[int, int], None] | None = None,
    features: bool = True,
) -> DataSet:
    """Load the data of a run, a user's own within a part of the free memory.

    What has no label is left out where the data's own labels answer; ids are the same without it.  A run that has begun
    gets what it began with: labels and images that were put into its folder since are no part of it.

    Args:
        config: the run's configuration.
        cache: folder in which a user's own images are kept decoded; where absent, they are decoded into memory.
        progress: told how many images are decoded, of how many.
        run: the run's directory, where it has one.
        checked: whether all of it is compared with what the run began with.
        embedding: told how many images have features, of how many, while a backbone computes them; by default a bar.

        features: whether features are computed where the run learns from a backbone's; without them a run that has
            begun needs no backbone, and its data are the images, with the fingerprint that its features have.

    Raises:
        PipelineError: it is missing, damaged, makes no data set or is not what the run began with; the message names
            the files.

    """
    kind, _, folder = config.data.name.partition(":")
    if kind == "folder":
        refuse_runs(Path(folder).expanduser())
    start = first_event(run) if run is not None else None
    expected = start.get("dataset_sha256") if start else None
    eye = (None if features else stand_in(config, start)) or embedder_of(config, start)
    if run is None or expected is None:
        return features_of(eye, _loaded(config, cache, progress, None, eye), embedding)
    began, kept = read_beginning(run), kept_files(cache)
    other = f"the data set {config.data.name} is not the one that the run began with"
    if began and checked and (changed := come_and_gone(began, config)):
        raise PipelineError(f"{other}: {changed}: put it back as it was, or begin a new run")
    ways = ways_to_read(began, config.data.name, cache)
    found, refused = list[DataSet](), list[PipelineError]()
    for before in ways:
        try:
            data = _loaded(config, cache, progress, before, eye)
            here = fingerprint_with(eye, data)
        except PipelineError as error:
            refused.append(error)
            continue
        if not checked or here == expected:
            return features_of(eye, data, embedding)
        found.append(data)
    if not found:
        raise PipelineError(f"{other}: {refused[0]}" if began else str(refused[0])) from refused[0]
    raise PipelineError(f"{other}: {what_changed(began, found[0], kept)}: put it back as it was, or begin a new run")


def _loaded(
    config: RunConfig,
    cache: Path | None,
    progress: Callable[[int, int], None] | None,
    before: Before,
    eye: Eye | None,
) -> DataSet:
    try:
        options, folder = config.data.image_options, config.data.name.startswith("folder:")
        root = Path(config.data.root).expanduser() if config.data.root else None
        return load(
            config.data.name,
            root=root,
            download=config.data.download,
            images=options if eye is None or not folder else eye.options(options),
            memory_limit=available_memory() // SHARE_OF_IMAGES,
            labelled_only=config.simulated,
            cache=cache,
            progress=progress,
            before=before,
        )
    except (TrainerError, RuntimeError) as error:  # RuntimeError: the home directory of ~user is not known
        raise PipelineError(str(error)) from error
