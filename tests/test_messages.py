"""Messages name no option that there is not, and none that the command in use does not have without saying so."""

import ast
import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import linearize.cli
import migrator.cli
import pipeline.cli
import trainer.cli
from pipeline.advice import OPTION, QUOTED, options_of, with_places
from pipeline.config import UNSCIENTIFIC

ROOT = Path(__file__).parent.parent
PROGRAMS = {module.__name__.partition(".")[0]: module.cli for module in (linearize.cli, migrator.cli, pipeline.cli)}
PROGRAMS["trainer"] = trainer.cli.cli
PROGRAMS = {name: group if isinstance(group, click.Group) else group.cli for name, group in PROGRAMS.items()}
OF_OTHERS = {"--head", "--logdir", "--no-deps"}
"""Options of ray, tensorboard and pip."""
RUNS, GRIDS = ("pipeline run",), ("pipeline compare", "pipeline experiments run")
OWN_DATA, TRAINS = ("pipeline run", "pipeline compare", "trainer fit"), (*RUNS, *GRIDS, "trainer fit")
RAISED_BY = {
    "pipeline/analyse/convergence": ("pipeline analyse convergence",),
    "pipeline/analyse/dynamics": ("pipeline analyse dynamics",),
    "pipeline/analyse/": ("pipeline analyse convergence", "pipeline analyse dynamics"),
    "pipeline/fidelity/": ("pipeline fidelity",),
    "pipeline/pilot/": ("pipeline pilot",),
    "pipeline/report/provenance.py": (),  # writes commands, which tests of it run
    "pipeline/report/": ("pipeline report",),
    "pipeline/sweep/": GRIDS,
    "pipeline/tensorboard.py": ("pipeline tensorboard",),
    "pipeline/labelling.py": ("pipeline ingest",),
    "pipeline/run/fork.py": ("pipeline fork",),
    "pipeline/run/going_on.py": (),  # writes commands, which tests of it run
    "pipeline/run/context.py": RUNS,  # comparisons refuse an annotator of files before
    "pipeline/run/beside.py": RUNS,
    "pipeline/run/check_set.py": ("pipeline label",),
    "pipeline/run/": (*RUNS, *GRIDS),
    "pipeline/config": (*RUNS, *GRIDS),
    "trainer/data/folder.py": OWN_DATA,  # a preset has no data of one's own
    "trainer/data/folder_images.py": OWN_DATA,
    "trainer/data/custom.py": OWN_DATA,
    "trainer/data/array_forms.py": OWN_DATA,
    "trainer/data/": TRAINS,
    "trainer/models/": TRAINS,
    "trainer/cli.py": (),  # several commands, with options of their own
    "trainer/pretraining/": ("trainer pretrain",),
    "trainer/": ("trainer fit",),
}
"""Which commands a file's messages are for, the first prefix that fits; what goes on with a run is told apart below."""


def commands(name, command):
    if isinstance(command, click.Group):
        for inner in command.list_commands(click.Context(command)):
            yield from commands(f"{name} {inner}", command.get_command(click.Context(command), inner))
    else:
        yield name, options_of(command)


COMMANDS = dict(pair for name, group in PROGRAMS.items() for pair in commands(name, group))


