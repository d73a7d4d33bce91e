"""Options that an error message names and the command in use does not have: what to do in their place."""

import re
from collections.abc import Callable, Mapping, Sequence

import click

OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]")
QUOTED = re.compile(r"'(pipeline|ray|tensorboard) [^']*'|: pipeline .*|ray start [^;)]*")
"""Commands that a message gives in full: their options are theirs."""
A_NEW_RUN = re.compile(r"\b(new|next|another) run\b|begun with")
"""By which a message says itself that it is not about the run in use."""
INSTEAD = {
    "--threads": "each cell has --cpus-per-cell",
    "--strategy": "give --strategies",
    "--seed": "give --seeds",
    "--on": "--strategies takes names such as margin-lin",
    "--annotator": "the data's own labels answer all cells of a grid",
    "--dataset": "the preset has its own",
    "--image-size": "the preset has its own",
}
"""What a comparison has in the place of an option of a run."""


def options_of(command: click.Command) -> set[str]:
    """Return the options of a command; of a group, those of its commands.

    Args:
        command: any.

    """
    own = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    inner = command.commands.values() if isinstance(command, click.Group) else ()
    return own.union({"--help"}, *(options_of(one) for one in inner))


def with_places(
    message: str, command: click.Command, fields: Mapping[str, str], movable: Callable[[], tuple[str, ...]]
) -> str:
    """Return an error message that says of each option that the command does not have where it belongs.

    Args:
        message: in one line.
        command: that the user gave.
        fields: the field that each option of ``pipeline run`` sets.
        movable: returns the fields that may be changed in the configuration of a run that was begun.

    """
    named = dict.fromkeys(OPTION.findall(QUOTED.sub("", message)))
    foreign = [option for option in named if option not in options_of(command)]
    if not foreign or A_NEW_RUN.search(message):
        return message
    may_change = movable()
    here = [
        f"{fields[option]} in its config.yaml is {option}" for option in foreign if fields.get(option) in may_change
    ]
    new = [option for option in foreign if fields.get(option) not in may_change]
    parts = [*here, *([f"{' and '.join(new)} only in a new run"] if new else [])]
    return f"{message} (for a run that was begun: {'; '.join(parts)})"


def by_option(message: str, words: Sequence[str], fields: Mapping[str, str]) -> str:
    """Return an error message that begins with an option in the place of the field that the user set by it.

    Args:
        message: in one line.
        words: after the name of the command.
        fields: as of ``with_places``.

    """
    given = {word.partition("=")[0] for word in words if word.startswith("--")}
    place, colon, rest = message.partition(": ")
    flag = next((flag for flag, field in fields.items() if field == place and flag in given), "")
    return f"{flag}{colon}{rest}" if flag else message


def in_place_of(error: click.NoSuchOption, fields: Mapping[str, str]) -> str:
    """Return what to give instead of an option of a run that a comparison does not have; empty where there is none.

    Args:
        error: the option that there is not.
        fields: as of ``with_places``.

    """
    compares = error.ctx is not None and "--seeds" in options_of(error.ctx.command)
    if not compares or error.option_name not in fields or error.option_name not in INSTEAD:
        return ""
    return f"{error.option_name} is an option of 'pipeline run': {INSTEAD[error.option_name]}"
