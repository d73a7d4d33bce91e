"""Every public function of two or more arguments explains them, and records explain no field that they lack.

That functions name each argument is what pydoclint checks; of records it knows nothing.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("common", "trainer", "migrator", "linearize", "pipeline")
COMMANDS = {"command", "group"}  # click's decorators: what the options mean is in their help
OPERATOR = "rule"  # migrator/ops: the arguments are torch's own


class Function(NamedTuple):
    """A function or method as it stands in a file."""

    file: str
    owner: ast.ClassDef | None
    node: ast.FunctionDef | ast.AsyncFunctionDef

    @property
    def name(self) -> str:
        return f"{self.owner.name}.{self.node.name}" if self.owner else self.node.name

    @property
    def public(self) -> bool:
        return all(name == "__call__" or not name.startswith("_") for name in self.name.split("."))

    @property
    def arguments(self) -> list[str]:
        """Without the self or cls of a method."""
        given = self.node.args
        positional = [*given.posonlyargs, *given.args]
        if self.owner and "staticmethod" not in self.decorators:
            positional = positional[1:]
        starred = [argument for argument in (given.vararg, given.kwarg) if argument]
        return [argument.arg for argument in (*positional, *given.kwonlyargs, *starred)]

    @property
    def decorators(self) -> set[str]:
        return decorators(self.node)

    @property
    def explained(self) -> bool:
        return "Args:" in [line.strip() for line in (ast.get_docstring(self.node) or "").splitlines()]

    @property
    def exempt(self) -> bool:
        operator = OPERATOR in self.decorators and "migrator/ops/" in self.file
        return operator or bool(self.decorators & (COMMANDS | {"overload"}))


def decorators(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> set[str]:
    """The last names: ``command`` of ``@cli.command(...)``."""
    called = (d.func if isinstance(d, ast.Call) else d for d in node.decorator_list)
    return {ast.unparse(decorator).rpartition(".")[2] for decorator in called}


def functions(file: str, source: str) -> Iterator[Function]:
    """All of a file but those inside of functions."""
    waiting: list[tuple[ast.ClassDef | None, ast.stmt]] = [(None, node) for node in ast.parse(source).body]
    for owner, node in waiting:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield Function(file, owner, node)
        elif isinstance(node, ast.ClassDef):
            waiting += [(node, inner) for inner in node.body]
        elif isinstance(node, ast.If | ast.Try):
            waiting += [(owner, inner) for inner in (*node.body, *node.orelse)]


def bases(owner: ast.ClassDef) -> list[str]:
    """Names of a class's bases: ``Generic`` of ``typing.Generic[T]``."""
    plain = (base.value if isinstance(base, ast.Subscript) else base for base in owner.bases)
    return [ast.unparse(base).rpartition(".")[2] for base in plain]


def unexplained(sources: dict[str, str]) -> list[str]:
    """Public functions of two or more arguments with no Args.

    A method needs none where a base class or a Protocol explains the method of this name and these arguments.
    """
    found = [function for file, source in sources.items() for function in functions(file, source)]
    nodes = [node for source in sources.values() for node in ast.walk(ast.parse(source))]
    owners = {node.name: node for node in nodes if isinstance(node, ast.ClassDef)}
    protocols = [name for name, owner in owners.items() if "Protocol" in bases(owner)]
    contracts = {(f.owner.name, f.node.name): f.arguments for f in found if f.owner and f.explained}

    def inherited(function: Function) -> bool:
        waiting = [*bases(function.owner), *protocols] if function.owner else []
        for name in waiting:
            if contracts.get((name, function.node.name)) == function.arguments:
                return True
            waiting += [base for base in (bases(owners[name]) if name in owners else ()) if base not in waiting]
        return False

    return [
        f"{f.file}:{f.node.lineno} {f.name}({', '.join(f.arguments)})"
        for f in found
        if f.public and len(f.arguments) > 1 and not (f.explained or f.exempt or inherited(f))
    ]


def own_fields(owner: ast.ClassDef) -> set[str]:
    return {s.target.id for s in owner.body if isinstance(s, ast.AnnAssign) and isinstance(s.target, ast.Name)}


def misnamed(sources: dict[str, str]) -> list[str]:
    """Names in the Args of dataclasses and NamedTuples that are no field; a field may also have a comment behind it."""
    nodes = [(file, node) for file, source in sources.items() for node in ast.walk(ast.parse(source))]
    owners = [(file, node) for file, node in nodes if isinstance(node, ast.ClassDef)]
    fields: dict[str, set[str]] = {}  # of all classes of a name
    for _, owner in owners:
        fields.setdefault(owner.name, set()).update(own_fields(owner))
    found = []
    for file, owner in owners:
        if "dataclass" not in decorators(owner) and "NamedTuple" not in bases(owner):
            continue
        section = re.search(r"^Args:\n((?: .*\n?|\n)*)", ast.get_docstring(owner) or "", re.MULTILINE)
        named = re.findall(r"^    (\w+):", section[1], re.MULTILINE) if section else []
        known = own_fields(owner).union(*(fields.get(base, set()) for base in bases(owner)))
        found += [f"{file}:{owner.lineno} {owner.name}.{name}" for name in named if name not in known]
    return found


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    files = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    assert len(files) > 100
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in files}


