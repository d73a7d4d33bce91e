"""Reading YAML: safely, and every key once."""

from typing import Any

import yaml

from pipeline.errors import PipelineError

_MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which alone would keep the last of two values of a key without a word."""

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


def parse_yaml(text: str, where: str) -> Any:
    """Read YAML safely.

    Args:
        text: the YAML.
        where: what it is called in a message.

    Raises:
        PipelineError: it is none, or a key stands twice; ``where`` says whose.

    """
    try:
        return yaml.load(text, _Loader)
    except PipelineError as error:
        raise PipelineError(f"{where}: {error}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # such as a thirteenth month
        raise PipelineError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from error
