"""``pipeline label``."""

import contextlib
import getpass
import itertools
import os
import shlex
import shutil
import socket
import sys
import webbrowser
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from common.command_line import Finite
from pipeline.cli import KEEP_COMPILED, default_paths, fresh_path, keep_compiled
from pipeline.errors import PipelineError
from pipeline.lock import DirectoryLock
from pipeline.options import confirm_file, note, run_options, trust_code_option
from pipeline.places import CONFIG, check_place, refuse_runs

if TYPE_CHECKING:
    from pipeline.config import RunConfig
    from pipeline.live.studio import Studio
    from pipeline.run.context import RunContext

DEMO = "mnist5k"
QUERY = {"n_init": 20, "subset": 1000}
"""Of a run that people answer: a first network soon, and enough candidates that their pool is well covered."""
OWN_DATA: dict[str, dict[str, Any]] = {
    "folder": {"skip_bad": True, "test_fraction": 0.0},
    "npz": {"test_fraction": 0.0},
}
"""Of their own files: one that cannot be read keeps nobody from labelling, and every label is learned from."""
IN_USE = "label on its page, where 'Link for another browser' lets others in, or stop it"
"""What to do where another process serves a run already."""
IMAGES = "images"
"""Folder of a run in which its images are kept decoded."""
SIMULATED = ("--annotator-noise", "--annotator-skip", "--annotator-disagree", "--annotator-late", "--annotator-missing")
FIXED = ("--dataset", "--cycles", "--annotator", "--classes", *SIMULATED)
"""Options of a run that this command has otherwise or not at all."""


@click.command()
@click.argument("source", metavar="FOLDER|RUN", required=False)
@click.option("--demo", is_flag=True, help="Label real handwritten digits, without data of your own.")
@click.option("--classes", help="Names of the classes, such as cat,dog; others can be added on the page.")
@click.option("--annotator", "name", help="Who labels.  [the user's name]")
@click.option("--budget", type=click.IntRange(min=1), help="Labels after which it stops asking.  [none]")
@click.option("--overlap", type=Finite(0, 1), help="Share of the images that everybody is asked.  [0]")
@click.option("--check", type=click.IntRange(min=1), help="Images drawn at random, only to measure accuracy.  [none]")
@click.option("--port", type=int, default=0, show_default=True, help="Of 127.0.0.1; 0 takes a free one.")
@click.option("--browser/--no-browser", default=True, help="Open the page in the browser.")
@click.option("--label-studio", metavar="URL", help="Label in a Label Studio server, beside the page.")
@click.option("--label-studio-token", metavar="TOKEN", envvar="LABEL_STUDIO_API_KEY", show_envvar=True, help="Its.")
@click.option("--image-root", type=click.Path(path_type=Path), help="Folder that Label Studio serves files from.")
@click.option("--predictions", is_flag=True, help="Show what the network predicts in Label Studio; it sways people.")
@run_options(
    *FIXED,
    defaults={"--n-init": "20", "--subset-size": "1000", "--model": "cnn, for features linear"},
)
@click.option("--out", type=click.Path(path_type=Path), help="Run directory to make.  [runs/FOLDER-label]")
@trust_code_option
def label(
    source: str | None,
    demo: bool,
    classes: str | None,
    name: str | None,
    budget: int | None,
    overlap: float | None,
    check: int | None,
    port: int,
    browser: bool,
    label_studio: str | None,
    label_studio_token: str | None,
    image_root: Path | None,
    predictions: bool,
    out: Path | None,
    trust_code: bool,
    config_file: Path | None,
    sets: tuple[str, ...],
    **options: Any,
) -> None:
    """Label your own images on a page in the browser: it asks about those that will teach the network most.

    FOLDER holds images, few or none of them labelled; an .npz file of arrays or embeddings will do too.  RUN goes on
    where it was.  Every answer is saved at once; Ctrl-C stops.

    Example: pipeline label photos --classes cat,dog,bird
    """
    if demo == (source is not None):
        raise PipelineError("expected either a folder or run to label, or --demo")
    going_on = source is not None and (Path(source) / CONFIG).is_file()
    if source is not None and not going_on:
        refuse_runs(Path(source).expanduser(), "pipeline label")
    if out is not None and not going_on:
        check_place(out)
    given = [f"--{key.partition('__')[2].replace('_', '-')}" for key, value in options.items() if value is not None]
    if going_on and (given or sets or config_file or out or overlap is not None):
        raise PipelineError(
            f"{source} is a run, which goes on as it began: expected no options beside --classes, --budget, "
            "--check, --annotator, --port, --no-browser, --trust-code and those of Label Studio"
        )
    annotator = _annotator(name)
    studio = _studio(label_studio, label_studio_token, image_root, predictions)
    keep_compiled()
    if going_on and source is not None:
        path, added = Path(source), _names(classes)
        _confirm(path, trust_code)
        with _listening(port) as listener, DirectoryLock(path, IN_USE) as lock:  # first: another server may have it
            context = _recorded(path, budget, check)
            _serve(path, context, annotator, listener, browser, added, lock, studio)
        _leave()
        return
    with _listening(port) as listener:  # before anything is made
        base = _base(source, classes, budget, overlap, check)
        fields = {name.replace("__", "."): value for name, value in options.items()}
        confirm_file(config_file, sets, fields, trust_code, base)
        path, context = _begun(base, out, config_file, sets, fields)
        _serve(path, context, annotator, listener, browser, [], None, studio)
    _leave()


