"""Kept features: computed once, gone on with, never stale."""

import json

import numpy as np
import pytest

from trainer.backbones import store
from trainer.backbones.store import kept_features
from trainer.errors import TrainerError

N, D = 11, 3


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch):
    monkeypatch.setattr(store, "PIECE", 4)


class Computed:
    """Features of made-up images, and which pieces were asked for."""

    def __init__(self, times=1.0, until=None):
        self.times, self.until, self.asked = times, until, []

    def __call__(self, first, last):
        if first == self.until:
            raise KeyboardInterrupt
        self.asked.append((first, last))
        return self.truth[first:last]

    @property
    def truth(self):
        return (np.arange(N * D, dtype=np.float32).reshape(N, D) + 1) * np.float32(self.times)


def test_features_are_computed_once(tmp_path):
    one, again, told = Computed(), Computed(), []
    kept = kept_features(tmp_path, {"backbone": "a"}, N, one, lambda done, total: told.append((done, total)))
    assert one.asked == [(0, 4), (4, 8), (8, 11)]
    assert told == [(0, N), (4, N), (8, N), (N, N)]
    np.testing.assert_array_equal(kept.features, one.truth)
    assert not kept.features.flags.writeable
    np.testing.assert_array_equal(kept_features(tmp_path, {"backbone": "a"}, N, again).features, one.truth)
    assert again.asked == []


def test_other_weights_or_images_have_features_of_their_own(tmp_path):
    kept_features(tmp_path, {"backbone": "a"}, N, Computed())
    other = Computed(times=2)
    np.testing.assert_array_equal(kept_features(tmp_path, {"backbone": "b"}, N, other).features, other.truth)
    assert len(other.asked) == 3
    first = Computed()
    np.testing.assert_array_equal(kept_features(tmp_path, {"backbone": "a"}, N, first).features, first.truth)
    assert first.asked == []


def test_what_was_killed_goes_on(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        kept_features(tmp_path, {}, N, Computed(until=8))
    [journal] = tmp_path.glob("*/pieces.jsonl")
    with journal.open("ab") as file:
        file.write(b'{"first": 8, "sha2')  # as a kill leaves it
    rest = Computed()
    kept = kept_features(tmp_path, {}, N, rest)
    assert rest.asked == [(8, 11)]
    assert kept.note == ""
    np.testing.assert_array_equal(kept.features, rest.truth)
    none = Computed()
    assert kept_features(tmp_path, {}, N, none).note == ""
    assert none.asked == []


def test_killed_before_anything_was_whole(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        kept_features(tmp_path, {}, N, Computed(until=0))
    kept_features(tmp_path, {}, N, Computed())
    [origin] = tmp_path.glob("*/origin.json")
    origin.unlink()  # killed before it was written
    again = Computed()
    kept_features(tmp_path, {}, N, again)
    assert len(again.asked) == 3


@pytest.mark.parametrize("damage", ["byte", "cut", "torn header", "another's"])
def test_damaged_features_are_computed_again(tmp_path, damage):
    kept_features(tmp_path, {}, N, Computed())
    [file] = tmp_path.glob("*/features.npy")
    content = bytearray(file.read_bytes())
    if damage == "byte":
        content[-(N - 5) * D * 4] ^= 1  # of the second piece
    file.write_bytes({"cut": content[:-1], "torn header": content[:20]}.get(damage, content))
    if damage == "another's":
        np.save(file, np.zeros((N, D)))
    again = Computed()
    kept = kept_features(tmp_path, {}, N, again)
    np.testing.assert_array_equal(kept.features, again.truth)
    assert again.asked == ([(4, 8)] if damage == "byte" else [(0, 4), (4, 8), (8, 11)])
    assert ("1 piece of them computed again" in kept.note) == (damage == "byte")


def test_lines_that_vouch_for_nothing_are_passed_over(tmp_path):
    kept_features(tmp_path, {}, N, Computed())
    [journal] = tmp_path.glob("*/pieces.jsonl")
    lines = [line for line in journal.read_text().splitlines() if line]
    journal.write_text("\n".join(["[]", "\x00", '{"first": null}', json.dumps({"first": 0}), *lines[1:]]))
    again = Computed()
    kept_features(tmp_path, {}, N, again)
    assert again.asked == [(0, 4)]


def test_a_closed_folder_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainerError, match="features cannot be kept in .*--set data.feature_store=FOLDER"):
        kept_features(tmp_path / "file", {}, N, Computed())


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _: type("usage", (), {"free": 100}))
    with pytest.raises(TrainerError, match="features of 11 images take 0.00 GiB, more than the 0.00 GiB that are free"):
        kept_features(tmp_path, {}, N, Computed())
