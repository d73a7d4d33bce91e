"""What is compared: seeds and strategies as people write them, grids that are extended, estimates worked by hand."""

import dataclasses
import math
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.commands.compare import ENGINE_OPTIONS
from pipeline.config import load_config
from pipeline.config.sections import DEFAULT_STRATEGY
from pipeline.errors import PipelineError
from pipeline.queries import STRATEGIES
from pipeline.sweep.cells import State
from pipeline.sweep.directory import choose_directory, merged
from pipeline.sweep.engine import EngineOptions, cell_budget
from pipeline.sweep.engines import open_engine
from pipeline.sweep.estimate import Times, append_attempt, kind_of, read_attempts, shown_seconds
from pipeline.sweep.grid import GRID, Cell, Grid, parse_seeds, parse_strategies, read_grid, unnamed
from pipeline.sweep.process import Attempt, failure
from pipeline.sweep.session import left_out_lines, make_plan
from pipeline.sweep.summary import unconverged


@pytest.fixture
def grid(tiny):
    """A grid of two strategies and two seeds."""
    return Grid.of(load_config(options=tiny), ("random", "mlmoc"), (0, 1))


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("0-5", (0, 1, 2, 3, 4, 5)), ("0,3,7-9", (0, 3, 7, 8, 9)), (" 4 , 1 - 2", (4, 1, 2)), ("7-7", (7,))],
)
def test_seeds(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["5-0", "", "a", "1,", "-1", "0,0", "0-2,1", "0-999999999", "1.5", "0--2"])
def test_bad_seeds(text):
    with pytest.raises(PipelineError, match="seeds: expected"):
        parse_seeds(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("random,best", "got 'best'"),
        ("", "got ''"),
        ("a b", "got 'a b'"),
        ("random,entropy,random", "random is listed more than once"),
    ],
)
def test_bad_strategies(text, message):
    with pytest.raises(PipelineError, match=message):
        parse_strategies(text)
    assert parse_strategies("random, entropy") == ("random", "entropy")


def test_cells_differ_in_strategy_and_seed_alone(grid):
    cells = grid.cells()
    assert [cell.name for cell in cells] == ["random-seed0", "mlmoc-seed0", "random-seed1", "mlmoc-seed1"]
    for cell in cells:
        plain = cell.config.model_dump()
        assert (plain.pop("seed"), plain["query"].pop("strategy")) == (cell.seed, cell.strategy)
        reference = cells[0].config.model_dump()
        del reference["seed"], reference["query"]["strategy"]
        assert plain == reference


def test_a_grid_survives_its_file(grid, tmp_path):
    whole = dataclasses.replace(grid, cpus_per_cell=2)
    (tmp_path / GRID).write_text(whole.to_yaml())
    assert read_grid(tmp_path) == whole
    for damaged in (
        "",
        "strategies: [random]",
        whole.to_yaml() + "seeds: [x]",
        "strategies: [random]\nseeds: [0]\nrun: {cycle: 3}",
    ):
        (tmp_path / GRID).write_text(damaged)
        with pytest.raises(PipelineError, match=GRID):
            read_grid(tmp_path)


def test_a_strategy_that_cannot_run_with_the_rest_is_refused(tiny):
    config = load_config(options={**tiny, "query.strategy": "entropy", "query.mode": "sequential"})
    with pytest.raises(PipelineError, match="mode: expected 'greedy', as the strategy 'mlmoc-greedy' says"):
        Grid.of(config, ("entropy", "mlmoc-greedy"), (0,))
    assert Grid.of(config, ("entropy", "random"), (0,)).cells()


