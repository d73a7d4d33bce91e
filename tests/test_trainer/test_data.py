"""Data sets, from small files in their real formats."""

import gzip
import hashlib
import pickle
import struct
import sys

import numpy as np
import pytest
from scipy.io import savemat

from trainer.data import DATASETS, DataSet, Split, load, vision
from trainer.errors import DataCorrupt, DataNotFound, TrainerError

IDX = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}


def grey(n, seed, side=28):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, side, side), dtype=np.uint8), rng.integers(0, 10, n)


def write_idx(root, name, packed=True):
    """The four idx files of an MNIST-like data set; returns (train, test) as (images, labels)."""
    raw = root / IDX[name] / "raw"
    raw.mkdir(parents=True)
    halves = grey(7, 1), grey(4, 2)
    for stem, (images, labels) in zip(("train", "t10k"), halves, strict=True):
        files = {
            f"{stem}-images-idx3-ubyte": struct.pack(">IIII", 2051, *images.shape) + images.tobytes(),
            f"{stem}-labels-idx1-ubyte": struct.pack(">II", 2049, len(labels)) + labels.astype(np.uint8).tobytes(),
        }
        for file, content in files.items():
            (raw / (file + ".gz" * packed)).write_bytes(gzip.compress(content) if packed else content)
    return halves


def write_cifar(root, monkeypatch, name="cifar10"):
    """A CIFAR folder with two training batches, its checksums put into torchvision's list."""
    from torchvision import datasets

    reader = datasets.CIFAR10 if name == "cifar10" else datasets.CIFAR100
    key, label_key = ("label_names", "labels") if name == "cifar10" else ("fine_label_names", "fine_labels")
    folder = root / reader.base_folder
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    truth, lists = {}, {"train": [], "test": []}
    for half, file in (("train", "batch_a"), ("train", "batch_b"), ("test", "batch_t")):
        images, labels = rng.integers(0, 256, (3, 3072), dtype=np.uint8), rng.integers(0, 10, 3).tolist()
        content = pickle.dumps({"data": images, label_key: labels})
        (folder / file).write_bytes(content)
        lists[half].append([file, hashlib.md5(content).hexdigest()])
        truth.setdefault(half, []).append((images.reshape(3, 3, 32, 32), labels))
    meta = pickle.dumps({key: [f"class {number}" for number in range(10)]})
    (folder / "the_meta").write_bytes(meta)
    monkeypatch.setattr(reader, "train_list", lists["train"])
    monkeypatch.setattr(reader, "test_list", lists["test"])
    monkeypatch.setattr(reader, "meta", {"filename": "the_meta", "key": key, "md5": hashlib.md5(meta).hexdigest()})
    return folder, truth


def write_svhn(root, monkeypatch):
    from torchvision.datasets import SVHN

    rng = np.random.default_rng(0)
    truth, listed = {}, {}
    for half, n in (("train", 5), ("test", 3)):
        images = rng.integers(0, 256, (32, 32, 3, n), dtype=np.uint8)
        labels = np.arange(10, 10 - n, -1)[:, None]  # 10 is the digit 0
        path = root / f"{half}_32x32.mat"
        savemat(path, {"X": images, "y": labels})
        listed[half] = ["", path.name, hashlib.md5(path.read_bytes()).hexdigest()]
        truth[half] = (images.transpose(3, 2, 0, 1), labels[:, 0] % 10)
    monkeypatch.setattr(SVHN, "split_list", listed)
    return truth


def snapshot(root):
    return {path.relative_to(root): path.stat().st_mtime_ns for path in root.rglob("*")}


def test_digits_have_one_split_for_ever():
    data = load("digits")
    assert (len(data.train), len(data.test)) == (1297, 500)
    assert data.input_shape == (1, 8, 8)
    assert data.num_classes == 10
    assert data.train.images.max() == 16
    # Pinned: a change of these bytes is a change of every result ever measured on them.
    assert data.fingerprint() == load("digits").fingerprint()
    assert hashlib.sha256(data.test.images.tobytes()).hexdigest()[:16] == "f2ba4639cc9d76a0"
    assert np.bincount(data.test.labels).min() >= 40


def test_digits_are_every_scan_exactly_once():
    from sklearn.datasets import load_digits

    scans, data = load_digits(), load("digits")
    both = np.concatenate([data.train.images, data.test.images]).reshape(-1, 64)
    assert sorted(map(bytes, both)) == sorted(map(bytes, scans.data.astype(np.uint8)))
    test = np.arange(1797) * 500 % 1797 < 500
    np.testing.assert_array_equal(data.test.images[:, 0], scans.images[test])
    np.testing.assert_array_equal(data.test.labels, scans.target[test])


