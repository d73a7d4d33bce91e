"""A test half drawn from every class by itself, and classes that are left out; without either, all is as it was."""

import hashlib
import json

import numpy as np
import pytest
from click.testing import CliRunner
from folder_cases import put, read, write_csv

from trainer import cli
from trainer.data import ImageOptions, load
from trainer.data.custom import draw_test, draw_test_of_each
from trainer.errors import TrainerError

SIZES = {"ant": 25, "bee": 7, "cat": 2, "dog": 1}
EXPECTED = {"ant": 5, "bee": 1, "cat": 1, "dog": 0}
"""A fifth of each, rounded: at least one, but never all."""


@pytest.fixture
def many(tmp_path):
    for label, size in SIZES.items():
        for number in range(size):
            put(tmp_path / "data", f"{label}/{number}.png", (4, 4), seed=number)
    return tmp_path / "data"


def reference(names, labels, share):
    """The definition, slowly: of each class the names with the smallest hashes."""
    test = set()
    for label in set(labels):
        own = [name for name, other in zip(names, labels, strict=True) if other == label]
        wanted = min(max(round(share * len(own)), 1), len(own) - 1) if share else 0
        test |= set(sorted(own, key=lambda name: hashlib.sha256(name.encode()).hexdigest())[:wanted])
    return test


def names_in(root):
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    return names, [name.partition("/")[0] for name in names]


def counts(data, half):
    return {name: int((data.labels(half) == label).sum()) for label, name in enumerate(data.classes)}


@pytest.mark.parametrize("share", [0.2, 0.5, 0.01, 0.99, 0.0])
def test_each_class_gives_its_share_by_hash(many, share):
    data = read(many, stratified=True, test_fraction=share)
    assert set(data.paths[1]) == reference(*names_in(many), share)
    assert sorted(data.paths[0] + data.paths[1]) == names_in(many)[0]


def test_a_fifth_of_each_class_by_hand(many):
    assert counts(read(many, stratified=True), "test") == EXPECTED
    assert counts(read(many, stratified=True), "train") == {name: SIZES[name] - EXPECTED[name] for name in SIZES}


def test_without_it_the_half_is_drawn_from_all_as_ever(many):
    names, _ = names_in(many)
    expected = {name for name, test in zip(names, draw_test(names, 0.2), strict=True) if test}
    for data in (read(many), read(many, stratified=False)):
        assert set(data.paths[1]) == expected
    assert (
        read(many).fingerprint()
        == read(many, stratified=False).fingerprint()
        != read(many, stratified=True).fingerprint()
    )
    assert counts(read(many), "test") != EXPECTED


def test_order_does_not_matter_and_a_new_image_moves_no_other_class(many):
    names, labels = names_in(many)
    test = draw_test_of_each(names, labels, 0.3)
    order = np.random.default_rng(0).permutation(len(names))
    shuffled = draw_test_of_each([names[i] for i in order], [labels[i] for i in order], 0.3)
    assert np.array_equal(shuffled, test[order])
    before = set(read(many, stratified=True).paths[1])
    put(many, "bee/new.png", (4, 4))
    changed = before ^ set(read(many, stratified=True).paths[1])
    assert all(name.startswith("bee/") for name in changed)
    assert draw_test_of_each([], [], 0.3).tolist() == []


def test_what_has_no_label_is_never_drawn_and_given_halves_are_kept(many, tmp_path):
    put(many, "loose.png", (4, 4))
    data = read(many, stratified=True)
    assert counts(data, "test") == EXPECTED
    assert "loose.png" in data.paths[0]
    for name in ("train/a/1.png", "train/b/1.png", "test/a/2.png", "test/b/2.png"):
        put(tmp_path / "halves", name)
    assert read(tmp_path / "halves", stratified=True).paths[1] == ("test/a/2.png", "test/b/2.png")


def test_a_list_is_stratified_too(many):
    lines = [f"{name},{'big' if name.startswith('ant') else 'small'}" for name in names_in(many)[0]]
    write_csv(many, "path,label\n" + "\n".join(lines))
    assert counts(read(many, stratified=True), "test") == {"big": 5, "small": 2}