def test_a_grid_is_extended_but_never_changed(grid, tiny, tmp_path):
    begun = dataclasses.replace(grid.with_field("kernel", "memory_budget", 2**30), cpus_per_cell=2)
    more = Grid.of(load_config(options=tiny), ("entropy", "random"), (1, 5))
    extended = begun.extended(more, tmp_path)
    assert (extended.strategies, extended.seeds) == (("random", "mlmoc", "entropy"), (0, 1, 5))
    assert (extended.run["kernel"]["memory_budget"], extended.cpus_per_cell) == (2**30, 2)
    moved = Grid.of(load_config(options={**tiny, "data.root": "elsewhere"}), ("random",), (0,))
    assert begun.extended(moved, tmp_path).run["data"]["root"] == "elsewhere"
    for options, cpus, message in [
        ({"train.epochs": 9}, None, "train.epochs: 8 -> 9"),
        ({"model.options": {"width": 17}}, None, "model.options.width: 16 -> 17"),
        ({"kernel.memory_budget": "2GiB"}, None, "kernel.memory_budget: 1073741824 -> '2GiB'"),
        ({"device": "auto"}, None, "device: 'cpu' -> 'auto'"),
        ({}, 1, "begun with 2 CPUs a cell, which results depend on; got 1"),
    ]:
        other = dataclasses.replace(
            Grid.of(load_config(options={**tiny, **options}), ("random",), (0,)), cpus_per_cell=cpus
        )
        with pytest.raises(PipelineError, match=message):
            begun.extended(other, tmp_path)


def test_default_directory_goes_on_with_the_same_runs_and_passes_others_by(grid, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    other = Grid.of(load_config(options={**tiny, "cycles": 2}), ("random",), (0,))
    for name, content in (("compare-digits-mlp", other.to_yaml()), ("compare-digits-mlp-3", grid.to_yaml())):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / GRID).write_text(content)
    assert str(choose_directory(other)) == "runs/compare-digits-mlp"
    assert str(choose_directory(grid)) == "runs/compare-digits-mlp-2"
    (tmp_path / "runs/compare-digits-mlp-2").write_text("a file")
    assert str(choose_directory(grid)) == "runs/compare-digits-mlp-3"
    with pytest.raises(PipelineError, match="expected a new or empty directory"):
        merged(tmp_path / "runs", grid)


def attempt(cell, **values):
    return Attempt(**{"cell": cell, "exit_code": 0, "reason": "", **values})


def test_time_left_by_hand(grid):
    """Cycles of 3: two full ones and a last that only trains; two jobs take the cells in order."""
    random0, mlmoc0, random1, mlmoc1 = grid.cells()
    times = Times()
    for strategy, stage, cycle, seconds in [
        ("random", "train", 0, 1.0), ("random", "train", 0, 3.0), ("random", "train", 2, 4.0),
        ("random", "score", 0, 0.5),
        ("mlmoc", "train", 0, 2.0), ("mlmoc", "migrate", 0, 1.0), ("mlmoc", "score", 0, 7.0),
    ]:  # fmt: skip
        times.stages[strategy, stage].setdefault(cycle, []).append(seconds)
    times.overheads = [4.0, 6.0]
    assert times.cell_seconds(random0, 0) == (2 + 0.5) + (3 + 0.5) + 4  # cycle 1 is between those of 0 and 2
    assert times.cell_seconds(mlmoc0, 1) == (2 + 1 + 7) + 2
    assert times.cell_seconds(mlmoc0, 3) == 0
    states = [State(random0, None, "finished", 3), State(mlmoc0, None, "started", 1), State(random1, None, "new"),
              State(mlmoc1, None, "new")]  # fmt: skip
    # job A: mlmoc0 5 + 12 = 17; job B: random1 5 + 10 = 15, then mlmoc1 5 + 22: 42
    assert times.seconds_left(states, 2) == 42
    # mlmoc0 has started up: job A 12, then mlmoc1: 39
    assert times.seconds_left(states, 2, {"mlmoc-seed0"}) == 39
    assert times.seconds_left([states[0]], 2) == 0
    assert Times().seconds_left(states, 2) is None


def test_a_strategy_never_measured_is_estimated_by_its_kind(tiny):
    grid = Grid.of(load_config(options={**tiny, "cycles": 1}), ("random", "mlmoc", "entropy", "emoc"), (0,))
    times = Times()
    for strategy, seconds in (("random", 1.0), ("mlmoc", 5.0)):
        times.stages[strategy, "train"][0] = [seconds]
    times.memory = {"random": 100, "mlmoc": 900}
    assert [times.cell_seconds(cell, 0) for cell in grid.cells()] == [1, 5, 1, 5]
    assert [times.peak_memory(name) for name in grid.strategies] == [100, 900, 100, 900]
    del times.stages["mlmoc", "train"]
    assert times.cell_seconds(grid.cells()[1], 0) == 1
    assert Times().peak_memory("random") == 0