def test_digits_are_normalised_with_their_own_constants():
    x = load("digits").inputs("train")
    assert abs(x.mean()) < 1e-3
    assert abs(x.std() - 1) < 1e-3


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", IDX)
def test_idx_files_packed_or_not_are_read_and_the_root_is_left_alone(tmp_path, name, packed):
    (images, labels), (test_images, test_labels) = write_idx(tmp_path, name, packed)
    before = snapshot(tmp_path)
    data = load(name, root=tmp_path)
    assert snapshot(tmp_path) == before
    np.testing.assert_array_equal(data.train.images[:, 0], images)
    np.testing.assert_array_equal(data.train.labels, labels)
    np.testing.assert_array_equal(data.test.images[:, 0], test_images)
    np.testing.assert_array_equal(data.test.labels, test_labels)
    assert data.num_classes == 10
    assert data.classes[0] == {"mnist": "0", "fashion-mnist": "T-shirt/top"}[name]


def test_a_missing_idx_file_is_named_with_what_to_do(tmp_path):
    write_idx(tmp_path, "mnist")
    (tmp_path / "MNIST/raw/t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataNotFound, match=r"MNIST/raw/t10k-labels-idx1-ubyte, .*--download .*--data-root"):
        load("mnist", root=tmp_path)


@pytest.mark.parametrize("name", [name for name in DATASETS if name not in ("digits", "mnist5k")])
def test_without_files_every_data_set_says_where_it_looked(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataNotFound, match=str(tmp_path / "nowhere")):
        load(name, root=tmp_path / "nowhere")
    with pytest.raises(DataNotFound, match="needs data/"):
        load(name)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("train-images-idx3-ubyte.gz", lambda content: content[:-30]),
        ("train-images-idx3-ubyte.gz", lambda content: b"not gzip"),
        ("train-images-idx3-ubyte.gz", lambda content: gzip.compress(gzip.decompress(content)[:-9])),
        ("train-images-idx3-ubyte.gz", lambda content: gzip.compress(b"\x00" * 8)),
        ("t10k-labels-idx1-ubyte.gz", lambda content: gzip.compress(struct.pack(">II", 2049, 1) + b"\x01")),
        ("t10k-labels-idx1-ubyte.gz", lambda content: gzip.compress(struct.pack(">II", 2049, 4) + b"\x0a" * 4)),
    ],
)
def test_a_damaged_idx_file_is_refused(tmp_path, file, damage):
    write_idx(tmp_path, "mnist")
    path = tmp_path / "MNIST/raw" / file
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(TrainerError) as caught:
        load("mnist", root=tmp_path)
    assert "\n" not in str(caught.value)


def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch):
    write_idx(tmp_path, "mnist")
    monkeypatch.setattr(vision, "MAX_IDX_BYTES", 1000)
    with pytest.raises(DataCorrupt, match="decompresses to more than 1000 bytes"):
        load("mnist", root=tmp_path)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_batches_are_read(tmp_path, monkeypatch, name):
    _, truth = write_cifar(tmp_path, monkeypatch, name)
    before = snapshot(tmp_path)
    data = load(name, root=tmp_path)
    assert snapshot(tmp_path) == before
    np.testing.assert_array_equal(data.train.images, np.concatenate([images for images, _ in truth["train"]]))
    np.testing.assert_array_equal(data.train.labels, np.concatenate([labels for _, labels in truth["train"]]))
    np.testing.assert_array_equal(data.test.images, truth["test"][0][0])
    assert data.classes[3] == "class 3"
    assert data.input_shape == (3, 32, 32)


