"""How every command ends: whatever goes wrong is one line on standard error and an exit code, never a traceback.

0 done; 1 what was asked for could not be done (a disk that is full, a training that diverged); 2 bad input, and
nothing was written; 130 interrupted.
"""

import errno
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import click

from common.naming import did_you_mean
from common.reading import NotReadable

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130
LONGEST, LONGEST_WORD = 4000, 500
"""Characters of a message and of a word in it that are shown: a file may have put anything into it."""
WRONG_PATH = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENAMETOOLONG,
              errno.ELOOP, errno.ENOTEMPTY}  # fmt: skip
"""What the system says of a path that a user mistyped; everything else is the machine's fault."""


class Finite(click.FloatRange):
    """A number in a range: click alone lets through what is no number, which every comparison does."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number.

        Args:
            value: the text.
            param: the option, for messages.
            ctx: of the command, for messages.

        """
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"expected a number, got {value!r}", param, ctx)
        return number


class OneLineGroup(click.Group):
    """A group of commands that turns errors into one line and an exit code.

    Sub-classes say which exceptions mean what.
    """

    bad_input: ClassVar[tuple[type[Exception], ...]] = ()
    failures: ClassVar[tuple[type[Exception], ...]] = ()
    interrupted: ClassVar[str] = "interrupted"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; an option that there is not is bad input.

        Args:
            ctx: where the command is called.
            args: the words after its name.

        Returns:
            The words left over, see ``click.Command.parse_args``.

        """
        with self._one_line(ctx):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with self._one_line(ctx):
            return super().invoke(ctx)

    @contextmanager
    def _one_line(self, ctx: click.Context) -> Iterator[None]:
        try:
            yield
        except click.exceptions.NoArgsIsHelpError:
            raise  # it shows the help
        except click.UsageError as error:
            _end(ctx, BAD_INPUT, f"error: {usage(error)}; see '{(error.ctx or ctx).command_path} --help'")
        except self.failures as error:
            _end(ctx, FAILED, f"failed: {error}")
        except self.bad_input as error:  # whose sub-class a failure may be
            _end(ctx, BAD_INPUT, f"error: {error}")
        except KeyboardInterrupt:
            _end(ctx, INTERRUPTED, self.interrupted)
        except OSError as error:
            where = f" {error.filename}" if error.filename else ""
            reason = f"cannot read or write{where}: {error.strerror or error}"
            if isinstance(error, NotReadable) or error.errno in WRONG_PATH:
                _end(ctx, BAD_INPUT, f"error: {reason}")
            _end(ctx, FAILED, f"failed: {reason}")


def usage(error: click.UsageError) -> str:
    """Return what was wrong with a command's words, and which of its choices may have been meant.

    Args:
        error: as click raises it; of commands and options it says itself which may have been meant.

    """
    said = " ".join(error.format_message().split()).rstrip(".")
    kind = getattr(getattr(error, "param", None), "type", None)
    if isinstance(kind, click.Choice) and (found := re.search(r"'([^']*)' is not one of", said)):
        said += did_you_mean(found[1], map(str, kind.choices))
    return said


def one_line(text: str) -> str:
    """Return a message as one line of printable characters, what is endless in it shortened.

    Args:
        text: which may hold whatever somebody typed or a file had in it.

    """
    words = (
        word if len(word) <= LONGEST_WORD else f"{word[: LONGEST_WORD // 2]}…{word[-LONGEST_WORD // 2 :]}"
        for word in text.split()
    )
    return "".join(c for c in " ".join(words) if c.isprintable())[:LONGEST]


def _end(ctx: click.Context, code: int, text: str) -> None:
    """Say it in one line."""
    click.echo(one_line(text), err=True)
    ctx.exit(code)
