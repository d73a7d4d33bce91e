"""Runs that are killed at any moment and whose files are damaged, lost and exchanged: none ends wrong in silence.

    python benchmarks/chaos.py --scenarios 200 --out chaos.csv                  # 100 took 24 minutes on a busy core
    python benchmarks/chaos.py --scenarios 2 --kinds simulated,files --seed 3    # what the tests do

A scenario is a small run of the digits, or of a folder of images that people label by files, to which up to three
things happen: its process is killed, at a random moment or right at a write, fsync or rename, or its directory is
damaged.  After each, ``pipeline verify`` and ``pipeline resume``.  Right is an end as of the undisturbed run, or
an exit code other than 0 with one line that names a file of the run; and ``verify`` finds no fault in a right end, and
some where ``resume`` refuses.
"""

from __future__ import annotations

import contextlib
import csv
import importlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from functools import cached_property
from pathlib import Path
from random import Random
from typing import NamedTuple

import click
import numpy as np
from chaos_blows import NOT_READ, Blow, Kill, arm, damage, exchange

from pipeline import cli as command_line
from pipeline.errors import PipelineError
from pipeline.run.reading import read_config

WAITING, KILLED, CALLS = 75, -9, 100
SMALL = ("--model", "mlp", "--set", "model.options.width=16", "--n-init", "12", "--query-size", "4")
SMALL += ("--subset-size", "30", "--cycles", "3", "--epochs", "8", "--device", "cpu", "--threads", "1")
BY_FILES = ("--annotator", "files", "--classes", "dark,bright", "--set", "data.test_fraction=0")
KINDS = {
    "simulated": ("--strategy", "margin"),
    "skips": ("--strategy", "entropy", "--annotator-skip", "0.2", "--annotator-late", "0.2"),
    "ported": ("--strategy", "mlmoc-flips"),
    "sequential": ("--strategy", "margin-lin-sequential"),
    "files": (
        "--strategy",
        "margin",
        "--annotator",
        "files",
        "--classes",
        "dark,bright",
        "--set",
        "data.test_fraction=0",
    ),
}


class Ended(NamedTuple):
    """How a command ended.

    Args:
        code: exit code; -9 where it was killed.
        said: on both streams.

    """

    code: int
    said: str


def call(*arguments: object, kill: Kill | float | None = None) -> Ended:
    """Run a command of ``pipeline`` in a process of its own, which may be killed.

    Args:
        *arguments: of it.
        kill: where, or after how many seconds.

    """
    with tempfile.TemporaryFile() as output:
        process = os.fork()
        if not process:
            _be(output.fileno(), [str(each) for each in arguments], kill)
        deadline = time.monotonic() + (kill if isinstance(kill, float) else 600)
        while (ended := os.waitpid(process, os.WNOHANG))[0] == 0:
            if time.monotonic() > deadline:
                os.kill(process, signal.SIGKILL)
            time.sleep(0.005)
        output.seek(0)
        return Ended(os.waitstatus_to_exitcode(ended[1]), output.read().decode(errors="replace"))


def import_as(*commands: tuple[object, ...]) -> None:
    """Import what commands import, so that no process has to do it again; they run in a process of their own.

    Args:
        *commands: arguments of each, in order.

    """
    with tempfile.NamedTemporaryFile("r") as found:
        process = os.fork()
        if not process:
            with Path(os.devnull).open("w") as nothing:
                os.dup2(nothing.fileno(), 1)
                os.dup2(nothing.fileno(), 2)
            for arguments in commands:
                with contextlib.suppress(SystemExit):
                    command_line.cli([str(each) for each in arguments], prog_name="pipeline")
            Path(found.name).write_text("\n".join(sys.modules))
            os._exit(0)
        os.waitpid(process, 0)
        for name in found.read().splitlines():
            with contextlib.suppress(Exception):
                importlib.import_module(name)


def _be(output: int, arguments: list[str], kill: Kill | float | None) -> None:
    """Be the process: a copy of this one, in which everything is imported and nothing was computed."""
    code = 70
    try:
        os.dup2(output, 1)
        os.dup2(output, 2)
        arm(kill if isinstance(kill, Kill) else None)
        command_line.cli(arguments, prog_name="pipeline")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except BaseException as error:
        print(f"Traceback: {type(error).__name__}: {error}", file=sys.stderr)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def squares(folder: Path) -> None:
    """Write images of dark and bright squares, which anybody can tell apart."""
    from PIL import Image

    folder.mkdir()
    noise = np.random.default_rng(0)
    for number in range(40):
        grey = noise.integers(0, 80, (8, 8)) + 150 * (number % 2)
        Image.fromarray(grey.astype(np.uint8)).save(folder / f"{number:02d}.png")


