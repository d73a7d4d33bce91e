"""The folder of a backbone is written down so that it is found from whatever directory."""

import pytest

from trainer.backbones import from_anywhere
from trainer.cli import Seen, _network


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path.resolve()


@pytest.mark.parametrize("name", ["timm:mine", "efficientnet-lite0", "nowhere", "~nobody-at-all/x", "", "x:", "a.b:c"])
def test_what_is_no_folder_stays(here, name):
    assert from_anywhere(name) == name


@pytest.mark.parametrize("name", ["mine", "./mine", "mine/../mine"])
def test_a_folder_becomes_absolute(here, name):
    assert from_anywhere(name) == str(here / "mine")
    seen = Seen(name, "head", None)
    assert _network(None, {}, "digits", seen) == (f"on-backbone:{here / 'mine'}", {"train": "head"})