@pytest.mark.parametrize(
    ("strategy", "tolerance", "ended", "warned"),
    [
        (
            "random",
            0.03,
            "epochs",
            "1 of 1 training ended before convergence, with residuals of up to 0.400 per",
        ),
        ("random", 0.0, "epochs", None),
        ("dynamical", 0.03, "accuracy", None),  # as its paper has it: nothing assumes a residual of 0
        ("mlmoc", 0.03, "accuracy", "of up to 0.400 per sample; look-ahead assumes about 0: "),
    ],
)
def test_what_was_not_to_converge_is_not_warned_of(strategy, tolerance, ended, warned, monkeypatch):
    row = SimpleNamespace(converged=False, ended=ended, residual_rms=0.4)
    monkeypatch.setattr("pipeline.sweep.summary.believed_rows", lambda _: [row])
    config = load_config(options={"query.strategy": strategy, "train.tolerance": tolerance})
    lines = unconverged([State(Cell(strategy, 0, config), Path(), "finished")])
    assert len(lines) == (warned is not None)
    assert warned is None or warned in lines[0]


def test_of_a_kind_are_strategies_for_which_the_same_is_computed():
    assert kind_of("mlmoc") == kind_of("margin-influence-sequential") == kind_of("lcmd")
    assert kind_of("random") == kind_of("margin") == kind_of("badge")
    kinds = ["random", "mlmoc", "naive", "one-step", "ntk-no-block", "infinite", "gp", "dynamical", "bald", "ll4al"]
    assert len(set(map(kind_of, kinds))) == len(kinds)  # naive retrains for each candidate: random says nothing of it


def test_attempts_are_kept_and_a_torn_line_is_passed_over(tmp_path):
    first, second = attempt("random-seed0", seconds=9.0, stage_seconds=5.0, peak_memory=7), attempt("mlmoc-seed0")
    append_attempt(tmp_path, first)
    with (tmp_path / "attempts.jsonl").open("a") as file:
        file.write('{"cell": "ran\n')
    append_attempt(tmp_path, second)
    assert read_attempts(tmp_path) == [first, second]
    times = Times()
    times.add_attempt(first, "random")
    times.add_attempt(second, "mlmoc")
    assert (times.overheads, times.memory) == ([4.0], {"random": 7, "mlmoc": 0})


def test_why_an_attempt_failed(tmp_path):
    log = tmp_path / "log"
    log.write_text("error: of an earlier attempt\n")
    offset = log.stat().st_size
    assert failure(3, log, offset) == "exit code 3"
    log.write_text(log.read_text() + "cycle 0: train\nfailed: cycle 0: the loss diverged\nwarning: late\n")
    assert failure(1, log, offset) == "cycle 0: the loss diverged"
    assert failure(-9, log, offset).startswith("killed by SIGKILL")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (99, "99 s"), (100, "2 min"), (5990, "100 min"), (7200, "2.0 h")]
)
def test_durations(seconds, text):
    assert shown_seconds(seconds) == text


def test_engine_options():
    local = [{"jobs": 0}, {"cpus_per_cell": 0}, {"gpus_per_cell": -1.0}, {"address": "auto"}, {"gpus_per_cell": 1.0}]
    for options in (*local, {"engine": "ray", "jobs": 2}):
        with pytest.raises(PipelineError, match=next(iter(reversed(options))).replace("_", "-")):
            EngineOptions(**options)


def test_the_local_engine_shares_cores_and_memory(monkeypatch):
    monkeypatch.setattr("pipeline.sweep.engines.available_cores", lambda: 8)
    monkeypatch.setattr("pipeline.sweep.engine.available_memory", lambda: 24 * 2**30)
    for options, cpus, device, expected in [
        ({}, None, "cpu", (4, 2)),
        ({"jobs": 3}, None, "cpu", (3, 2)),
        ({"jobs": 16}, None, "cpu", (16, 1)),
        ({"jobs": 2}, 1, "cpu", (2, 1)),
        ({}, 4, "cpu", (2, 4)),
        ({"jobs": 2, "cpus_per_cell": 3}, None, "cpu", (2, 3)),
        ({}, None, "cuda", (1, 8)),
    ]:
        engine = open_engine(EngineOptions(**options), cpus, "auto", device)
        assert (engine.jobs, engine.cpus) == expected
        assert engine.memory == 24 * 2**30 // expected[0]
        budget = cell_budget(engine)
        assert budget <= engine.memory / 2 < 2 * budget
        assert math.log2(budget).is_integer()


