"""The glossary has the words that runs print."""

import re
from pathlib import Path

import pytest

from pipeline.run.console import COLUMNS, STAGES

PAGE = (Path(__file__).parent.parent / "docs/glossary.md").read_text()
WORDS = {
    word.strip().replace("\\", "")
    for row in re.findall(r"^\| (.*?[^\\]) \|", PAGE, re.MULTILINE)
    for word in row.split(",")
}
SAID = ("sequential", "condition number", "jitter", "redundant", "AUBC", "area under the curve", "ridge", "check set")


@pytest.mark.parametrize("word", [*(name for name, _ in COLUMNS), *(name for name, _ in STAGES), *SAID])
def test_each_is_there(word):
    forms = {word, word.removesuffix("s")}
    assert forms & WORDS or word in ("labels", "train"), word


def test_it_is_in_order():
    rows = [row.lower() for row in re.findall(r"^\| ([^|\\]*)", PAGE, re.MULTILINE)[2:]]
    assert rows == sorted(rows)
