"""A real Label Studio, version 1.23, on loopback: the round trip by files, and live with a kill in between."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from folder_cases import put
from handoff_cases import GOLDEN, asked, call, said
from label_studio_real import real_server

from pipeline.handoff.label_studio import USER

pytestmark = pytest.mark.servers
ANNA, BEA = USER.format(1), USER.format(2)


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    folder, root = tmp_path_factory.mktemp("label-studio"), tmp_path_factory.mktemp("root")
    with real_server(folder, root) as real:
        real.root = root
        yield real


def eventually(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


def keys(tasks):
    """The fields of tasks and of their annotations."""
    found = {key for task in tasks for key in task}
    return found | {f"annotation {key}" for task in tasks for each in task.get("annotations", []) for key in each}


def test_out_to_a_real_label_studio_and_back(studio):
    folder = studio.root / "files"
    path = asked(folder)
    call("export", path, "--format", "label-studio", "-o", folder / "out", "--image-root", studio.root)
    config = {"title": "by files", "label_config": (folder / "out/config.xml").read_text(), "maximum_annotations": 2}
    studio.project = studio.call("POST", "/api/projects/", config)["id"]
    storage = {"project": studio.project, "path": str(folder / "photos"), "title": "x", "use_blob_urls": True}
    studio.call("POST", "/api/storages/localfiles", storage)
    tasks = json.loads((folder / "out/tasks.json").read_text())
    for task in tasks:
        assert studio.bytes("GET", task["data"]["image"])  # the picture is shown
    numbers = studio.call("POST", f"/api/projects/{studio.project}/import?return_task_ids=true", tasks)["task_ids"]
    samples = [task["data"]["sample_id"] for task in tasks]
    studio.annotate(numbers[0], 1, "cat")
    studio.annotate(numbers[0], 2, "dog")
    studio.annotate(numbers[1], 1)
    again = studio.annotate(numbers[2], 1, "cat")
    studio.relabel(again, "dog")
    draft = {"result": [], "lead_time": 1}
    studio.call("POST", f"/api/tasks/{numbers[3]}/drafts", draft)
    exported = {kind: studio.export(kind) for kind in ("CSV", "JSON_MIN", "JSON")}
    labels = {(samples[0], ANNA): 0, (samples[0], BEA): 1, (samples[2], ANNA): 1}
    for kind, content in exported.items():
        (folder / kind).write_bytes(content)
        call("ingest", path, folder / kind)
        assert said(path) == labels | ({(samples[1], ANNA): None} if kind == "JSON" else {})
    for kind, name in (("JSON", "export.json"), ("JSON_MIN", "export_min.json")):
        assert keys(json.loads(exported[kind])) == keys(json.loads((GOLDEN / name).read_text()))
    fields = [
        next(csv.reader(io.StringIO(text))) for text in (exported["CSV"].decode(), (GOLDEN / "export.csv").read_text())
    ]
    assert fields[0] == fields[1]


def begin(studio, *arguments):
    """Start ``pipeline label`` as people do; return the process once its tasks lie ready."""
    env = os.environ | {"LABEL_STUDIO_API_KEY": studio.token, "JAX_PLATFORMS": "cpu"}
    program = [sys.executable, "-c", "from pipeline.cli import main; main()", "label", *map(str, arguments)]
    to = ["--label-studio", studio.url, "--image-root", str(studio.root), "--no-browser"]
    process = subprocess.Popen([*program, *to], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("label at"):
            return process, "".join(lines)
    raise AssertionError("".join(lines))


def test_live_with_a_real_label_studio(studio):
    folder = studio.root / "live"
    for number in range(24):
        put(folder, f"photos/{number}.png")
    run = folder / "run"
    shape = ("--classes", "dark,bright", "--n-init", 6, "--model", "mlp", "--epochs", 5, "--out", run)
    process, output = begin(studio, folder / "photos", *shape)
    assert "does not push" not in output
    [studio.project] = [
        each["id"] for each in studio.call("GET", "/api/projects/")["results"] if "run" in each["title"]
    ]

    def heard(sample, who, label):
        eventually(lambda: said(run).get((sample, who), "nothing") == label)

    try:
        first, second, third, fourth = studio.open_tasks()
        samples = [studio.sample(task) for task in (first, second, third, fourth)]
        number = studio.annotate(first, 1, "dark")
        heard(samples[0], ANNA, 0)
        studio.relabel(number, "bright")
        heard(samples[0], ANNA, 1)
        studio.annotate(second, 1)
        heard(samples[1], ANNA, None)
        studio.annotate(first, 2, "dark")
        heard(samples[0], BEA, 0)
        gone = studio.annotate(third, 2, "dark")
        heard(samples[2], BEA, 0)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        studio.delete(gone, 2)
        studio.annotate(fourth, 2, "bright")
        process, _ = begin(studio, run)
        heard(samples[3], BEA, 1)
        heard(samples[2], BEA, "nothing")
        for turn in range(8):  # until a network asks, which takes some answers and its training
            task = studio.open_tasks()[0]
            sample = studio.sample(task)
            studio.annotate(task, 1, ("dark", "bright")[turn % 2])
            heard(sample, ANNA, turn % 2)
        process.send_signal(signal.SIGINT)
        assert "every answer is saved" in process.communicate(timeout=120)[0]
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    theirs = {}
    for task in studio.tasks():
        for each in sorted(task["annotations"], key=lambda each: each["updated_at"]):
            chosen = None if each["was_cancelled"] else each["result"][0]["value"]["choices"][0]
            who = each["completed_by"]["id"] if isinstance(each["completed_by"], dict) else each["completed_by"]
            theirs[task["data"]["sample_id"], USER.format(who)] = (
                None if chosen is None else ("dark", "bright").index(chosen)
            )
    assert said(run) == theirs
    assert not studio.call("GET", f"/api/ml?project={studio.project}")
    assert not studio.call("GET", f"/api/webhooks/?project={studio.project}")
    call("verify", run)
