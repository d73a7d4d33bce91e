"""``README.md`` of the products: what each file is, how it was made, and commands to use it, in plain words."""

import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.config import RunConfig
from pipeline.products.model_folder import FOLDER, PORT, SOURCE, About
from pipeline.run.events import Event
from trainer.data import DataSet
from trainer.models import own_factory

NAME, TEMPLATE = "README.md", "readme.md.j2"
MOST_CLASSES = 30


def readme(
    folder: Path,
    run: Path,
    config: RunConfig,
    start: Event,
    data: DataSet,
    classes: Sequence[str],
    about: About | None,
    counts: Mapping[str, int],
    hashes: Mapping[str, str],
    versions: Mapping[str, str],
) -> str:
    """Return the text.

    Args:
        folder: of the products, all of them written but this one.
        run: the run directory.
        config: its configuration.
        start: its first event.
        data: its data.
        classes: names of all classes.
        about: the network; None before the first.
        counts: rows of ``labels.csv`` by status.
        hashes: SHA-256 of every file, by name.
        versions: of the packages that wrote it.

    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("pipeline.products", "."),
        autoescape=False,  # Markdown, of which nothing is run
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    source = folder / FOLDER / SOURCE
    networks = re.findall(r"^class (\w+)\(Part\)", source.read_text(), re.MULTILINE) if source.is_file() else [""]
    return environment.get_template(TEMPLATE).render(
        run=run,
        start=start,
        data=data,
        config=config,
        classes=_listed(classes),
        given=shlex.quote(",".join(classes)) if config.data.classes else "",
        unlearned=_listed([name for name in classes if about and name not in about.classes]),
        about=about,
        counts=Counter(counts),
        hashes=hashes,
        versions=versions,
        port=PORT if about and about.ported else "",
        network=networks[-1],
        files=data.root is not None,
        own_code=about is not None and not about.ported and own_factory(str(about.network["name"])) is not None,
    )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MOST_CLASSES])
    return shown if len(names) <= MOST_CLASSES else f"{shown} and {len(names) - MOST_CLASSES} more"
