"""A person's day with the real command: label, be killed in mid-batch, go on, change one's mind, finish, take away."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager

import httpx
import numpy as np
import psutil
import pytest
from click.testing import CliRunner
from PIL import Image

from pipeline.cli import cli
from pipeline.run.pool import Pool
from pipeline.run.rundir import read_events
from pipeline.run.stages.train import read_summary

CLASSES = ["dark", "bright"]
NAMES = ["a {}.png", "été/{}.png", 'it\'s "{}"/猫.png', "deep/er/=1+{}.png"]
SMALL = [
    "--model", "mlp", "--set", "model.options.width=16", "--n-init", "8", "--query-size", "6", "--strategy", "margin",
    "--epochs", "60", "--image-size", "8", "--device", "cpu", "--threads", "1",
]  # fmt: skip
COMMAND = [
    sys.executable,
    "-c",
    "from pipeline.cli import main; main()",
    "label",
    "--no-browser",
    "--annotator",
    "anna",
]

SOON = 6.0
"""Seconds in which a session ends, half of one where the machine does nothing else."""

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not hasattr(os, "killpg"), reason="no groups of processes here"),
]


@pytest.fixture
def photos(tmp_path):
    """Forty images of several sizes and modes, and one file that is none; their truth by path."""
    random, truth = np.random.default_rng(0), {}
    for number in range(40):
        name, label = NAMES[number % 4].format(number), CLASSES[number % 2]
        path = tmp_path / "my photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (8 + number % 5, 8 + number % 3, *(() if number % 3 else (3,)))
        values = random.integers(0, 90, shape) + (0 if label == "dark" else 150)
        Image.fromarray(values.astype(np.uint8)).save(path)
        truth[name] = label
    (tmp_path / "my photos/torn.png").write_bytes(b"\x89PNG\r\n\x1a\n no more")
    return truth


class Server:
    """The command in a process group of its own, and a browser without a screen."""

    def __init__(self, cwd, *arguments):
        self.log = cwd / "stderr.txt"
        with self.log.open("a") as stderr:
            self.process = subprocess.Popen(
                [*COMMAND, *arguments],
                cwd=cwd,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                start_new_session=True,
            )
        link = next(found for line in self.process.stdout if (found := re.search(r"(http://\S+)/#token=(\S+)", line)))
        self.client = httpx.Client(base_url=link[1], headers={"origin": link[1]}, trust_env=False, timeout=60)
        assert self.post("/session", token=link[2]) == {"ok": True}

    def post(self, path, **body):
        reply = self.client.post(path, json=body)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def question(self):
        """What is asked, once the network is open that asks."""
        for _ in range(1200):
            if (question := self.client.get("/question").json())["kind"] != "wait":
                return question
            time.sleep(0.1)
        raise AssertionError(question)

    def state(self):
        return self.client.get("/state").json()

    def until(self, condition):
        for _ in range(1200):
            if condition(state := self.state()):
                return state
            time.sleep(0.1)
        raise AssertionError(state)

    def label(self, truth, question=None, lie=False):
        """Answer once; return the sample and what was said."""
        question = self.question() if question is None else question
        assert question["kind"] == "question", question
        said = truth[question["name"]]
        said = CLASSES[1 - CLASSES.index(said)] if lie else said
        self.post("/answer", annotator="", sample=question["sample"], label=said, seconds=1.0)
        return question["sample"], said

    def end(self, number):
        """Send a signal and wait for every process to be gone; return the exit code."""
        children, started = psutil.Process(self.process.pid).children(recursive=True), time.monotonic()
        if number == signal.SIGKILL:
            self.process.kill()
        else:
            os.killpg(self.process.pid, number)  # as a terminal does
        said, _ = self.process.communicate(timeout=60)
        self.client.close()
        if number != signal.SIGKILL:
            assert time.monotonic() - started < SOON
            assert "stopped; every answer is saved. Go on with: pipeline label " in said
            assert "stopping …" in self.log.read_text()
        _, left = psutil.wait_procs(children, timeout=30)
        assert not left
        return self.process.returncode


@contextmanager
def served(cwd, *arguments):
    server = Server(cwd, *arguments)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.end(signal.SIGKILL)


def test_a_day(tmp_path, photos):
    said = {}
    run = tmp_path / "runs/my-photos-label"
    with served(tmp_path, "my photos", "--classes", ",".join(CLASSES), *SMALL) as server:
        said |= dict(server.label(photos) for _ in range(8))
        first = server.until(lambda state: state["network"])
        assert (first["labelled"], first["network"]["labels"], first["images"]) == (8, 8, 40)
        said |= dict(server.label(photos) for _ in range(3))
        shown = server.question()["sample"]
        server.end(signal.SIGKILL)  # in mid-batch

    with served(tmp_path, run) as server:
        assert server.client.get("/question").json()["sample"] == shown  # before its network is open again
        said |= dict(server.label(photos) for _ in range(2))
        taken, _ = server.label(photos, lie=True)
        again = server.post("/undo", annotator="", sample=taken)
        assert (again["sample"], again["why"]) == (taken, "undo")
        said |= dict([server.label(photos, again)])
        skipped = server.question()["sample"]
        server.post("/skip", annotator="", sample=skipped, reason="blurred", seconds=None)
        server.post("/class", name="neither")
        late = server.question()["sample"]
        server.post("/answer", annotator="", sample=late, label="neither", seconds=1.0)
        server.post("/answer", annotator="", sample=late, label="neither", seconds=1.0)  # sent twice
        said[late] = "neither"
        assert server.end(signal.SIGINT) == 0  # while a network is made

    with served(tmp_path, run, "--classes", "neither") as server:
        said |= dict([server.label(photos)])
        server.post("/finish")
        done = server.until(lambda state: state["finished"] and not state["finished"]["going_on"])
        assert {"labels.csv", "predictions.csv", "model/weights.safetensors"} <= set(done["finished"]["products"])
        assert server.client.post("/undo", json={"annotator": "", "sample": None}).status_code == 409
        server.end(signal.SIGINT)
    assert "Traceback" not in server.log.read_text()

    names = [*CLASSES, "neither"]
    check_record(run, {sample: names.index(label) for sample, label in said.items()}, taken, skipped)
    check_products(tmp_path, run, photos, said)


def check_record(run, said, taken, skipped):
    """Each answer once, nothing asked twice, and every network learned what the record says of its round."""
    events = read_events(run)
    asked = Counter(sample for event in events if event["event"] == "query" for sample in event["ids"])
    assert set(asked.values()) == {1}
    answers = Counter(sample for event in events if event["event"] == "label" for sample, _ in event["labels"])
    assert answers == Counter([*said, taken])  # once more what was taken back
    pool = Pool(40, events)
    assert pool.known() == said
    assert pool.left_out(skipped)
    trained = [event["cycle"] for event in events if event["event"] == "stage_done" and event["stage"] == "train"]
    assert len(trained) >= 2
    for cycle in trained:
        assert read_summary(run / f"cycles/{cycle:03d}/train")["n_labeled"] == len(pool.labelled(cycle))
    before = Pool(
        40, [event for event in events if event["seq"] < next(e["seq"] for e in events if e["event"] == "undo")]
    )
    assert pool.labelled(0).ids.tolist() == before.labelled(0).ids.tolist()
    assert len(pool.labelled(max(trained))) == len(said)


def check_products(tmp_path, run, photos, said):
    """Somebody else opens the files."""
    with (run / "products/labels.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    labelled = {row["path"].removeprefix("./"): row["label"] for row in rows if row["status"] == "labeled"}
    assert Counter(labelled.values()) == Counter(said.values())
    assert sum(label != photos[path] for path, label in labelled.items()) == 1  # the class that came late
    with (run / "products/predictions.csv").open(encoding="utf-8-sig", newline="") as file:
        assert {row["path"].removeprefix("./") for row in csv.DictReader(file)} == set(photos)
    new = tmp_path / "new"
    for path in list(photos)[:6]:
        (new / path).parent.mkdir(parents=True, exist_ok=True)
        (new / path).write_bytes((tmp_path / "my photos" / path).read_bytes())
    out = tmp_path / "new.csv"
    result = CliRunner().invoke(cli, ["predict", str(run / "products/model"), str(new), "--out", str(out)])
    assert result.exit_code == 0, result.output
    with out.open(encoding="utf-8-sig", newline="") as file:
        predicted = {row["path"].removeprefix("./"): row["predicted"] for row in csv.DictReader(file)}
    assert set(predicted) == set(list(photos)[:6])
    assert sum(predicted[path] == photos[path] for path in predicted) >= 5
