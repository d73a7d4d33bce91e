import pytest
import yaml

from pipeline.advice import by_option
from pipeline.config import RunConfig, load_config, validate
from pipeline.errors import PipelineError
from pipeline.options import FIELDS
from pipeline.parsing import parse_yaml, to_yaml
from pipeline.plain import differences
from trainer.learners import LEARNERS_OWN


def test_defaults_are_the_digits_demo_fully_resolved():
    config = load_config()
    assert (config.data.name, config.model.name, config.query.strategy) == (
        "digits",
        "cnn",
        "margin-influence-sequential",
    )
    resolved = config.model_dump()
    never = {name for name, value in resolved["train"].items() if value is None}
    assert never == {"until_accuracy", "patience", "learner", "ridge", "epoch_steps", *LEARNERS_OWN}
    assert config.train_options.learner == "supervised"
    assert config.train_options.loss == "l2"


def test_yaml_round_trip():
    config = load_config(sets=["train.max_lr=0.125", "model.options.width=16"])
    assert RunConfig.model_validate(yaml.safe_load(config.to_yaml())) == config


def test_later_settings_win(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("seed: 1\ncycles: 2\nquery: {size: 3, n_init: 7}\n")
    config = load_config(file, {"seed": 2, "query.size": 4, "cycles": None}, ["seed=3"])
    assert (config.seed, config.cycles, config.query.size, config.query.n_init) == (3, 2, 4, 7)


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["train.epoch=3"], "no key 'train.epoch'"),
        (["sed=3"], "no key 'sed'"),
        (["seed=abc"], "seed: .*integer.* got 'abc'"),
        (["seed=1.5"], "seed: .*integer.* got 1.5"),
        (["seed=-1"], "seed: .*greater than or equal to 0, got -1"),
        (["query.size=0"], "query.size: .*greater"),
        (["query.size=50", "query.subset=40"], "query.size: expected at most the subset of 40 candidates, got 50"),
        (["query.strategy=best"], "query.strategy: .*expected one of .* got 'best'"),
        (["data.name=imagenet"], "data.name: expected one of digits, .* got 'imagenet'"),
        (["model.name=vgg"], "vgg"),
        (["model.options.depth_of_field=2"], "depth_of_field"),
        (["train.loss=hinge"], "hinge"),
        (["kernel.head=sum"], "kernel.head: expected one of sum-of-logits, single-logit, trace, full; got 'sum'"),
        (["train.epochs=[1, 2]"], "train.epochs"),
        (["seed=1", "seed.x=1"], "seed is a value"),
        (["seed"], "expected key=value"),
        (["train.max_lr="], "expected a value after '='"),
        (["train.maxlr=1"], "no key 'train.maxlr'; there are epochs, batch_size, max_lr"),
        (["model.options.width=big"], "width must be of type int"),
        (["seed=[1"], "not valid YAML"),
        (["model.options={width: 8, width: 9}"], "--set model.options: the key 'width' stands twice, in line 1"),
    ],
)
def test_bad_settings_are_one_clear_line(sets, message):
    with pytest.raises(PipelineError, match=message) as caught:
        load_config(sets=sets)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["[1, 2]", "a: [", "just text"])
def test_bad_files_are_one_clear_line(tmp_path, content):
    file = tmp_path / "c.yaml"
    file.write_text(content)
    with pytest.raises(PipelineError) as caught:
        load_config(file)
    assert "\n" not in str(caught.value)
    with pytest.raises(PipelineError, match="cannot read"):
        load_config(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("seed: 1\ncycles: 2\nseed: 3\n", "the key 'seed' stands twice, in lines 1 and 3: remove one"),
        ("train:\n  epochs: 1\n  'epochs': 1\n", "the key 'epochs' stands twice, in lines 2 and 3: remove one"),
        ("model: {name: mlp, options: {width: 1, width: 2}}", "the key 'width' stands twice, in line 1: remove one"),
    ],
)
def test_a_key_that_stands_twice_is_refused_by_name(tmp_path, content, reason):
    file = tmp_path / "c.yaml"
    file.write_text(content)
    with pytest.raises(PipelineError) as caught:
        load_config(file)
    assert str(caught.value) == f"{file}: {reason}"


def test_a_key_may_stand_in_several_sections_and_over_a_merged_one():
    assert parse_yaml("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\n1: p\n'1': q\n", "here") == {
        "a": {"x": 1, "y": 2},
        "b": {"x": 3, "y": 2},
        1: "p",
        "1": "q",
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-5", 1e-5), ("-2E3", -2000.0), ("+.5e+1", 5.0), ("3.e2", 300.0), ("1e", "1e"), ("e5", "e5"), ("1e5x", "1e5x")],
)
def test_powers_of_ten_are_numbers(text, value):
    assert parse_yaml(text, "here") == value
    assert parse_yaml(to_yaml({"a": text, "b": value}), "here") == {"a": text, "b": value}


def test_a_rate_may_be_a_power_of_ten():
    assert load_config(sets=["train.weight_decay=1e-5"]).train.weight_decay == 1e-5