class Kind:
    """One kind of run: how it is begun and brought to its end.

    Args:
        name: a key of ``KINDS``.
        root: folder for its runs.

    """

    def __init__(self, name: str, root: Path) -> None:
        self.name, self.root = name, root
        self.data = root / "squares"
        if name == "files" and not self.data.exists():
            squares(self.data)
        self.whole = self._undisturbed(0)

    @cached_property
    def other(self) -> Path:
        """A finished run that differs by its seed."""
        return self._undisturbed(1)

    def _undisturbed(self, seed: int) -> Path:
        path = self.root / f"{self.name}-seed{seed}"
        ended = self.to_end(path, seed=seed)
        if ended.code:
            raise SystemExit(f"{self.name}: the undisturbed run failed: {ended.said}")
        return path

    def begin(self, run: Path, seed: int = 0, kill: Kill | float | None = None) -> Ended:
        """Begin a run."""
        data = ("--dataset", f"folder:{self.data}") if self.name == "files" else ()
        return call("run", *SMALL, *KINDS[self.name], *data, "--seed", seed, "--out", run, kill=kill)

    def to_end(self, run: Path, seed: int = 0, kill: Kill | float | None = None) -> Ended:
        """Go on with a run, begun or not, until it ends, fails or is killed; files are filled in as a person would."""
        begun = any(os.path.lexists(run / name) for name in ("config.yaml", "events.jsonl"))
        ended = call("resume", run, kill=kill) if begun else self.begin(run, seed, kill)
        while ended.code == WAITING:
            table = run / "to_label.csv"
            for step in (("export", run), ("ingest", run, table)):
                ended = call(*step, kill=kill)
                if ended.code:
                    return ended
                if step[0] == "export":
                    self._fill(table)
            ended = call("resume", run, kill=kill)
        return ended

    def _fill(self, table: Path) -> None:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            row["label"] = ("dark", "bright")[int(Path(row["path"]).stem) % 2]
        with table.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


def content(run: Path) -> dict[str, bytes]:
    """Return what a run came to, without times, pictures, what was set aside and what people fill in."""
    found = {}
    for path in sorted(run.rglob("*")):
        name = path.relative_to(run).as_posix()
        if path.is_file() and path.name not in NOT_READ and ".damaged-" not in name and name != "to_label.csv":
            found[name] = _of(path)
    return found


def _of(path: Path) -> bytes:
    """Return what a file says, as it is where it is damaged."""
    said = path.read_bytes()
    with contextlib.suppress(ValueError, AttributeError, KeyError):
        if path.suffix == ".png":
            return said[:8]
        if path.name == "metrics.csv":
            return "\n".join(",".join(line.split(",")[:6]) for line in said.decode().splitlines()).encode()
        if path.name in ("manifest.json", "report.json"):
            return _without_times(path)
    return said


def _without_times(path: Path) -> bytes:
    """Return a manifest or a report of a migration without the seconds in it, and the hash of such a report."""
    said = json.loads(path.read_bytes())
    said.pop("seconds", None)
    for hashes in (said.get("files", {}), said.get("sha256", {})):
        hashes.pop("report.json", None)
    return json.dumps(said).encode()


class Judgement(NamedTuple):
    """What came of a scenario.

    Args:
        kind: of run.
        blows: what befell it, in words.
        end: ``same``, ``refused`` or what is wrong.
        said: the line by which it was refused.

    """

    kind: str
    blows: str
    end: str
    said: str


def scenario(kind: Kind, run: Path, rng: Random) -> Judgement:
    """Let up to three things befall a run, and judge where it ends.

    Args:
        kind: of run.
        run: a path for it.
        rng: decides.

    """
    blows: list[str] = []
    if rng.random() < 0.4:
        shutil.copytree(kind.whole, run)
    for _ in range(rng.randint(1, 3)):
        whole = run.is_dir() and content(run) == content(kind.whole)
        hurt = _befall(kind, run, rng)
        blows.append(hurt.what)
        if not hurt.paths:
            continue
        seen = call("verify", run)
        if whole and seen.code == 0 and (unlike := _unlike(kind, run)):
            return Judgement(kind.name, "; ".join(blows), f"WRONG: verify finds no fault with {unlike[0]}", "")
        ended = kind.to_end(run)
        end = _judge(kind, run, hurt, seen, ended)
        if end != "same":
            return Judgement(kind.name, "; ".join(blows), end, _line(ended))
    ended = kind.to_end(run)
    end = _judge(kind, run, None, None, ended)
    return Judgement(kind.name, "; ".join(blows), end, _line(ended))


