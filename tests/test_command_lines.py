"""What the four commands have in common: help with an example, one line for a mistake, exit codes."""

import click
import pytest
from click.testing import CliRunner

import linearize.cli
import migrator.cli
import pipeline.cli
import trainer.cli

COMMANDS = {
    module.__name__.partition(".")[0]: module.cli for module in (linearize.cli, migrator.cli, pipeline.cli, trainer.cli)
}
MISTAKES = {
    "linearize": (["explain", "port", "--example-shape", "1,8,8", "--examples", "x"], "'--examples': 'x' is not"),
    "migrator": (["survey", "--pattern", "*", "-o", "t.md", "--input-size", "x"], "'--input-size': 'x' is not"),
    "pipeline": (["run", "--seed", "x"], "'--seed': 'x' is not a valid integer"),
    "trainer": (["fit", "--out", "fit", "--seed", "x"], "'--seed': 'x' is not"),
}
each = pytest.mark.parametrize("name", COMMANDS)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def refuse(name, arguments):
    result = CliRunner().invoke(COMMANDS[name], arguments, prog_name=name)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


@each
def test_a_value_of_the_wrong_type_is_one_line(name, tmp_path):
    arguments, reason = MISTAKES[name]
    said = refuse(name, arguments)
    assert reason in said
    assert said.endswith(f"; see '{name} {arguments[0]} --help'\n")
    assert list(tmp_path.iterdir()) == []


@each
def test_an_unknown_option_or_command_and_a_missing_argument_are_one_line(name):
    assert refuse(name, ["--bogus"]) == f"error: No such option '--bogus'; see '{name} --help'\n"
    assert refuse(name, ["bogus"]) == f"error: No such command 'bogus'; see '{name} --help'\n"
    first = MISTAKES[name][0][0]
    assert refuse(name, [first, "--bogus"]).startswith("error: No such option '--bogus'")
    if name != "pipeline":  # whose every option has a default
        assert refuse(name, [first]).startswith("error: Missing ")


def test_choices_on_lines_of_their_own_are_joined():
    assert "Choose from: train, migrate, score, select; see" in refuse("pipeline", ["stage"])


def test_a_group_alone_shows_its_help():
    for arguments in ([], ["experiments"]):
        assert "Commands:" in CliRunner().invoke(pipeline.cli.cli, arguments).output


@each
def test_every_help_has_an_example(name):
    group, ctx = COMMANDS[name], click.Context(COMMANDS[name])
    for command in (group, *(group.get_command(ctx, one) for one in group.list_commands(ctx))):
        shown = CliRunner().invoke(command, ["--help"], prog_name=name).output
        assert f"Example: {name} " in " ".join(shown.split()), command.name


@each
def test_ctrl_c_exits_130(name, monkeypatch):
    def interrupted(ctx):
        raise KeyboardInterrupt

    first = MISTAKES[name][0][0]
    monkeypatch.setattr(COMMANDS[name].commands[first], "invoke", interrupted)
    arguments = ["3" if word == "x" else word for word in MISTAKES[name][0]]
    result = CliRunner().invoke(COMMANDS[name], arguments)
    assert result.exit_code == 130
    assert result.stderr.startswith("interrupted")
