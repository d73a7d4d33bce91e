"""The data that a run began with: labels that are put into its folder later are no part of it, and lock nothing."""

import json
import os
import shutil
import time
from contextlib import contextmanager

import numpy as np
import pytest
from folder_cases import put, write_csv
from PIL import Image
from session_cases import OPTIONS, ThreadNetwork, ask, network, until

from pipeline.config import load_config
from pipeline.errors import PipelineError
from pipeline.products.make import make_products
from pipeline.run.began import FILE
from pipeline.run.context import load_data, open_context
from pipeline.run.pool import GIVEN, Pool
from pipeline.run.recorded import open_recorded
from pipeline.run.rundir import RunDirectory, create_run, read_begun, read_config, read_events
from pipeline.session.session import Session

COUNT = 30


@pytest.fixture
def photos(tmp_path):
    """Images without labels: the odd ones are bright."""
    folder = tmp_path / "photos"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 60, (COUNT, 8, 8, 3), np.uint8)
    for n, pixels in enumerate(noise):
        Image.fromarray(pixels + np.uint8(150 * (n % 2))).save(folder / f"{n:02d}.png")
    return folder


def begin(path, photos, **options):
    """Make a run on the folder as ``pipeline label`` does, and log its beginning."""
    given = {"data.name": f"folder:{photos}", "data.classes": ["dark", "bright"], "data.test_fraction": 0.0}
    create_run(path, load_config(options=OPTIONS | given | {"query.n_init": 6, "query.subset": 30} | options))
    return path


@contextmanager
def opened(path, said=None):
    """Open a run as ``pipeline label`` does."""
    said = [] if said is None else said
    with RunDirectory(path, said.append) as run:
        context = open_recorded(path, run.config, run.events, False, said.append, cache=path / "images")
        said.extend(context.data.notes)
        session = Session(run, context, path / "images", "anna", said.append, ThreadNetwork)
        try:
            yield session
        finally:
            session.stop()


def name(session, sample):
    return session.clerk.context.data.sample_path("train", sample)


def answer(session, count):
    """Answer truly; return the names of the images."""
    names = []
    for _ in range(count):
        sample = ask(session)["sample"]
        names.append(name(session, sample))
        session.answer("anna", sample, ("dark", "bright")[int(names[-1][:2]) % 2], 1.0)
    return names


def learned(path):
    """The names and labels that each network of a run learned, and the bytes of its weights."""
    events, data = read_events(path), load_data(read_config(path), run=path)
    pool, cycles = Pool(len(data.train), events), sorted(path.glob("cycles/*/train"))
    sets = [pool.labelled(cycle) for cycle in range(len(cycles))]
    named = [{data.sample_path("train", i): int(y) for i, y in zip(s.ids, s.labels, strict=True)} for s in sets]
    return list(zip(named, [(cycle / "weights.safetensors").read_bytes() for cycle in cycles], strict=True))


def products(path):
    make_products(path, load_data(read_config(path), run=path))
    return path / "products" / "labels.csv"


@pytest.mark.parametrize("recorded", [True, False], ids=["", "of an older version"])
def test_its_own_labels_in_the_folder_change_nothing_for_any_run_there(tmp_path, photos, recorded):
    path, empty = begin(tmp_path / "run", photos), begin(tmp_path / "empty", photos)
    with opened(empty):
        pass
    with opened(path) as session:
        session.add_class("third")  # --classes does not know it: read from the list, its label would be refused
        names = answer(session, 6)
        until(session, network(0))
        names += answer(session, 3)
        session.answer("anna", ask(session)["sample"], "third", 1.0)
    before = learned(path)
    if not recorded:
        (path / FILE).unlink()
        (empty / FILE).unlink()
    shutil.copy(products(path), photos)
    assert products(path).read_text() == (photos / "labels.csv").read_text()
    with opened(path, said := []) as session:
        assert session.state("anna")["labelled"] == 10
        more = answer(session, 2)
        assert not set(names) & set(more)
        until(session, network(1))
    assert (any("labels.csv is new since this run began" in line for line in said)) == recorded
    assert not any("set aside" in line or "read again" in line for line in said), said
    assert learned(path)[: len(before)] == before
    assert all(label == int(image[:2]) % 2 for image, label in learned(path)[0][0].items())
    assert not any(GIVEN in str(event.get("annotator")) for event in read_events(path))
    with opened(empty) as session:
        assert session.state("anna")["labelled"] == 0
    with opened(begin(tmp_path / "new", photos, **{"data.classes": ["dark", "bright", "third"]})) as session:
        assert session.state("anna")["labelled"] == 10  # of a new run they are given


def test_a_list_that_was_there_counts_as_it_was(tmp_path, photos):
    write_csv(photos, "path,label\n" + "".join(f"{n:02d}.png,{('dark', 'bright')[n % 2]}\n" for n in range(6)))
    path = begin(tmp_path / "run", photos)
    with opened(path) as session:
        until(session, network(0))
        answer(session, 2)
    before = learned(path)
    shutil.copy(products(path), photos)
    with opened(path, said := []) as session:
        assert session.state("anna")["labelled"] == 8
    assert any("labels.csv was changed since this run began" in line for line in said)
    assert learned(path) == before
    (photos / "labels.csv").unlink()
    with opened(path) as session:
        assert session.state("anna")["labelled"] == 8


