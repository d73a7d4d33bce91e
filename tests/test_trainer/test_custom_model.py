"""``PKG.MOD:FACTORY``: what a user's factory is called with, and every factory that is refused."""

import json
import sys

import pytest
import torch

from trainer.errors import TrainerError
from trainer.models import ModelSpec, build, build_model, family_of, source_sha256
from trainer.options import TrainOptions, options_for

NETS = """
import torch
from torch import nn

CALLS = []
torch.rand(7)  # importing draws random numbers

def both(input_shape, num_classes):
    CALLS.append((input_shape, num_classes))
    return nn.Sequential(nn.Flatten(), nn.Linear(input_shape[0] * input_shape[1] * input_shape[2], num_classes))

def classes_only(num_classes, width=5, **more):
    CALLS.append((num_classes, width, more))
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.ReLU(), nn.LazyLinear(num_classes))

def through_stars(*, weights=None, **kwargs):
    return classes_only(**kwargs)

class Net(nn.Module):
    def __init__(self, num_classes, input_shape):
        super().__init__()
        self.head = nn.Linear(input_shape[-1], num_classes)

    def forward(self, x):
        return self.head(x.mean((1, 2)))

class Pair(Net):
    def forward(self, x):
        return super().forward(x), 1

class Raising(Net):
    def forward(self, x):
        raise RuntimeError("first line\\nsecond line")

def positional(shape, classes):
    return Net(classes, shape)

def nothing():
    return None

def failing(num_classes):
    raise KeyError(num_classes)

def leaving(num_classes):
    raise SystemExit(3)

def wrong(input_shape):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 7))

def small():
    return nn.Linear(3, 3)

def double(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes)).double()

def not_finite(num_classes):
    model = both((1, 8, 8), num_classes)
    torch.nn.init.constant_(model[1].bias, float("nan"))
    return model

def frozen(num_classes):
    return both((1, 8, 8), num_classes).requires_grad_(False)

def mixed(num_classes):
    model = both((1, 8, 8), num_classes)
    model.extra = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    return model

class Cast(nn.Module):
    def __init__(self, num_classes, to):
        super().__init__()
        self.inner, self.to_kind = both((1, 8, 8), num_classes), getattr(torch, to)
    def forward(self, x):
        return self.inner(x).to(self.to_kind)

def autocast(num_classes):
    model = both((1, 8, 8), num_classes)
    model.forward = torch.autocast("cpu", dtype=torch.bfloat16)(model.forward)
    return model

number = 3
made = both((1, 8, 8), 2)
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "some_nets.py").write_text(NETS)
    (tmp_path / "broken_nets.py").write_text("import a_module_that_nobody_has")
    (tmp_path / "leaving_nets.py").write_text("raise SystemExit(0)")
    yield tmp_path
    for name in ("some_nets", "broken_nets", "leaving_nets"):
        sys.modules.pop(name, None)


def spec(name, shape=(1, 8, 8), classes=10, **options):
    return ModelSpec(f"some_nets:{name}", shape, classes, options)


def calls():
    return sys.modules["some_nets"].CALLS


@pytest.mark.parametrize("name", ["both", "classes_only", "through_stars", "Net"])
def test_a_factory_gets_what_it_names(name):
    model = build(spec(name), seed=0)
    assert not model.training
    assert model(torch.zeros(3, 1, 8, 8)).shape == (3, 10)


def test_shapes_classes_and_options_are_passed_by_name():
    build(spec("both", (3, 4, 5), 7), seed=0)  # the first call is the module's own
    build(spec("classes_only", classes=4, width=9, extra="x"), seed=0)
    assert calls()[1:] == [((3, 4, 5), 7), (4, 9, {"extra": "x"})]


def test_the_seed_decides_the_weights_even_on_the_first_import_and_the_generator_is_left_alone():
    before = torch.random.get_rng_state()
    first = build(spec("both"), seed=3).state_dict()
    again, other = build(spec("both"), seed=3).state_dict(), build(spec("both"), seed=4).state_dict()
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["1.weight"], other["1.weight"])


def test_lazy_layers_have_their_sizes():
    state = build(spec("classes_only"), seed=0).state_dict()
    assert state["1.weight"].shape == (5, 64)


def test_torchvisions_networks_work_as_they_are():
    model = build(ModelSpec("torchvision.models:resnet18", (3, 32, 32), 5, {"width_per_group": 64}), seed=0)
    assert model.fc.out_features == 5


def test_the_specification_names_the_factory_so_that_the_network_can_be_built_again():
    made = spec("classes_only", width=6, words=["a", 1.5, None])
    again = ModelSpec(**json.loads(made.to_json()))
    assert again == made
    one, other = build(made, seed=1), build(again, seed=1)
    assert all(torch.equal(t, other.state_dict()[name]) for name, t in one.state_dict().items())
    assert build_model("some_nets:classes_only", [1, 8, 8], 10, seed=1, width=6)[1].out_features == 6


REFUSED = {
    "some_nets:both_": "cannot be imported (AttributeError: module 'some_nets' has no attribute 'both_'",
    "no_such_nets:f": "cannot be imported (ModuleNotFoundError: No module named 'no_such_nets'); it is looked for in",
    "broken_nets:f": "No module named 'a_module_that_nobody_has'",
    "leaving_nets:f": "cannot be imported (SystemExit: 0)",
    "some_nets:number": "is a int; expected a function or class",
    "some_nets:made": "is a Sequential; expected a function or class",
    "some_nets:positional": "needs shape, classes; it is called with those of input_shape and num_classes",
    "some_nets:nothing": "made a NoneType; expected a torch.nn.Module",
    "some_nets:failing": "cannot be built with num_classes=10 (KeyError: 10)",
    "some_nets:leaving": "cannot be built with num_classes=10 (SystemExit: 3)",
    "some_nets:wrong": "for a batch [2, 1, 8, 8] expected one output a class, [2, 10], got [2, 7]",
    "some_nets:Pair": "expected one output a class, [2, 10], got a tuple",
    "some_nets:Raising": "cannot process a float32 batch [2, 1, 8, 8] (RuntimeError: first line)",
    "some_nets:small": "cannot process a float32 batch [2, 1, 8, 8] (RuntimeError: ",
    "torchvision.models:resnet18": "expected input[2, 1, 8, 8] to have 3 channels, but got 1 channels instead); is it "
    "for colours? folder:PATH has three channels with --set data.mode=rgb",
    "some_nets:double": "got Float and Double); leave its parameters in float32: make it without .double()",
    "some_nets:not_finite": "expected finite weights, but 1.bias has some that are NaN or infinite",
    "some_nets:frozen": "expected float32 parameters that require gradients, got none that is trained",
    "some_nets:mixed": "got parameters of torch.float64",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_factory_that_makes_no_classifier_is_refused_in_one_line(name):
    with pytest.raises(TrainerError) as caught:
        build(ModelSpec(name, (1, 8, 8), 10), seed=0)
    assert REFUSED[name] in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "int64", "complex64"])
def test_outputs_of_a_kind_that_is_not_ranked_are_refused(kind):
    message = rf"expected float32 outputs, got torch\.{kind}; return outputs\.float\(\)"
    with pytest.raises(TrainerError, match=message):
        build(spec("Cast", to=kind), seed=0)
    assert build(spec("Cast", to="float64"), seed=0)


def test_outputs_of_a_forward_pass_under_autocast_are_refused():
    with pytest.raises(TrainerError, match=r"expected float32 outputs, got torch\.bfloat16"):
        build(spec("autocast"), seed=0)


def test_options_that_the_factory_does_not_take():
    with pytest.raises(TrainerError, match="takes no depth;"):
        build(spec("both", depth=3), seed=0)


@pytest.mark.parametrize("options", [{"a": float("nan")}, {"a": {1, 2}}, {1: 2}])
def test_options_that_no_file_can_hold(options):
    with pytest.raises(TrainerError, match="some_nets:both options: expected"):
        family_of("some_nets:both").resolve(options)


@pytest.mark.parametrize("name", ["vgg", "a:", ":b", "a:b:c", "a b:c", "a..b:c", "1:2", "a/b:c", "os.path:join()"])
def test_other_names_are_no_factories(name):
    with pytest.raises(TrainerError, match=r"there is no model .* or PKG\.MOD:FACTORY"):
        family_of(name)


def test_choosing_a_family_imports_nothing():
    assert options_for("no_such_nets:f") == TrainOptions(max_lr=0.05)
    assert family_of("leaving_nets:f").resolve({"depth": 3}) == {"depth": 3}


def test_the_hash_of_the_source_follows_the_file(here):
    first = source_sha256("some_nets:both")
    assert first == source_sha256("some_nets:Net")
    (here / "some_nets.py").write_text(NETS + "\n# changed")
    assert source_sha256("some_nets:both") != first
    assert source_sha256("math:sqrt") is None
