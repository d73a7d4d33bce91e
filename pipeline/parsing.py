"""YAML: read safely, every key once, no more than somebody would write by hand; written so that it reads the same."""

import re
from pathlib import Path
from typing import Any

import yaml

from common.reading import read_text
from pipeline.errors import PipelineError

_MERGE = "tag:yaml.org,2002:merge"
LARGEST = 2**21
"""Bytes of the largest file that is read, of some 100,000 values; PyYAML takes some seconds for it."""
DEEPEST, MOST_REPEATED, LONGEST_NUMBER = 50, 100_000, 100
"""Levels of nesting, values that aliases may come to, and digits of a whole number."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which alone would keep the last of two values of a key without a word, and fill the memory
    with a few lines of aliases of aliases.
    """

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth += 1
        if self.depth > DEEPEST:
            raise PipelineError(f"it nests more than {DEEPEST} levels deep: write it flatter")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None:
            sizes: dict[int, int] = {}
            written = _size(node, sizes)
            if written > max(MOST_REPEATED, len(sizes)):
                raise PipelineError(
                    f"its aliases (*) stand for {written:,} values, expected at most {MOST_REPEATED:,}: write out what "
                    "is meant"
                )
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            line = key.start_mark.line + 1
            if first := lines.get((key.tag, key.value)):
                where = f"in lines {first} and {line}" if first != line else f"in line {line}"
                raise PipelineError(f"the key {key.value!r} stands twice, {where}: remove one")
            lines[key.tag, key.value] = line
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        if len(node.value) > LONGEST_NUMBER:
            raise PipelineError(
                f"expected whole numbers of at most {LONGEST_NUMBER} digits, got one of {len(node.value)}, in line "
                f"{node.start_mark.line + 1}"
            )
        return super().construct_yaml_int(node)


class Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper, which quotes what ``parse_yaml`` would take for a number."""


_FLOAT, _EXPONENT = "tag:yaml.org,2002:float", re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+\Z")
"""YAML 1.2, sec. 10.3.2; PyYAML, which follows 1.1, takes 1e-5 for a text."""

_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
for _one in (_Loader, Dumper):
    _one.add_implicit_resolver(_FLOAT, _EXPONENT, list("-+.0123456789"))


def _size(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Return how many values a node comes to once every alias is written out.

    Args:
        node: as composed: an alias is the very node that it stands for.
        sizes: of the nodes that are counted already, by identity; 0 for those that are being counted.

    """
    if id(node) in sizes:
        if not sizes[id(node)]:
            raise PipelineError(f"a value contains itself, in line {node.start_mark.line + 1}: write out what is meant")
        return sizes[id(node)]
    sizes[id(node)] = 0
    parts: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        parts = [part for pair in node.value for part in pair]
    elif isinstance(node, yaml.SequenceNode):
        parts = node.value
    sizes[id(node)] = 1 + sum(_size(part, sizes) for part in parts)
    return sizes[id(node)]


def parse_yaml(text: str, where: str) -> Any:
    """Read YAML safely.

    Args:
        text: the YAML.
        where: what it is called in a message.

    Raises:
        PipelineError: it is none, a key stands twice, or it comes to more than it may; ``where`` says whose.

    """
    try:
        return yaml.load(text, _Loader)
    except PipelineError as error:
        raise PipelineError(f"{where}: {error}") from error
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:  # such as a thirteenth month
        raise PipelineError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from error


def to_yaml(value: Any, **options: Any) -> str:
    """Write plain values as YAML that ``parse_yaml`` reads as the same.

    Args:
        value: dictionaries, lists, texts, numbers, booleans and None.
        **options: of ``yaml.dump``.

    """
    return yaml.dump(value, Dumper=Dumper, sort_keys=False, **options)


def read_yaml(path: Path) -> Any:
    """Read a YAML file safely.

    Args:
        path: the file.

    Raises:
        PipelineError: as of ``parse_yaml``.
        OSError: it cannot be read, is no regular file, or is too large.
        UnicodeDecodeError: it is no text.

    """
    return parse_yaml(read_text(path, LARGEST), str(path))
