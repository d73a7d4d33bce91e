"""Who is cited is in the one bibliography."""

import ast
import re
from pathlib import Path

import pytest

from linearize import CRITERIA
from pipeline.queries import STRATEGIES

ROOT = Path(__file__).parent.parent
ENTRIES = set(re.findall(r"^- \*\*(\w+)[^*]*? (\d{4})\*\*", (ROOT / "docs/bibliography.md").read_text(), re.M))
NAME = r"[A-Z][\w'-]+"


def cited(text):
    """(first author, year) of every citation in a text: a name, what may follow it, and a year."""
    for part in re.split(r"[;:]|, under |, with | for (?=[A-Z])", text):
        for found in re.finditer(
            rf"({NAME})((?:(?:, | & | and ){NAME})*(?: et al\.)?(?:, [^,.]+?)?)[ ,(]+(\d{{4}})\b", part
        ):
            yield found[1], found[3]


def sources(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
            for found in re.finditer(r"Source: (.*?)(?:\n\n|\Z)", text, re.S):
                yield " ".join(found[1].split())


def test_citations_are_read():
    text = "ours; parts Freytag, Rodner & Denzler 2014; Ash et al. 2020, eq. 3; Lee, Kim and Bo, 1999 for it"
    assert list(cited(text)) == [("Freytag", "2014"), ("Ash", "2020"), ("Lee", "1999")]


@pytest.mark.parametrize("package", ["common", "trainer", "migrator", "linearize", "pipeline"])
def test_docstrings_cite_from_the_bibliography(package):
    missing = {
        (path.relative_to(ROOT).as_posix(), one)
        for path in (ROOT / package).rglob("*.py")
        for text in sources(path)
        for one in cited(text)
        if one not in ENTRIES
    }
    assert not missing
    assert "look-ahead paper" not in "".join(text for path in (ROOT / package).rglob("*.py") for text in sources(path))


def test_criteria_and_strategies_cite_from_the_bibliography():
    texts = [one.source for one in (*CRITERIA.values(), *STRATEGIES.values())]
    assert not {one for text in texts for one in cited(text)} - ENTRIES
    assert len({one for text in texts for one in cited(text)}) > 10