@pytest.mark.parametrize(
    "labels", [np.arange(23) % 2, np.array(["rare"] * 3 + ["common"] * 20)], ids=["numbers", "text"]
)
def test_an_archive_is_stratified_too(tmp_path, labels):
    x = np.random.default_rng(0).integers(0, 256, (23, 4, 4), np.uint8)
    np.savez(tmp_path / "a.npz", X=x, y=labels)
    data = load(f"npz:{tmp_path / 'a.npz'}", images=ImageOptions(stratified=True))
    rows = {data.rows[1].row[i] for i in range(len(data.test))}
    assert {str(row) for row in rows} == reference([str(i) for i in range(23)], labels.tolist(), 0.2)
    plain = load(f"npz:{tmp_path / 'a.npz'}")
    assert set(plain.rows[1].row) == set(np.flatnonzero(draw_test([str(i) for i in range(23)], 0.2)))


def test_classes_are_left_out_with_their_images_and_it_is_said(many):
    data = read(many, leave_out=["dog", "bee"])
    assert data.classes == ("ant", "cat")
    assert not any(name.startswith(("dog", "bee")) for half in data.paths for name in half)
    assert data.notes[0] == f"left out 7 images of 'bee', 1 image of 'dog' under {many}, as asked"
    assert read(many, leave_out="dog, bee").fingerprint() == data.fingerprint()
    for name in ("dog", "bee"):
        for path in (many / name).iterdir():
            path.unlink()
        (many / name).rmdir()
    assert read(many).fingerprint() == data.fingerprint()  # as if they had never been there


def test_what_is_left_out_is_not_opened(many):
    (many / "dog/0.png").write_bytes(b"text")
    assert read(many, leave_out="dog").classes == ("ant", "bee", "cat")


def test_a_class_is_left_out_of_both_halves_and_beside_them(tmp_path):
    for name in ("train/a/1.png", "train/b/1.png", "train/c/1.png", "test/a/2.png", "test/c/2.png", "junk/1.png"):
        put(tmp_path, name)
    data = read(tmp_path, leave_out="c,junk")
    assert data.classes == ("a", "b")
    assert data.paths == (("train/a/1.png", "train/b/1.png"), ("test/a/2.png",))


def test_a_label_of_a_list_is_left_out_and_its_images_are_no_candidates(many):
    lines = [f"{name},{name.partition('/')[0]}" for name in names_in(many)[0][1:]]
    write_csv(many, "path,label\n" + "\n".join(lines))
    data = read(many, leave_out="bee")
    assert data.classes == ("ant", "cat", "dog")
    assert not any(name.startswith("bee") for half in data.paths for name in half)
    assert data.paths[0][-1] == names_in(many)[0][0]  # which is not listed, so without a label
    assert any(note.startswith("left out 7 images of 'bee'") for note in data.notes)


def test_a_folder_that_is_no_class_may_be_left_out_of_the_candidates(many):
    data = read(many, classes="ant,bee", leave_out="cat")
    assert [name for name in data.paths[0] if not name.startswith(("ant", "bee"))] == ["dog/0.png"]


@pytest.mark.parametrize("listed", [False, True])
def test_a_name_that_is_no_class_is_refused(many, listed):
    if listed:
        write_csv(many, "path,label\nant/0.png,ant\nbee/0.png,bee\n")
    with pytest.raises(TrainerError, match=r"leave_out: expected classes of .*, got 'Dog'; there are 'ant', 'bee'"):
        read(many, leave_out="Dog")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"leave_out": ""}, "leave_out: expected one or more names that all differ"),
        ({"leave_out": []}, "leave_out: expected one or more names that all differ"),
        ({"leave_out": "a,a"}, "leave_out: expected one or more names that all differ, such as cat,dog, got 'a,a'"),
        ({"leave_out": [True]}, "leave_out: expected names such as cat,dog, got .True.; put words like yes"),
        (
            {"leave_out": "a", "classes": "a,b"},
            "leave_out: expected names that are none of the classes, got 'a' in both",
        ),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(TrainerError, match=message):
        ImageOptions(**options)


