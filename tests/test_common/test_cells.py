"""Cells that no spreadsheet runs and everybody can read back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.cells import plain_text, safe_path, safe_text

HARMFUL = ("=1+1", "+1", "-1", "@a", "\t=1", "\r=1", " =1", "'=1", "＝1", "－1", "＠a", "＋1", "'' =1")
HARMLESS = ("", "cat", "a=b", "1-2", "'cat'", " cat", "it's", "Ünï", "./x")
STARTS = tuple("=+-@\t\r＝＋－＠")


@pytest.mark.parametrize("text", HARMFUL)
def test_what_begins_like_a_formula_is_text_and_comes_back(text):
    cell = safe_text(text)
    assert cell == f"'{text}"
    assert plain_text(cell) == text


@pytest.mark.parametrize("text", HARMLESS)
def test_anything_else_stays_as_it_is(text):
    assert safe_text(text) == plain_text(text) == text


@given(st.text(alphabet="'= -x+@\t1", max_size=6))
def test_every_text_comes_back_and_none_begins_like_a_formula(text):
    cell = safe_text(text)
    assert plain_text(cell) == text
    assert not cell.lstrip().startswith(STARTS)


@pytest.mark.parametrize("path", ["=a.png", "-a/b.png", "@x.png", " a.png", " =a.png"])
def test_paths_lead_to_the_same_file(path, tmp_path):
    cell = safe_path(path)
    assert cell == f"./{path}"
    assert tmp_path / cell == tmp_path / path


def test_other_paths_stay_as_they_are():
    assert safe_path("a b/=x.png") == "a b/=x.png"