def _befall(kind: Kind, run: Path, rng: Random) -> Blow:
    choice = rng.random()
    if choice < 0.5 or not (run / "events.jsonl").is_file():
        kill: Kill | float = rng.uniform(0.1, 3.0)
        if rng.random() < 0.7:
            kill = Kill(rng.randint(1, CALLS), rng.choice(["before", "after", "within"]))
        ended = kind.to_end(run, kill=kill)
        shown = f"{kill:.2f} s" if isinstance(kill, float) else f"call {kill.call}, {kill.when}"
        return Blow(f"{'killed' if ended.code == KILLED else f'ended with {ended.code}'} at {shown}", ())
    return damage(run, rng) if choice < 0.8 else exchange(run, kind.other, rng)


def _judge(kind: Kind, run: Path, hurt: Blow | None, seen: Ended | None, ended: Ended) -> str:
    """Return ``same``, ``refused``, or what is wrong."""
    if "Traceback" in ended.said or (seen and "Traceback" in seen.said):
        return "WRONG: a traceback"
    if ended.code == 0:
        if unlike := _unlike(kind, run):
            return f"WRONG: another end in silence: {', '.join(unlike[:3])}"
        after = call("verify", run)
        return "same" if after.code == 0 else f"WRONG: verify finds fault with a right end: {after.said[-300:]}"
    if hurt is None:
        return f"WRONG: a kill alone made it fail with {ended.code}"
    lines = [line for line in ended.said.splitlines() if line.startswith(("error: ", "failed: "))]
    if len(lines) != 1 or not any(path.name in lines[0] for path in _named(run, hurt)):
        return f"WRONG: refused without a line that names a file: {ended.said[-300:]}"
    if seen is not None and seen.code == 0:
        return "WRONG: resume refuses what verify finds no fault with"
    return "refused"


def _unlike(kind: Kind, run: Path) -> list[str]:
    """Return the files that are not as of the undisturbed run; where it computes may be said otherwise."""
    mine, whole = content(run), content(kind.whole)
    unlike = sorted(name for name in {*mine, *whole} if mine.get(name) != whole.get(name))
    if "config.yaml" in unlike:
        with contextlib.suppress(PipelineError):
            if read_config(run).scientific() == read_config(kind.whole).scientific():
                unlike.remove("config.yaml")
    return unlike


def _named(run: Path, hurt: Blow) -> list[Path]:
    """Return what a line may name: what was damaged, or the log and configuration that it contradicts."""
    return [*hurt.paths, run / "events.jsonl", run / "config.yaml"]


def _line(ended: Ended) -> str:
    return next((line for line in ended.said.splitlines() if line.startswith(("error: ", "failed: "))), "")


@click.command()
@click.option("--scenarios", type=click.IntRange(min=1), default=200, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--kinds", default=",".join(KINDS), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Table of every scenario.")
@click.option("--first", type=click.IntRange(min=0), default=0, help="Number of the first scenario.")
def main(scenarios: int, seed: int, kinds: str, out: Path | None, first: int) -> None:
    """Let scenarios happen; exit code 1 where one ends wrong."""
    names, done = kinds.split(","), list[Judgement]()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        warm = Path(folder) / "warm"
        import_as(("run", *SMALL, "--strategy", "random", "--out", warm), ("verify", warm), ("resume", warm))
        kept = {name: Kind(name, Path(folder)) for name in names}
        for number in range(first, first + scenarios):
            kind, run = kept[names[number % len(names)]], Path(folder) / "run"
            done.append(scenario(kind, run, Random(f"{seed} {number}")))
            if done[-1].end.startswith("WRONG"):
                click.echo(f"{number}: {done[-1].kind}: {done[-1].blows}: {done[-1].end}")
            shutil.rmtree(run, ignore_errors=True)
            if out:
                _write(out, done)
    wrong = sum(each.end.startswith("WRONG") for each in done)
    same = sum(each.end == "same" for each in done)
    click.echo(
        f"{len(done)} scenarios: {same} ended as the undisturbed run, {len(done) - same - wrong} were refused by a "
        f"line that names the file, {wrong} ended wrong; {time.monotonic() - started:.0f} s"
    )
    sys.exit(1 if wrong else 0)


def _write(out: Path, done: list[Judgement]) -> None:
    with out.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Judgement._fields)
        writer.writerows(done)


if __name__ == "__main__":
    main()