def _studio(url: str | None, token: str | None, image_root: Path | None, predictions: bool) -> "Studio | None":
    """Return the Label Studio to label in, where one is named; it answers, and takes the token."""
    if url is None:
        source = click.get_current_context().get_parameter_source("label_studio_token")
        named = {
            "image-root": image_root is not None,
            "predictions": predictions,
            "label-studio-token": source is ParameterSource.COMMANDLINE,  # the environment may have it for other tools
        }
        if alone := [name for name, is_given in named.items() if is_given]:
            raise PipelineError(f"--{alone[0]}: expected with --label-studio URL")
        return None
    from pipeline.live.studio import Studio

    return Studio(url, token or "", image_root, predictions)


def _listening(port: int) -> socket.socket:
    from pipeline.page.serve import listening

    return listening(port)


def _annotator(name: str | None) -> str:
    """Return who answers: a name that the page would take, too."""
    from pipeline.page.fields import checked

    if name == "":
        raise PipelineError("--annotator: expected a name")
    return str(checked("annotator", name or _user()))


def _names(classes: str | None) -> list[str]:
    """Return the names of classes, as they may be added to a run."""
    from pipeline.page.fields import checked

    names = [] if classes is None else [name.strip() for name in classes.split(",")]
    if "" in names:
        raise PipelineError(f"--classes: expected names such as cat,dog, got {classes!r}")
    return [str(checked("label", name)) for name in names]


def _base(
    source: str | None, classes: str | None, budget: int | None, overlap: float | None, check: int | None
) -> dict[str, Any]:
    """Return what a new run is where nothing else is said."""
    from trainer.data import custom_kind

    data_set = DEMO if source is None else _data_set(source)
    base: dict[str, Any] = {
        "data": {"name": data_set} | OWN_DATA.get(custom_kind(data_set) or "", {}),
        "annotator": {"name": "page", "budget": budget, "overlap": overlap, "check": check},
        "query": QUERY,
    }
    if classes is not None:
        base["data"]["classes"] = classes
    return base


def _begun(
    base: dict[str, Any], out: Path | None, config_file: Path | None, sets: tuple[str, ...], fields: dict[str, Any]
) -> tuple[Path, "RunContext"]:
    """Make the directory of a new run, and open it; nothing is left of it where its data is no good."""
    from pipeline.config import load_config
    from pipeline.files import slug
    from pipeline.products.watching import watching
    from pipeline.run.context import open_context
    from pipeline.run.rundir import create_run
    from pipeline.session.checks import require_room

    config = load_config(config_file, fields, sets, base)
    if not config.paged:
        raise PipelineError(f"annotator.name: expected page, got {config.who!r}")
    backbone = config.data.backbone is not None
    if config.data.name.startswith("folder:") and not backbone and config.data.image_size is None:
        config = _with_size(config)
    path = out or _fresh(f"{slug(config.data.name)}-label", config.data.name)
    _refuse_inside(path, config.data.name)
    create_run(path, config)
    try:
        with watching(lambda: None) as progress:
            read, embedded = (partial(progress, what) for what in ("images read", "features computed"))
            context = open_context(config, path / IMAGES, read, embedding=embedded)
        given = len(context.data.labelled_ids) if config.takes_given_labels else 0
        require_room(_wanted(config), 0, len(context.data.train) - given)
        return path, context
    except BaseException:
        shutil.rmtree(path)  # nothing was said yet
        raise


def _refuse_inside(path: Path, data: str) -> None:
    """Refuse a run in the folder of its own images: pictures in its reports would be new ones of them."""
    kind, _, folder = data.partition(":")
    if kind == "folder" and path.resolve().is_relative_to(Path(folder).expanduser().resolve()):
        raise PipelineError(f"--out: expected a directory outside of the images' folder, got {path}: name another")


def _fresh(name: str, data: str) -> Path:
    """Return a path for a new run, and say where one of the same data could be gone on with."""
    from pipeline.run.rundir import read_config

    path = fresh_path(name)
    for earlier in itertools.takewhile(lambda one: one != path, default_paths(name)):
        with contextlib.suppress(PipelineError):  # it is no run, or damaged
            if read_config(earlier).data.name == data:
                note(f"a new run begins; to go on with an earlier one: pipeline label {shlex.quote(str(earlier))}")
    return path


