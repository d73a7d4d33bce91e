"""What MkDocs is told beside the pages: files of the checkout that pages link to, and the configuration's fields."""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
BESIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "examples/README.md": "examples.md",
    "benchmarks/RESULTS.md": "benchmarks/RESULTS.md",
    "benchmarks/SURVEY.md": "benchmarks/SURVEY.md",
}
"""Pages that lie outside ``docs/``, and where they stand among the others."""
PROGRAMS = ("pipeline", "trainer", "migrator", "linearize")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that lie beside ``docs/``."""
    for path, page in BESIDE.items():
        files.append(File.generated(config, page, content=(ROOT / path).read_text()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links lead where the pages stand in the site; what is no page there becomes plain text."""
    home = next((Path(path).parent for path, name in BESIDE.items() if name == page.file.src_uri), Path("docs"))
    here = Path(page.file.src_uri).parent

    def moved(match: re.Match[str]) -> str:
        text, target, anchor = match[1], match[2], match[3] or ""
        if re.match(r"[a-z]+:", target) or not target:
            return match[0]
        path = (ROOT / home / ("" if home != Path("docs") else here) / target).resolve()
        name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else ""
        site = BESIDE.get(name) or (name.removeprefix("docs/") if name.startswith("docs/") else None)
        if site is None:
            return text
        up = "../" * len(here.parts)
        return f"[{text}]({up}{site}{anchor})"

    for name, made in (("fields", fields), ("commands", commands)):
        if (mark := f"{{{{ {name} }}}}") in markdown:
            markdown = markdown.replace(mark, made())
    markdown = markdown.replace("](docs/pictures/", "](pictures/")
    return re.sub(r"(?<!!)\[([^\]]+)\]\(([^)#\s]*)(#[^)\s]*)?\)", moved, markdown)


def commands() -> str:
    """Return the help of every command of the four programs."""
    import importlib

    import click

    parts = []
    for program in PROGRAMS:
        group = importlib.import_module(f"{program}.cli").cli
        context = click.Context(group, info_name=program)
        parts.append(f"## {program}\n\n```text\n{group.get_help(context)}\n```")
        for name in group.list_commands(context):
            parts += _help(group.get_command(context, name), context, name)
    return "\n\n".join(parts)


def _help(command: Any, parent: Any, name: str) -> list[str]:
    import click

    context = click.Context(command, info_name=name, parent=parent)
    parts = [f"### {context.command_path}\n\n```text\n{command.get_help(context)}\n```"]
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            parts += _help(command.get_command(context, inner), context, inner)
    return parts


def fields() -> str:
    """Return every field of a run's configuration as tables, from the sections' own types and docstrings."""
    from pipeline.config.run import RunConfig

    parts = []
    sections = {name: RunConfig.model_fields[name].annotation for name in RunConfig.model_fields}
    parts.append(_table("", RunConfig, [name for name in sections if not _is_section(sections[name])]))
    for name, annotation in sections.items():
        section = _is_section(annotation)
        if section is not None:
            parts.append(f"## `{name}`\n\n" + _table(f"{name}.", section, list(section.model_fields)))
    return "\n\n".join(parts)


def _is_section(annotation: Any) -> Any:
    from typing import get_args

    from pipeline.config.sections import Section

    for one in (annotation, *get_args(annotation)):
        if isinstance(one, type) and issubclass(one, Section):
            return one
    return None


def _table(prefix: str, section: Any, names: list[str]) -> str:
    said = _described(section)
    rows = ["| field | type | default | |", "|---|---|---|---|"]
    for name in names:
        field = section.model_fields[name]
        kind = str(field.annotation).replace("typing.", "").replace("<class '", "").replace("'>", "").replace("|", "or")
        default = (
            "" if field.default is None or field.is_required() else f"`{field.get_default(call_default_factory=True)}`"
        )
        rows.append(f"| `{prefix}{name}` | {kind} | {default} | {said.get(name, '')} |")
    return "\n".join(rows)


def _described(section: Any) -> dict[str, str]:
    """What a section's docstring, or that of the options that it overrides, says of each field."""
    from linearize import KernelOptions
    from trainer.options import TrainOptions

    others = {"TrainSection": TrainOptions, "KernelSection": KernelOptions}
    found: dict[str, str] = {}
    for source in (section, others.get(section.__name__)):
        text = (source.__doc__ or "") if source is not None else ""
        for name, body in re.findall(r"^ {8}(\w+): (.*?)(?=^ {8}\w+: |^\s*$|\Z)", text, re.MULTILINE | re.DOTALL):
            found.setdefault(name, " ".join(body.split()).replace("|", "or"))
    return found
