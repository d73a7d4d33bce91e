"""What is no file of a labelling tool, or not the one that was said, is refused in one line."""

import zipfile

import pytest
from handoff_cases import asked, call

from pipeline.errors import PipelineError
from pipeline.handoff.plain_xml import parse_xml
from pipeline.handoff.registry import HANDOFFS, read_answers
from pipeline.run.rundir import read_events


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run that nobody answers."""
    path = tmp_path_factory.mktemp("asked")
    return asked(path)


LAUGHS = (
    '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    "<annotations><version>&b;</version></annotations>"
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a table with the columns"),
        (b"[", "expected JSON, but it cannot be read"),
        (b"[" * 100_000, "expected JSON, but it cannot be read (it nests too deeply)"),
        (b"[1, 2]", "expected a list of tasks"),
        (b'[{"id": 1}]', "expected data and a list of annotations"),
        (b"[" + b"1" * 5000 + b"]", "expected JSON, but it cannot be read"),
        (b'[{"id": 1, "annotation_id": 2}]', "data.sample_id: expected the number of a sample"),
        (b'{"a": 1}', "expected the labels.json of a FiftyOneImageClassificationDataset"),
        (b'{"labels": {"2": "cat"}, "classes": [1]}', "expected the labels.json of a FiftyOne"),
        (b"<annotations>", "expected XML, but it cannot be read"),
        (b"<annotations></annotations>", "expected 'CVAT for images 1.1', got version 'none'"),
        (b"<annotations><version>1.1</version><track/></annotations>", "got tracks"),
        (b"<html></html>", "expected 'CVAT for images 1.1' (<annotations>), got <html>"),
        (LAUGHS.encode(), "expected XML without a document type or entities"),
        (b"<a>" * 60, "expected at most 50 levels"),
        (b"PK\x03\x04" + b"\0" * 40, "expected an archive that CVAT exported"),
        (b"\xff\xfe\x00", "got another encoding"),
        (b'annotation_id,label,sample_id\n1,"caf\xe9",1\n', "got another encoding"),
        (b'file_name,label\n"2.png', "expected a row of a table"),
        (b"annotation_id,label\n1,cat\n", "got the columns annotation_id, label"),
        (b"annotation_id,label,sample_id\n1,cat,2\n", "data.run_id: expected the run"),
    ],
)  # fmt: skip
def test_what_is_no_hand_off_is_refused_in_one_line(folder, tmp_path, content, message):
    before = read_events(folder)
    file = tmp_path / "x"
    file.write_bytes(content)
    output = call("ingest", folder, file, code=2)
    assert message in output, output[-500:]
    assert len(output) < 2000
    assert read_events(folder) == before


@pytest.mark.parametrize("name", HANDOFFS)
def test_a_file_of_another_kind_than_was_said(folder, tmp_path, name):
    file = tmp_path / "x"
    for content in (b"\0\1\2\3", b"x" * 100, b"PK\x03\x04", '{"labels": "é"}'.encode("utf-16")):
        file.write_bytes(content)
        call("ingest", folder, file, "--format", name, code=2)
    with pytest.raises(PipelineError, match="cannot be read"):
        read_answers(tmp_path / "none", name)
    with pytest.raises(PipelineError, match="none of"):
        read_answers(tmp_path / "..", name)


def test_a_folder_with_two_files_of_labels(tmp_path):
    for name in ("labels.json", "metadata.csv"):
        (tmp_path / name).write_text("x")
    with pytest.raises(PipelineError, match=r"holds both metadata.csv and labels.json"):
        read_answers(tmp_path)


def test_an_archive_that_would_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.handoff.cvat.LARGEST_TEXT", 1000)
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("annotations.xml", b" " * 10**6)
    with pytest.raises(PipelineError, match="but it has more"):
        read_answers(tmp_path / "x.zip")


def test_a_long_text_is_read_in_a_time_that_grows_with_it():
    """What stands in an element is kept as far as anybody looks at it: a text of many pieces is no trap."""
    top = parse_xml("<a><version>1.1</version>" + "x<b/>" * 20_000 + "&amp;" * 200_000 + "</a>", "x")
    assert (len(top.children), top.all("version")[0].text) == (20_001, "1.1")
    assert len(top.text) <= 2000