def _data_set(source: str) -> str:
    """Return the data set that an argument names: a folder, an archive of arrays, or what ``--dataset`` takes.

    Paths are absolute, so that the run goes on from whatever directory.
    """
    from trainer.data import DATASETS, custom_kind

    path = Path(source).expanduser()
    if path.is_dir():
        return f"folder:{path.resolve()}"
    if path.suffix == ".npz":
        return f"npz:{path.resolve()}"
    if source in DATASETS or custom_kind(source):
        return source
    raise PipelineError(
        f"expected a folder of images, an .npz file, a run of 'pipeline label' or a data set, but {source} is none"
    )


def _with_size(config: "RunConfig") -> "RunConfig":
    """Give images of several sizes one."""
    from pipeline.config import validate
    from pipeline.plain import merged
    from trainer.data.suggest import suggested_size
    from trainer.errors import TrainerError

    path = Path(config.data.name.removeprefix("folder:")).expanduser()
    try:
        size = suggested_size(path, config.data.image_options)
    except TrainerError as error:
        raise PipelineError(str(error)) from error
    if size is None:
        return config
    text = f"{size[0]}x{size[1]}"
    note(f"the network sees every image at {text} pixels (--image-size); you see it as it is")
    return validate(merged(config.model_dump(), {"data": {"image_size": text}}))


def _confirm(path: Path, trust_code: bool) -> None:
    """Refuse a run that no page serves, that was changed or that names code that is not trusted; nothing is written."""
    from pipeline.run.reading import read_begun, read_config
    from pipeline.run.recorded import confirm_recorded

    config = read_config(path)
    if not config.paged:
        raise PipelineError(f"{path}: expected a run of 'pipeline label'; go on with 'pipeline resume {path}'")
    confirm_recorded(path, config, read_begun(path), trust_code, note)


def _wanted(config: "RunConfig") -> int | None:
    """Return the size that a run's check set is to have."""
    return config.annotator.check if config.annotator else None


def _recorded(path: Path, budget: int | None, check: int | None) -> "RunContext":
    """Open a run that goes on, with another budget or a larger check set where one is given."""
    from pipeline.config import validate
    from pipeline.plain import merged
    from pipeline.run.context import open_context
    from pipeline.run.pool import Pool
    from pipeline.run.reading import read_begun
    from pipeline.run.rundir import read_config
    from pipeline.session.checks import require_room

    config = read_config(path)
    given = {name: value for name, value in (("budget", budget), ("check", check)) if value is not None}
    if given:
        config = validate(merged(config.model_dump(), {"annotator": given}), recorded=True)
    context = open_context(config, path / IMAGES, run=path)
    if check is not None:
        pool = Pool(len(context.data.train), read_begun(path))
        asked = sum(len(ids) for ids in pool.queries.values()) + sum(pool.asked_in(s) is None for s in pool.check_set)
        if check < len(pool.check_set):
            raise PipelineError(
                f"--check: expected at least the {len(pool.check_set)} images drawn before, got {check}"
            )
        require_room(check, len(pool.check_set), pool.size - asked)
    return context


def _serve(
    path: Path,
    context: "RunContext",
    name: str,
    listener: socket.socket,
    browser: bool,
    added: list[str],
    lock: DirectoryLock | None = None,
    studio: "Studio | None" = None,
) -> None:
    """Serve the page until somebody stops it."""
    from pipeline.files import write_atomically
    from pipeline.interrupts import Interrupts
    from pipeline.page.serve import PageServer
    from pipeline.run.recorded import named_code
    from pipeline.run.rundir import RunDirectory
    from pipeline.session.session import Session
    from pipeline.session.state import notes_of

    def warn(message: str) -> None:
        click.echo(f"warning: {message}", err=True)

    for line in notes_of(context):
        note(line)
    trust, quoted = " --trust-code" if named_code(context.config) else "", shlex.quote(str(path))
    there = studio.options if studio else ""
    hint = f"stopped; every answer is saved. Go on with: pipeline label {quoted}{trust}{there}"
    with RunDirectory(path, warn, lock) as run, Interrupts(hint, "stopping …"):
        if run.config.annotator != context.config.annotator:  # another budget: nobody else has the run
            write_atomically(path / CONFIG, context.config.to_yaml())
        session = Session(run, context, path / IMAGES, name, warn, news=click.echo)
        try:
            with PageServer(session, listener) as server:
                for each in added:
                    session.ensure_class(each)
                with contextlib.nullcontext() if studio is None else studio.linked(session, warn, click.echo):
                    _invite(server.access.link(), path, browser and studio is None)
                    server.wait()
        except KeyboardInterrupt:
            pass  # which was said already
        finally:
            session.stop()
    click.echo(hint)
    click.echo(f"take the labels and predictions away with: pipeline products {quoted}")


def _leave() -> None:
    """End at once what nothing is left to do in, when this is the console script and not a test."""
    if click.get_current_context().obj == KEEP_COMPILED:
        from pipeline.interrupts import leave

        leave()


def _invite(link: str, path: Path, browser: bool) -> None:
    click.echo(f"label at {link}")
    click.echo(f"(the link works once; every answer is saved at once, in {path}; Ctrl-C stops)")
    if browser and sys.stdout.isatty() and (sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY")):
        webbrowser.open(link)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "me"