def test_classes_of_an_archive_cannot_be_left_out(tmp_path):
    np.savez(tmp_path / "a.npz", X=np.arange(64, dtype=np.uint8).reshape(4, 4, 4), y=[0, 1, 0, 1])
    with pytest.raises(TrainerError, match="leave_out is for image files"):
        load(f"npz:{tmp_path / 'a.npz'}", images=ImageOptions(leave_out="1"))


def test_the_cache_knows_both_and_one_of_before_still_fits(many, tmp_path):
    def cached(**options):
        return load(f"folder:{many}", images=ImageOptions(**options), cache=tmp_path / "cache")

    cached()
    options = json.loads((tmp_path / "cache/images.json").read_text())["origin"]["options"]
    assert sorted(options) == ["classes", "image_size", "mode", "skip_bad", "test_fraction"]  # as it always was
    assert not any("read again" in note for note in cached().notes)
    for given in ({"stratified": True}, {"leave_out": "dog"}):
        first, again = cached(**given), cached(**given)
        assert any("all were read again" in note for note in first.notes)
        assert not any("all were read again" in note for note in again.notes)
        assert first.fingerprint() == again.fingerprint() == read(many, **given).fingerprint()


def test_photographs_of_all_sizes_load_with_grey_ones_among_them(tmp_path):
    kinds = [((300, 200), "RGB", "jpg"), ((199, 301), "L", "jpg"), ((64, 250), "RGBA", "png"), ((31, 30), "L", "png")]
    for number in range(12):
        size, mode, kind = kinds[number % 4]
        put(tmp_path, f"{'ab'[number // 6]}/{number}.{kind}", size, mode, seed=number)
    data = read(tmp_path, image_size="48x64", stratified=True)
    assert data.input_shape == (3, 48, 64)
    assert (len(data.train), len(data.test)) == (10, 2)
    greys = [i for i, path in enumerate(data.paths[0]) if int(path[2:].partition(".")[0]) % 4 in (1, 3)]
    assert greys
    for i in greys:  # a grey photograph has three equal channels
        assert (data.train.images[i] == data.train.images[i][:1]).all()
    with pytest.raises(TrainerError, match="images differ in size"):
        read(tmp_path)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(cli.cli, arguments)


def test_the_command_line_sets_both(run, many, tmp_path):
    given = ["--dataset", f"folder:{many}", "--set", "data.stratified=true", "--set", "data.leave_out=dog,cat"]
    result = run("export", *given, "--n-labelled", "5", "--pool", "21", "--out", "out")
    assert result.exit_code == 0, result.output
    assert "left out 2 images of 'cat', 1 image of 'dog'" in result.output
    paths = [line.partition(",")[2] for line in (tmp_path / "out/samples.csv").read_text().splitlines()[1:]]
    assert sorted(paths) == sorted(read(many, stratified=True, leave_out="cat,dog").paths[0])
    result = run("export", *given[:2], "--set", "data.stratified=yes", "--n-labelled", "5", "--pool", "9", "--out", "o")
    assert result.exit_code == 2
    assert "expected true or false" in result.output
    result = run("export", *given[2:], "--n-labelled", "5", "--pool", "9", "--out", "o")
    assert result.output.strip().endswith(
        "stratified: expected --dataset folder:PATH or npz:PATH with it, got 'digits'"
    )


def test_a_network_with_a_fraction_among_its_options_is_trained(run, tmp_path):
    shared = ["fit", "--n-labelled", "30", "--epochs", "2", "--model", "mlp", "--option", "width=8", "--out"]
    result = run(*shared, "made", "--option", "dropout=0.25")
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "made/model.json").read_text())["options"] == {"dropout": 0.25, "width": 8}
    result = run(*shared, "other", "--option", "dropout=1.5")
    assert result.exit_code == 2
    assert "error: mlp option dropout must be at least 0.0 and at most 0.9, got 1.5" in result.output