def test_a_network_made_while_the_list_came_learns_the_images_that_were_labelled(tmp_path, photos):
    path = begin(tmp_path / "run", photos)
    with opened(path) as session:
        names = answer(session, 6)
        until(session, network(0))
        write_csv(photos, "path,label\n" + "".join(f"{image},bright\n" for image in sorted(names)))
        (photos / "99.png").write_bytes((photos / "00.png").read_bytes())
        answer(session, 4)
        until(session, network(1))
        answer(session, 4)
        until(session, network(2))
    (photos / "99.png").unlink()
    assert [len(images) for images, _ in learned(path)] == [6, 10, 14]
    assert all(label == int(image[:2]) % 2 for images, _ in learned(path) for image, label in images.items())


@pytest.mark.parametrize("recorded", [True, False], ids=["", "of an older version"])
@pytest.mark.parametrize("change", ["new", "gone", "changed"])
def test_what_changed_of_the_images_is_named(tmp_path, photos, recorded, change):
    path = begin(tmp_path / "run", photos)
    with opened(path) as session:
        answer(session, 2)
    if not recorded:
        (path / FILE).unlink()
    file = photos / "03.png"
    if change == "new":
        shutil.copy(file, photos / "new.png")
    elif change == "gone":
        file.unlink()
    else:
        shutil.copy(photos / "04.png", file)
        os.utime(file, (time.time() + 5, time.time() + 5))
    expected = {"new": "1 image is new ('new.png')", "gone": "1 image is gone ('03.png')"}
    with pytest.raises(PipelineError) as raised:
        open_recorded(path, read_config(path), read_begun(path), False, print, cache=path / "images")
    assert "is not the one that the run began with: " in str(raised.value)
    assert expected.get(change, "1 image was changed ('03.png')") in str(raised.value)


def test_labels_by_files_go_on_with_a_list_in_the_folder_and_the_images_are_checked_first(command, tmp_path):
    for n in range(12):
        put(tmp_path, f"photos/{n:02d}.png", seed=n)
    options = ("--classes", "a,b", "--annotator", "files", "--strategy", "margin", "--n-init", 4, "--query-size", 2)
    run, resume, ingest, export = (command(name) for name in ("run", "resume", "ingest", "export"))
    small = ("--set", "data.test_fraction=0", "--model", "mlp", "--epochs", 4, "--device", "cpu", "--cycles", 3)
    run("--dataset", "folder:photos", *options, *small, "--out", "r", code=75)
    export("r")
    table = (tmp_path / "r" / "to_label.csv").read_text("utf-8-sig").splitlines()
    rows = [f"{line.split(',')[0]},{line.split(',')[1]},{'ab'[n % 2]}" for n, line in enumerate(table[1:])]
    write_csv(tmp_path / "photos", "\n".join(["path,label", *(",".join(row.split(",")[1:]) for row in rows)]) + "\n")
    export("r")
    assert (tmp_path / "r" / "to_label.csv").read_text("utf-8-sig").splitlines() == table
    (tmp_path / "said.csv").write_text("\n".join(["sample_id,path,label", *rows]))
    ingest("r", "said.csv")
    told = resume("r", code=75).stderr
    assert "labels.csv is new since this run began" in told
    assert not any(event.get("annotator") == GIVEN for event in read_events(tmp_path / "r"))
    for n in range(6):
        (tmp_path / "photos" / f"{n:02d}.png").unlink()
    said = resume("r", code=2).stderr  # not: that 8 samples are too many for the 6 that are left
    assert "6 images are gone ('00.png', '01.png', '02.png' and 3 more)" in said


def test_an_experiment_on_class_folders_goes_on_with_a_list_beside_them(tmp_path, start, go_on):
    for n in range(30):
        put(tmp_path, f"mine/{('cat', 'dog')[n % 2]}/{n}.png", seed=n)
    path = start(data__name=f"folder:{tmp_path / 'mine'}", query__strategy="random", cycles=1)
    go_on(path)
    write_csv(tmp_path / "mine", "path,label\ncat/0.png,dog\ndog/1.png,cat\n")
    put(tmp_path, "mine/loose.png")  # no answer: no part of it
    assert open_context(read_config(path), run=path).data.train.labels.tolist().count(0) > 8
    put(tmp_path, "mine/cat/100.png")
    (tmp_path / "mine" / "labels.csv").unlink()
    with pytest.raises(PipelineError, match=r"1 image is new \('cat/100.png'\)"):
        open_context(read_config(path), run=path)


def test_a_damaged_record_of_the_beginning_is_made_again(tmp_path, photos):
    path = begin(tmp_path / "run", photos)
    with opened(path):
        pass
    whole = (path / FILE).read_text()
    (path / FILE).write_text(whole[: len(whole) // 2])
    with opened(path):
        pass
    assert (path / FILE).read_text() == whole
    stored = json.loads(whole)
    assert [file[:3] for file in stored["files"]] == [[f"{n:02d}.png", None, "train"] for n in range(COUNT)]
