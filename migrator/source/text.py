"""The text of which a port's source is made: names, lines, classes, imports, and what each file begins with."""

from __future__ import annotations

import builtins
import json
import keyword
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, count

from migrator import ops
from migrator.source.inline import top_level_names

WIDTH = 110

PART = '''class Part(nn.Module):
    """A part of the network; it finds its tensors under the names that they have in torch."""

    def tensor(self, key):
        """A tensor by its key, for example ``self.tensor("params/conv1.kernel")``."""
        collection, _, path = key.partition("/")
        first, *rest = path.split(".")
        value = self.get_variable(collection, first)
        for name in rest:
            value = value[name]
        return jnp.asarray(value)

    def part(self, kind, path):
        """The part at a path below this one; parts at the same path share their tensors."""
        scope = self.scope
        for name in path.split("."):
            scope = scope.push(name, reuse=True)
        return kind(parent=scope)
'''

PRECISION = '''def precision(variables, *inputs):
    """The type in which the network runs: what its floating-point tensors promote to."""
    dtypes = [jnp.asarray(value).dtype for value in (*jax.tree.leaves(variables), *inputs)]
    floating = [dtype for dtype in dtypes if jnp.issubdtype(dtype, jnp.floating)]
    return jnp.result_type(*floating) if floating else jnp.result_type(float)
'''

LOADING = '''def load_variables(path):
    """The variables of a saved port, from its ``model.safetensors``."""
    variables = {"params": {}, "batch_stats": {}, "frozen": {}, "buffers": {}}
    for key, value in load_file(path).items():
        collection, _, name = key.partition("/")
        *parents, leaf = name.split(".")
        level = variables[collection]
        for parent in parents:
            level = level.setdefault(parent, {})
        level[leaf] = jnp.asarray(value)
    return variables
'''

RESERVED = (
    set(keyword.kwlist)
    | set(dir(builtins))
    | {"self", "nn", "jax", "jnp", "lax", "np", "math", "precision", "load_variables", "load_file", "Part"}
    | {name for family in ops.FAMILIES for name in top_level_names(family)}
)


@dataclass
class Names:
    """Identifiers that are in use; the second of a name is ``relu_2``, of a class ``Block2``.

    Args:
        taken: them.
        classes: whether they name classes.

    """

    taken: set[str]
    classes: bool = False

    def new(self, wanted: str) -> str:
        """Return an identifier like the wanted one that is not in use yet."""
        base = re.sub(r"\W+", "_", wanted).strip("_") or "value"
        base = f"layer_{base}" if base[0].isdigit() else base
        mark = "" if self.classes else "_"
        wishes = chain([base], [f"{base}_"] * (not self.classes), (f"{base}{mark}{i}" for i in count(2)))
        name = next(wish for wish in wishes if wish not in RESERVED and wish not in self.taken)
        self.taken.add(name)
        return name


@dataclass(frozen=True)
class Line:
    """``targets = call(arguments)[index]  # comment``.

    Args:
        targets: what is assigned to.
        call: a function's text, or the whole expression.
        arguments: of the function; None where there is none.
        comment: shape of what comes out.
        index: which of several results is meant.

    """

    targets: str
    call: str
    arguments: tuple[str, ...] | None
    comment: str = ""
    index: str = ""

    def text(self, *, comments: bool) -> str:
        """Return the line, or several when it is long."""
        start = f"{self.targets} = {self.call}"
        line = start if self.arguments is None else f"{start}({', '.join(self.arguments)}){self.index}"
        note = f"  # {self.comment}" if comments and self.comment else ""
        if len(line) + len(note) <= WIDTH - 8:
            return line + note
        if len(line) <= WIDTH - 8 or not self.arguments:
            return line
        return "\n".join([f"{start}(", *(f"    {argument}," for argument in self.arguments), f"){self.index}"])


@dataclass
class ClassText:
    """One class to be written.

    Args:
        name: its name.
        kind: class of the torch modules that it stands for.
        signature: arguments of its call, ``self`` included.
        lines: of its body.
        returned: what it returns.
        paths: qualified names of the modules that it stands for.
        comments: whether shapes are written, which must be the same for all of them.

    """

    name: str
    kind: str
    signature: str
    lines: list[Line]
    returned: str
    paths: list[str]
    comments: bool = True

    def text(self) -> str:
        """Return the whole class."""
        paths = [re.sub(r"[^\w.\-]", "_", path) or "the network" for path in self.paths]
        shown, left = paths[0], paths[1:]
        while left and len(shown) + len(left[0]) < WIDTH - 40:
            shown, left = f"{shown}, {left[0]}", left[1:]
        more = f" and {len(left)} more" if left else ""
        body = "\n".join(line.text(comments=self.comments) for line in self.lines)
        return (
            f'class {self.name}(Part):\n    """{self.kind}: {shown}{more}."""\n\n    @nn.compact\n'
            f"    def __call__({self.signature}):\n{_indent(body, 8)}\n        return {self.returned}\n"
        )


def _indent(text: str, by: int) -> str:
    return "\n".join(" " * by + line if line else line for line in text.split("\n"))


def quoted(text: str) -> str:
    """Return a string literal; a graph may come from anyone, and its names must not become code."""
    return json.dumps(text)


def last_words(path: str) -> str:
    """Return the last word of a path, with the numbers after it."""
    parts = path.split(".")
    start = max((i for i, part in enumerate(parts) if not part.isdigit()), default=0)
    return "_".join(parts[start:])


def identifier(name: str) -> str:
    """Return a name as Python takes it."""
    cleaned = re.sub(r"\W+", "_", name)
    return f"{cleaned}_" if cleaned in RESERVED else cleaned


def import_lines(lines: Iterable[str]) -> str:
    """Return import statements as a linter wants them: grouped, joined, in order."""
    plain = {line for line in lines if line.startswith("import ")}
    joined: dict[str, set[str]] = {}
    for line in set(lines) - plain:
        module, names = line.removeprefix("from ").split(" import ")
        joined.setdefault(module, set()).add(names)
    froms = [f"from {module} import {', '.join(sorted(names))}" for module, names in joined.items()]
    groups: tuple[list[str], list[str]] = ([], [])
    for line in [*sorted(plain), *sorted(froms)]:
        groups[line.split()[1].partition(".")[0] not in sys.stdlib_module_names].append(line)
    return "\n\n".join("\n".join(group) for group in (["from __future__ import annotations"], *groups) if group)
