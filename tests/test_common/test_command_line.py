"""However a command ends, it is one line and an exit code."""

import errno
import os

import click
import pytest
from click.testing import CliRunner

from common.command_line import LONGEST, Finite, OneLineGroup


class Wrong(ValueError):
    pass


class Worse(Wrong):
    pass


class Group(OneLineGroup):
    bad_input = (Wrong,)
    failures = (Worse,)


def run(error, *arguments):
    @click.group(cls=Group)
    def cli():
        """A program."""

    @cli.command()
    @click.option("--n", type=int)
    def go(n):
        """Go."""
        if error is not None:
            raise error

    return CliRunner().invoke(cli, ["go", *arguments], prog_name="program")


def os_error(code):
    return OSError(code, os.strerror(code), "some/file")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (None, 0, ""),
        (Wrong("expected a, got b:\n do c"), 2, "error: expected a, got b: do c"),
        (Worse("diverged"), 1, "failed: diverged"),
        (os_error(errno.ENOENT), 2, "error: cannot read or write some/file: No such file or directory"),
        (os_error(errno.EACCES), 2, "error: cannot read or write some/file: Permission denied"),
        (os_error(errno.ENOSPC), 1, "failed: cannot read or write some/file: No space left on device"),
        (os_error(errno.EIO), 1, "failed: cannot read or write some/file: Input/output error"),
        (OSError("odd"), 1, "failed: cannot read or write: odd"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (Wrong("\x1b[31mred\x00"), 2, "error: [31mred"),
    ],
)
def test_what_goes_wrong_is_one_line_and_a_code(error, code, line):
    result = run(error)
    assert (result.exit_code, result.stderr.rstrip("\n")) == (code, line)


def test_an_option_that_there_is_not_names_where_help_is():
    result = run(None, "--m", "1")
    assert result.exit_code == 2
    assert result.stderr == "error: No such option: --m Did you mean --n?; see 'program go --help'\n" or (
        result.stderr.startswith("error: No such option") and result.stderr.endswith("; see 'program go --help'\n")
    )
    assert result.stderr.count("\n") == 1


def test_a_message_that_a_file_filled_is_cut():
    assert len(run(Wrong("x " * 10 * LONGEST)).stderr) == LONGEST + 1
    said = run(Wrong(f"expected a number, got {'9' * 5000!r}: give one")).stderr
    assert said.startswith("error: expected a number, got '999")
    assert said.endswith("999': give one\n")
    assert len(said) < 600


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "x", "9" * 5000])
def test_a_number_that_is_none_is_refused(text):
    with pytest.raises(click.BadParameter):
        Finite(min=0).convert(text, None, None)


def test_what_no_one_foresaw_is_not_hidden():
    assert isinstance(run(RuntimeError("a defect")).exception, RuntimeError)