@pytest.fixture(scope="module")
def missing(sources) -> list[str]:
    return unexplained(sources)


@pytest.mark.parametrize("package", PACKAGES)
def test_public_functions_explain_their_arguments(missing, package):
    here = [function for function in missing if function.startswith(f"{package}/")]
    assert not here, "\n".join(["no Args section:", *here])


EXPLAINED = '"""Do.\n\n    Args:\n        a: one.\n        b: two.\n\n    """'
BASE = f"def f(self, a, b): {EXPLAINED}"
OTHER = "class B:\n    def f(self, a, b): ..."
CASES = {
    "a function": ('def f(a, b):\n    """Do."""', ["f(a, b)"]),
    "no docstring": ("def f(a, *b): ...", ["f(a, b)"]),
    "keywords count": ('def f(*, a, **b):\n    """Do."""', ["f(a, b)"]),
    "an explained one": (f"def f(a, b): {EXPLAINED}", []),
    "one argument": ('def f(a):\n    """Do."""', []),
    "a private one": ('def _f(a, b):\n    """Do."""', []),
    "inside of another": ("def f():\n    def g(a, b): ...", []),
    "under a condition": ("if x:\n    def f(a, b): ...", ["f(a, b)"]),
    "self does not count": ("class A:\n    def f(self, a): ...", []),
    "a method": ("class A:\n    def f(self, a, b): ...", ["A.f(a, b)"]),
    "a static method": ("class A:\n    @staticmethod\n    def f(a, b): ...", ["A.f(a, b)"]),
    "a call": ("class A:\n    def __call__(self, a, b): ...", ["A.__call__(a, b)"]),
    "other magic": ("class A:\n    def __init__(self, a, b): ...", []),
    "of a private class": ("class _A:\n    def f(self, a, b): ...", []),
    "a command": ('@cli.command(epilog="x")\n@click.option("-a")\ndef f(a, b): ...', []),
    "an operator elsewhere": ('@rule("x")\ndef f(a, b): ...', ["f(a, b)"]),
    "an override": (f"class A:\n    {BASE}\n{OTHER.replace('B:', 'B(A):')}", []),
    "an override's override": (f"class A:\n    {BASE}\nclass C(A): ...\n{OTHER.replace('B:', 'B(C):')}", []),
    "other arguments": (f"class B(A):\n    def f(self, a, c): ...\nclass A:\n    {BASE}", ["B.f(a, c)"]),
    "a protocol's": (f"class P(Protocol[T]):\n    {BASE}\n{OTHER}", []),
    "an unrelated class's": (f"class A:\n    {BASE}\n{OTHER}", ["B.f(a, b)"]),
}


@pytest.mark.parametrize("case", CASES)
def test_the_check_sees_what_is_missing_and_nothing_else(case):
    source, expected = CASES[case]
    assert [function.partition(" ")[2] for function in unexplained({"a.py": source})] == expected


def test_operators_of_the_migrator_have_torchs_arguments():
    assert unexplained({"migrator/ops/a.py": '@rule("x")\ndef f(a, b): ...'}) == []


def test_records_explain_no_field_that_they_lack(sources):
    assert misnamed(sources) == []


RECORD = 'class A:\n    """Do.\n\n    Args:\n        a: one.\n        b: two,\n            c: 3.\n\n    """\n    '
RECORDS = {
    "a dataclass": (f"@dataclass\n{RECORD}a: int\n    b: int", []),
    "a renamed field": (f"@dataclasses.dataclass(frozen=True)\n{RECORD}a: int\n    d: int", ["A.b"]),
    "a NamedTuple": (RECORD.replace("A:", "A(NamedTuple):", 1) + "b: int", ["A.a"]),
    "a base's field": (f"@dataclass\nclass B:\n    b: int\n@dataclass\n{RECORD.replace('A:', 'A(B):', 1)}a: int", []),
    "an ordinary class": (f"{RECORD}d: int", []),
    "a field explained elsewhere": (f"@dataclass\n{RECORD}a: int\n    b: int\n    d: int  # three", []),
}


@pytest.mark.parametrize("case", RECORDS)
def test_the_check_of_records_sees_what_is_misnamed_and_nothing_else(case):
    source, expected = RECORDS[case]
    assert [name.partition(" ")[2] for name in misnamed({"a.py": source})] == expected