def test_the_options_are_those_of_the_engines():
    fields = {field.name for field in dataclasses.fields(EngineOptions)}
    assert {flag[2:].replace("-", "_") for flag, _, _ in ENGINE_OPTIONS} == fields


def test_a_strategy_of_the_users_own_has_a_directory_that_every_system_can_name(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "from pipeline.queries.random_ import Random\n\n\nclass Own(Random):\n    name = 'own'\n"
    )
    monkeypatch.chdir(tmp_path)
    grid = Grid(("random", "mine:Own"), (0,), {})
    assert [cell.name for cell in grid.cells()] == ["random-seed0", "mine-Own-seed0"]
    assert grid.cells()[1].config.query.strategy == "mine:Own"


def test_all_stands_for_every_built_in_strategy_once():
    names = parse_strategies("all")
    assert names[:2] == ("random", DEFAULT_STRATEGY)
    assert set(names) == {*STRATEGIES, DEFAULT_STRATEGY}
    assert parse_strategies("badge,all")[0] == "badge"
    assert sorted(parse_strategies("badge,all")) == sorted(names)
    assert unnamed("all") == names
    assert set(unnamed("badge, all")) == set(names) - {"badge"}
    assert unnamed("badge") == unnamed(None) == ()


def test_of_all_strategies_those_that_cannot_run_are_left_out_and_named(tiny, tmp_path):
    sets = [*(f"{key}={value}" for key, value in tiny.items() if key != "query.strategy"), "train.learner=supervised"]
    config = load_config(sets=[*sets, "query.strategy=random"])
    grid = Grid.of(config, parse_strategies("all"), [0], unnamed("all"))
    assert "ll4al" not in grid.strategies  # it needs another learner than the one that is said
    plan = make_plan(grid, tmp_path / "grid", EngineOptions(jobs=1))
    plan.engine.close()
    assert "bald" not in plan.grid.strategies
    [line] = [note for note in plan.notes if note.startswith("left out: bald, ")]
    assert "dropout" in line
    assert {"random", DEFAULT_STRATEGY, "typiclust", "lcmd", "dynamical"} <= set(plan.grid.strategies)
    with pytest.raises(PipelineError, match="dropout"):  # named, it is not left out
        make_plan(Grid.of(config, ["random", "bald"], [0]), tmp_path / "other", EngineOptions(jobs=1))


def test_strategies_that_are_left_out_for_one_reason_are_one_line():
    reasons = {"bald": "model: no dropout", "gp": "model: no twin", "epig": "model: no dropout"}
    assert left_out_lines(reasons) == (
        "left out: bald, epig (model: no dropout)",
        "left out: gp (model: no twin)",
    )


def test_a_comparison_is_called_by_data_and_network(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, other = (Grid.of(load_config(options={"model.name": name}), ["random"], [0]) for name in ("cnn", "mlp"))
    assert choose_directory(one) == Path("runs/compare-digits-cnn")
    assert choose_directory(other) == Path("runs/compare-digits-mlp")
    own = Grid.of(load_config(options={"model.name": "my_net:build"}), ["random"], [0])
    assert choose_directory(own) == Path("runs/compare-digits-my_net-build")
    Path("runs/compare-digits-cnn").mkdir(parents=True)
    Path("runs/compare-digits-cnn/mine").touch()
    assert choose_directory(one) == Path("runs/compare-digits-cnn-2")
    former = Path("runs/compare-digits-2")  # as older versions called it
    former.mkdir()
    (former / "grid.yaml").write_text(one.to_yaml())
    assert choose_directory(one) == former
    assert choose_directory(other) == Path("runs/compare-digits-mlp")