def texts(file):
    """The texts of a file that are no docstrings, those of one message joined."""
    tree = ast.parse(file.read_text())
    nodes = list(ast.walk(tree))
    skipped = {id(node.value) for node in nodes if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)}
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            parts = [p.value if isinstance(p, ast.Constant) else "{}" for p in node.values]
            skipped |= {id(value) for value in ast.walk(node)}
            yield node.lineno, "".join(parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield node.lineno, node.value


def mentions():
    for package in ("common", "linearize", "migrator", "pipeline", "trainer"):
        for file in sorted((ROOT / package).rglob("*.py")):
            for line, text in texts(file):
                for option in OPTION.findall(text):
                    yield file.relative_to(ROOT).as_posix(), line, option, text


def test_every_option_that_a_text_names_exists():
    known = set().union(*COMMANDS.values()) | OF_OTHERS
    found = list(mentions())
    assert len(found) > 150
    assert [mention[:3] for mention in found if mention[2] not in known] == []


def test_a_commands_own_messages_name_its_own_options():
    wrong = []
    for file, line, _, text in mentions():
        prefix = next((prefix for prefix in RAISED_BY if file.startswith(prefix)), None)
        for command in RAISED_BY[prefix] if prefix else ():
            for option in OPTION.findall(QUOTED.sub("", text)):
                if option not in COMMANDS[command] | OF_OTHERS and option != "--trust-code":
                    wrong.append((file, line, option, command))
    assert wrong == []


def test_the_options_that_trust_code_are_those_of_commands_that_ask_for_it():
    trusting = {name for name, options in COMMANDS.items() if "--trust-code" in options}
    named = (
        "run",
        "resume",
        "stage",
        "fork",
        "verify",
        "estimate",
        "fidelity",
        "compare",
        "experiments run",
        "pilot",
        "label",
        "advise",
        "products",
        "predict",
        "advise",
        "analyse convergence",
        "analyse dynamics",
        "analyse convergence",
    )
    assert trusting == {f"pipeline {name}" for name in named}


# --- while a command runs


def said(*arguments):
    result = CliRunner().invoke(pipeline.cli.cli, [str(each) for each in arguments], prog_name="pipeline")
    assert result.exit_code in (1, 2), result.output
    assert result.stderr.count("\n") == 1
    return result.stderr


@pytest.mark.parametrize(
    ("option", "instead"),
    [
        ("--threads", "each cell has --cpus-per-cell"),
        ("--strategy", "give --strategies"),
        ("--seed", "give --seeds"),
        ("--on", "--strategies takes names such as margin-lin"),
        ("--annotator", "the data's own labels answer"),
    ],
)
@pytest.mark.parametrize("command", [("compare",), ("experiments", "run", "x")], ids=lambda command: command[0])
def test_what_a_comparison_has_in_the_place_of_an_option(command, option, instead):
    line = said(*command, option, "2")
    assert line.startswith(f"error: {option} is an option of 'pipeline run': {instead}"), line
    assert line.endswith(f"; see 'pipeline {' '.join(command[:2])} --help'\n")
    assert set(OPTION.findall(line)) - {option} <= COMMANDS[f"pipeline {' '.join(command[:2])}"]


def test_other_unknown_options_are_as_they_were():
    assert said("compare", "--bogus").startswith("error: No such option '--bogus'")
    assert "is an option of" not in said("report", "--threads", "2", "x")


def test_a_run_that_goes_on_is_told_where_an_option_belongs(tmp_path, monkeypatch):
    """Data of a run that are gone: `resume` has no --data-root."""
    from pipeline.config import load_config
    from pipeline.run.rundir import create_run

    run = tmp_path / "run"
    create_run(run, load_config(options={"data.name": "mnist", "data.root": str(tmp_path), "query.strategy": "random"}))
    line = said("resume", run)
    assert "add --download to fetch it into" in line
    here = "data.download in its config.yaml is --download; data.root in its config.yaml is --data-root"
    assert line.endswith(f" (for a run that was begun: {here})\n")
    fresh = said("run", "--dataset", "mnist", "--data-root", tmp_path, "--out", tmp_path / "new")
    assert "config.yaml" not in fresh


FIELDS = pipeline.cli.FIELDS
RESUME = pipeline.cli.cli.commands["resume"]


@pytest.mark.parametrize(
    ("message", "more"),
    [
        ("bring all to one with --image-size", " (for a run that was begun: --image-size only in a new run)"),
        ("give --trust-code", ""),
        ("a new run with --set train.max_lr=0.1", ""),
        ("expected a run begun with --annotator files", ""),
        ("cells; they are tried again by: pipeline compare --out grid", ""),
        ("go on with 'pipeline compare --out grid' or wait", ""),
        ("nothing of the kind", ""),
    ],
)
def test_what_is_said_of_an_option_elsewhere(message, more):
    assert with_places(message, RESUME, FIELDS, lambda: UNSCIENTIFIC) == message + more
    assert not re.search(r"\(for", with_places(message, pipeline.cli.cli.commands["run"], FIELDS, lambda: UNSCIENTIFIC))