class Trap:
    """Unpickling this creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("file", ["batch_a", "batch_t", "the_meta"])
def test_a_cifar_pickle_with_another_checksum_is_never_opened(tmp_path, monkeypatch, file):
    folder, _ = write_cifar(tmp_path, monkeypatch)
    (folder / file).write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises(DataCorrupt, match="not what its publisher distributes"):
        load("cifar10", root=tmp_path)
    assert not (tmp_path / "sprung").exists()


def test_the_published_checksums_are_those_of_torchvision_and_are_used(tmp_path):
    from torchvision.datasets import CIFAR10

    folder = tmp_path / CIFAR10.base_folder
    folder.mkdir()
    for file, _ in [*CIFAR10.train_list, *CIFAR10.test_list, [CIFAR10.meta["filename"], ""]]:
        (folder / file).write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises(DataCorrupt):
        load("cifar10", root=tmp_path)
    assert not (tmp_path / "sprung").exists()


def test_svhn_is_read_and_its_ten_is_a_zero(tmp_path, monkeypatch):
    truth = write_svhn(tmp_path, monkeypatch)
    data = load("svhn", root=tmp_path)
    for half, split in (("train", data.train), ("test", data.test)):
        np.testing.assert_array_equal(split.images, truth[half][0])
        np.testing.assert_array_equal(split.labels, truth[half][1])
    assert data.train.labels.tolist() == [0, 9, 8, 7, 6]


def test_an_svhn_file_with_another_checksum_is_refused(tmp_path, monkeypatch):
    write_svhn(tmp_path, monkeypatch)
    with (tmp_path / "test_32x32.mat").open("ab") as stream:
        stream.write(b"\x00")
    with pytest.raises(DataCorrupt):
        load("svhn", root=tmp_path)


def test_a_failed_download_is_one_line(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10

    def refuse(self):
        raise OSError("no route\nto host")

    monkeypatch.setattr(CIFAR10, "download", refuse)
    with pytest.raises(DataNotFound, match=r"could not be downloaded into .* \(no route to host\)"):
        load("cifar10", root=tmp_path, download=True)


def test_download_is_not_tried_when_nothing_is_missing(tmp_path, monkeypatch):
    from torchvision.datasets import MNIST

    write_idx(tmp_path, "mnist")
    monkeypatch.setattr(MNIST, "download", lambda self: pytest.fail("downloaded"))
    assert len(load("mnist", root=tmp_path, download=True).train) == 7


def test_an_unknown_data_set_is_refused():
    with pytest.raises(TrainerError, match="there is no data set 'digit'; choose one of digits, mnist"):
        load("digit")


def test_every_data_set_says_what_it_is_and_where_it_comes_from():
    assert list(DATASETS) == ["digits", "mnist5k", "mnist", "fashion-mnist", "cifar10", "cifar100", "svhn"]
    assert all(entry.description and entry.source for entry in DATASETS.values())


def small(**changes):
    images = np.arange(2 * 2 * 3 * 3, dtype=np.uint8).reshape(2, 2, 3, 3)
    split = Split(images, np.array([1, 0]))
    fields = {"name": "small", "classes": ("a", "b"), "train": split, "test": split, "scale": 4.0}
    return DataSet(**{**fields, "mean": (0.5, 1.0), "std": (2.0, 0.5), **changes})


def test_inputs_are_the_formula_for_the_images_asked_in_their_order():
    data = small()
    images = data.train.images.astype(np.float64)
    expected = (images / 4.0 - np.array([0.5, 1.0])[:, None, None]) / np.array([2.0, 0.5])[:, None, None]
    x = data.inputs("train")
    assert x.dtype == np.float32
    np.testing.assert_allclose(x, expected, rtol=1e-6)
    np.testing.assert_array_equal(data.inputs("test", [1, 0, 1]), x[[1, 0, 1]])
    np.testing.assert_array_equal(data.labels("test", [1, 0, 1]), [0, 1, 0])
    assert data.inputs("train", []).shape == (0, 2, 3, 3)


def test_what_is_handed_out_is_a_copy():
    data = small()
    data.labels("train")[:] = 0
    data.inputs("train")[:] = 0
    assert data.train.labels.tolist() == [1, 0]
    assert data.train.images.max() == 35


@pytest.mark.parametrize("ids", [[2], [-1], [0.0], [[0]], [True, False], ["0"]])
def test_ids_that_name_no_image_are_refused(ids):
    with pytest.raises(TrainerError, match="small train ids"):
        small().inputs("train", ids)


def test_an_unknown_half_is_refused():
    with pytest.raises(TrainerError, match="must be 'train' or 'test', got 'pool'"):
        small().labels("pool")


def test_the_fingerprint_sees_every_field():
    changed = small().train.images.copy()
    changed[0, 0, 0, 0] += 1
    variants = [
        small(),
        small(name="other"),
        small(classes=("a", "c")),
        small(scale=5.0),
        small(mean=(0.5, 1.1)),
        small(std=(2.0, 0.6)),
        small(train=Split(changed, np.array([1, 0]))),
        small(test=Split(changed, np.array([1, 0]))),
        small(train=Split(small().train.images, np.array([0, 0]))),
    ]
    assert len({data.fingerprint() for data in variants}) == len(variants)
    assert small().fingerprint() == small().fingerprint()


def test_an_empty_test_half_has_a_fingerprint_too():
    empty = Split(np.zeros((0, 2, 3, 3), np.uint8), np.zeros(0, np.int64))
    assert small(test=empty).fingerprint() == small(test=empty).fingerprint() != small().fingerprint()


@pytest.mark.parametrize(
    "build",
    [
        lambda: Split(np.zeros((2, 1, 3, 3)), np.zeros(2, np.int64)),
        lambda: Split(np.zeros((2, 3, 3), np.uint8), np.zeros(2, np.int64)),
        lambda: Split(np.zeros((2, 1, 3, 3), np.uint8), np.zeros(3, np.int64)),
        lambda: Split(np.zeros((2, 1, 3, 3), np.uint8), np.zeros(2, np.int32)),
        lambda: small(mean=(0.5,)),
        lambda: small(std=(1.0, 0.0)),
        lambda: small(classes=("a",)),
        lambda: small(test=Split(np.zeros((1, 2, 4, 4), np.uint8), np.zeros(1, np.int64))),
    ],
)
def test_arrays_that_contradict_each_other_are_refused(build):
    with pytest.raises(TrainerError):
        build()


def test_torchvision_is_imported_only_when_asked_for():
    import subprocess

    code = "import sys; from trainer.data import load; load('digits'); sys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
