"""From an answer on the page to the next question, through the real server, while networks are trained beside it.

    python benchmarks/label_latency.py --dataset mnist --data-root data --subset-size 5000    # minutes
    python benchmarks/label_latency.py --small                                                 # a smoke run of a minute

A client answers over HTTP as the page does, truly, with a pause between answers as of a person who is quick.  Of every
answer it notes how long the next question took and whether a network was in the making; now and then how much memory
the processes take together.  A line of a table is one run.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import click
import numpy as np
import psutil

from trainer.data import load

MIB = 2**20


class Person:
    """A browser without a screen.

    Args:
        link: that the server printed.

    """

    def __init__(self, link: str) -> None:
        self.origin, token = re.fullmatch(r"(http://[^/]+)/#token=(\S+)", link).groups()  # type: ignore[union-attr]
        request = self._request("/session", {"token": token})
        with urllib.request.urlopen(request) as reply:
            self._cookie = reply.headers["Set-Cookie"].partition(";")[0]

    def get(self, path: str) -> Any:
        """Read an address."""
        return self._read(urllib.request.Request(self.origin + path))

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Change something."""
        return self._read(self._request(path, body))

    def _request(self, path: str, body: dict[str, Any]) -> urllib.request.Request:
        headers = {"Content-Type": "application/json", "Origin": self.origin}
        return urllib.request.Request(self.origin + path, json.dumps(body).encode(), headers)

    def _read(self, request: urllib.request.Request) -> Any:
        request.add_header("Cookie", self._cookie)
        with urllib.request.urlopen(request) as reply:
            return json.load(reply)


def memory(pid: int) -> float:
    """MiB of a process and its children, shared pages counted once (PSS)."""
    process, total = psutil.Process(pid), 0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += one.memory_full_info().pss
        except psutil.Error:
            continue
    return total / MIB


def measure(person: Person, names: tuple[str, ...], truth: np.ndarray, labels: int, pause: float, pid: int) -> str:
    """Answer, and return a row of the table."""
    waits: list[tuple[float, bool, bool]] = []
    ranking: list[float] = []
    peak: list[float] = []
    question, training, asks = person.get("/question?annotator=me"), False, False
    while len(waits) < labels:
        if question["kind"] == "wait":
            time.sleep(0.2)
            question = person.get("/question?annotator=me")
            continue
        if question["kind"] == "done":
            break
        time.sleep(pause)
        body = {
            "annotator": "me",
            "sample": question["sample"],
            "label": names[truth[question["sample"]]],
            "seconds": pause,
        }
        started = time.perf_counter()
        question = person.post("/answer", body)
        waits.append((time.perf_counter() - started, training, asks))
        ranking += [question["milliseconds"]] if question.get("milliseconds") else []
        if len(waits) % 5 == 0:  # the page asks every two seconds
            state = person.get("/state?annotator=me")
            training, asks = state["training"] is not None, state["network"] is not None
        if len(waits) % 50 == 0:
            peak.append(memory(pid))
            print(f"{len(waits)} labels, {peak[-1]:.0f} MiB, {state['network']}, {state['accuracy']}", file=sys.stderr)
    seconds = np.array([wait for wait, _, asking in waits if asking]) * 1e3
    beside = np.array([wait for wait, busy, asking in waits if asking and busy]) * 1e3
    alone = np.array([wait for wait, busy, asking in waits if asking and not busy]) * 1e3

    def quantiles(of: np.ndarray) -> str:
        return f"{np.percentile(of, 50):.0f}, {np.percentile(of, 95):.0f}" if len(of) else "-"

    grown = f"{peak[0]:.0f} -> {peak[-1]:.0f} (most {max(peak):.0f})" if peak else "-"
    print(f"of it re-ranking: {quantiles(np.array(ranking))}", file=sys.stderr)
    waited = f"{quantiles(alone)} | {quantiles(beside)} ({len(beside)}) | {seconds.max(initial=0):.0f}"
    return f"{len(waits)} | {waited} | {grown}"


@click.command()
@click.option("--dataset", default="mnist5k", show_default=True)
@click.option("--data-root", type=click.Path())
@click.option("--subset-size", "subsets", type=int, multiple=True, help="Candidates; several: one run each.  [1000]")
@click.option("--labels", type=int, default=500, show_default=True)
@click.option("--pause", type=float, default=0.5, show_default=True, help="Seconds of a person before an answer.")
@click.option("--small", is_flag=True, help="40 labels of the digits.")
def main(dataset: str, data_root: str | None, subsets: tuple[int, ...], labels: int, pause: float, small: bool) -> None:
    if small:
        dataset, labels, pause = "digits", 40, 0.2
    print("candidates | labels | alone p50, p95 ms | beside a training (n) | most ms | MiB after 50 -> all labels")
    data = load(dataset, root=Path(data_root) if data_root else None)
    truth = data.labels("train")
    for subset in subsets or (1000,):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-c", "from pipeline.cli import main; main()", "label", dataset, "--no-browser"]
            command += ["--subset-size", str(subset), "--out", f"{folder}/run"]
            command += ["--data-root", data_root] if data_root else []
            server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            try:
                assert server.stdout is not None
                lines = iter(server.stdout.readline, "")
                link = next(found.group() for line in lines if (found := re.search(r"http://\S+", line)))
                row = measure(Person(link), data.classes, truth, labels, pause, server.pid)
                print(f"{subset} | {row}", flush=True)
            finally:
                server.terminate()
                server.wait()


if __name__ == "__main__":
    main()