def test_the_digest_ignores_where_and_notices_what():
    base = load_config()
    assert load_config(sets=["data.root=/elsewhere", "device=cpu"]).digest() == base.digest()
    assert load_config(sets=["train.max_lr=0.001"]).digest() != base.digest()
    changed = differences(base.scientific(), load_config(sets=["train.momentum=0.5"]).scientific())
    assert changed == ["train.momentum: 0.9 -> 0.5"]


@pytest.mark.parametrize(
    ("strategy", "on", "resolved"),
    [
        ("margin", "linearized", "margin-lin"),
        ("margin-lin", "linearized", "margin-lin"),
        ("margin-lin-sequential", "linearized", "margin-lin-sequential"),
        ("entropy", "network", "entropy"),
        ("least-confidence", "linearized", "least-confidence-lin"),
    ],
)
def test_uncertainty_on_the_linearised_network_is_a_strategy_of_its_own(strategy, on, resolved):
    config = load_config(options={"query.strategy": strategy, "query.on": on})
    assert config.query.strategy == resolved
    assert config.digest() == load_config(options={"query.strategy": resolved}).digest()


@pytest.mark.parametrize(
    ("strategy", "on"),
    [("badge", "linearized"), ("margin-lin", "network"), ("mlmoc", "network"), ("mlmoc", "linearized")],
)
def test_only_uncertainty_is_measured_on_one_or_the_other(strategy, on):
    expected = f"on: expected '{on}' with one of margin, entropy, least-confidence, got it with '{strategy}'"
    with pytest.raises(PipelineError, match=expected):
        load_config(options={"query.strategy": strategy, "query.on": on})


@pytest.mark.parametrize(
    ("options", "strategy"),
    [
        ({}, "margin-influence-sequential"),
        ({"query.mode": "greedy"}, "margin-influence"),
        ({"query.mode": "sequential", "query.strategy": "mlmoc-sequential"}, "mlmoc-sequential"),
        ({"query.mode": "sequential", "query.strategy": "random"}, "random"),
    ],
)
def test_a_mode_is_that_of_the_strategy(options, strategy):
    config = load_config(options=options)
    assert config.query.strategy == strategy
    assert load_config(base=config.model_dump(mode="json")) == config


def test_a_mode_that_contradicts_the_strategys_name_is_refused():
    expected = "mode: expected 'greedy', as the strategy 'mlmoc-greedy' says, got 'top': leave one of them out"
    with pytest.raises(PipelineError, match=expected):
        load_config(options={"query.strategy": "mlmoc-greedy", "query.mode": "top"})


def test_what_is_given_is_not_written_into():
    options = {"model.name": "cnn", "model.options": {"width": 4}}
    assert load_config(options=options, sets=["model.options.width=8"]).model.options == {"width": 8}
    assert options == {"model.name": "cnn", "model.options": {"width": 4}}


def test_a_dotted_key_in_a_file_says_how_it_is_written_there(tmp_path):
    (tmp_path / "c.yaml").write_text("train.epochs: 3\n")
    line = r"^config: there is no key 'train\.epochs': write epochs under train, as in train: \{epochs: \.\.\.\}$"
    with pytest.raises(PipelineError, match=line):
        load_config(tmp_path / "c.yaml")


@pytest.mark.parametrize(("values", "got"), [(None, "nothing"), (["a"], "a list")])
def test_a_recorded_configuration_that_is_none_says_what_it_is(values, got):
    with pytest.raises(PipelineError, match=f"^config: expected keys and values, got {got}$"):
        validate(values, recorded=True)


@pytest.mark.parametrize(
    ("options", "sets", "message"),
    [
        (
            {"query.initial": "x"},
            (),
            "--initial: input should be 'auto', 'random', 'typiclust', 'k-means' or 'balanced', got 'x'",
        ),
        ({"train.epochs": 0}, (), "--epochs must be at least 1, got 0"),  # said of the field in its own words
        ({"kernel.memory_budget": "x"}, (), "--memory-budget: expected a positive size"),
        ({"kernel.head": "x"}, (), "--kernel: expected one of sum-of-logits"),
        ({"model.name": "cn"}, (), "--model: there is no model 'cn'"),
        ({"model.init_weights": "x.pt", "model.name": "cnn"}, (), "--init-weights: cannot read x.pt"),
        ({}, ("query.initial=x",), "--set query.initial: input should be"),
        ({"query.initial": "random"}, ("query.size=0",), "--set query.size: input should be greater"),
        ({"query.size": 3}, ("train.tolerance=-1",), "--set train.tolerance must be 0 or more"),
    ],
)
def test_what_an_option_gave_is_called_by_the_option(options, sets, message):
    with pytest.raises(PipelineError) as refused:
        load_config(options=options, sets=sets)
    assert str(refused.value).startswith(message)


def test_what_a_file_gave_is_called_by_its_field(tmp_path):
    (tmp_path / "run.yaml").write_text("query: {initial: x}")
    with pytest.raises(PipelineError, match=r"^config: query\.initial: input should be"):
        load_config(tmp_path / "run.yaml", {"query.size": 3})


def test_a_later_refusal_is_called_by_the_option_that_the_command_was_given():
    words = ("--device=x", "--out", "run")
    assert by_option("device: expected one", words, FIELDS) == "--device: expected one"
    assert by_option("data.backbone: expected one", words, FIELDS) == "data.backbone: expected one"
    assert by_option("expected one", words, FIELDS) == "expected one"
