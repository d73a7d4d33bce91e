"""Whatever cannot be ported is refused with its own error, which says where and what to do."""

import dataclasses

import jax.numpy as jnp
import networks
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from migrator import errors, migrate, verify
from migrator.ops import RULES


def refuse(module, kind, match, shape=(2, 3, 7, 7)):
    with pytest.raises(kind, match=match) as caught:
        migrate(module, (torch.zeros(shape),))
    return str(caught.value)


class Call(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 1)
        self.function = function

    def forward(self, x):
        return self.function(self.layer(x))


def called(function):
    return Call(function).eval()


def test_training_mode():
    module = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(147, 2)).eval()
    module[1].train()
    refuse(module, errors.ModelNotInEvalMode, r"in training mode: 1; call `module.eval\(\)`")


def test_all_unsupported_operators_are_listed_at_once():
    text = refuse(
        called(
            lambda x: torch.linalg.eigvals(x @ x.mT).real.sum() + torch.nextafter(x, -x) + torch.special.bessel_j0(x)
        ),
        errors.UnsupportedOp,
        "operators have no rule",
    )
    for word in ("linalg_eig", "nextafter", "bessel_j0", "test_refusals.py", "migrator/ops"):
        assert word in text


def test_fixed_batch():
    refuse(called(lambda x: x.reshape(2, -1)), errors.StaticBatch, "only works for one batch size")


def test_a_fixed_batch_that_is_not_the_examples():
    refuse(called(lambda x: x * torch.ones(2, 1, 1, 1)), errors.StaticBatch, "only works for one batch size")


def test_branch_on_values():
    refuse(called(lambda x: x if x.sum() > 0 else -x), errors.DataDependentControlFlow, "torch.where")


def test_always_on_dropout():
    refuse(called(lambda x: F.dropout(x, 0.5, training=True)), errors.NonDeterministicForward, "draws random numbers")


def test_random_noise():
    refuse(called(lambda x: x + torch.rand_like(x)), errors.NonDeterministicForward, "test_refusals.py")


def test_batch_norm_without_statistics():
    module = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)).eval()
    refuse(module, errors.BatchDependentNorm, "0 .BatchNorm2d. has no running statistics")


def test_functional_batch_norm_over_the_batch():
    function = called(lambda x: F.batch_norm(x, None, None, training=True))
    refuse(function, errors.BatchDependentNorm, "running statistics")


def test_statistics_of_the_batch_by_hand_are_found_by_verification():
    module = called(lambda x: x - x.mean(0))
    with pytest.raises(errors.BatchDependentNorm, match="depends on the other examples"):
        verify(module, migrate(module, (torch.zeros(2, 3, 7, 7),)), networks.examples((3, 7, 7)))


def test_in_place_change_inside_no_grad():
    def function(x):
        with torch.no_grad():
            x.mul_(2)
        return x

    refuse(called(function), errors.UnsupportedGradient, "in place")


def test_data_attribute():
    refuse(called(lambda x: x * x.data), errors.UnsupportedGradient, "detach")


def test_lazy_half_and_complex_parameters():
    refuse(nn.LazyLinear(3).eval(), errors.UnsupportedParameter, "no shape yet")
    refuse(nn.Linear(7, 3).half().eval(), errors.UnsupportedParameter, "float16")
    refuse(nn.Linear(7, 3, dtype=torch.complex64).eval(), errors.UnsupportedParameter, "complex64")


def test_corrupt_weights():
    module = networks.cnn(3, 8)
    with torch.no_grad():
        module[0].weight[0, 0, 0, 0] = float("nan")
    refuse(module, errors.CorruptWeights, "0.weight holds NaN")
    module = networks.cnn(3, 8)
    module[4].running_var[1] = -1
    refuse(module, errors.CorruptWeights, "4.running_var has a negative variance")


def test_double_weights_without_x64():
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).double().eval()
    with pytest.raises(errors.PrecisionLoss, match="float64"):
        migrate(module, (torch.zeros(2, 4, dtype=torch.float64),))


def test_a_forward_that_writes_its_buffers():
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls += 1
            return x

    refuse(Counter().eval(), errors.UnsupportedOp, "writes to calls")


def test_example_inputs_without_a_batch_axis():
    with pytest.raises(errors.StaticBatch, match="first axis is the batch"):
        migrate(nn.ReLU().eval(), (torch.zeros(()),))


def test_every_error_is_a_migrator_error():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ValueError)]
    assert len(kinds) > 13
    assert all(issubclass(kind, errors.MigratorError) for kind in kinds)


def test_one_example_is_widened():
    module = networks.mlp()
    migrated = migrate(module, (torch.zeros(1, 1, 8, 8),))
    assert np.asarray(migrated.apply_fn(migrated.variables, networks.examples((1, 8, 8), 3))).shape == (3, 10)


class Sign(torch.autograd.Function):
    """A straight-through estimator, whose gradient torch does not record."""

    @staticmethod
    def forward(ctx, x):
        return x.sign()

    @staticmethod
    def backward(ctx, g):
        return g


class Layered(nn.Module):
    """A function of a linear layer's output; the batch is at least 2 when it is recorded."""

    def __init__(self, function):
        super().__init__()
        self.layer, self.function = nn.Linear(6, 6), function

    def forward(self, x):
        return self.function(self.layer(x))


def hooked(y):
    y.register_hook(lambda g: 2 * g)
    return y * 2


def under_inference_mode(y):
    with torch.inference_mode():
        z = y * 2
    return y * z.clone()


def checkpointed(y):
    return torch.utils.checkpoint.checkpoint(lambda z: z * 2, y, use_reentrant=True)


def module_with_hook():
    module = nn.Linear(6, 6)
    module.register_full_backward_hook(lambda *_: None)
    return module


def module_with_gradient_hook():
    module = nn.Linear(6, 6)
    module.weight.register_hook(lambda g: 2 * g)
    return module


GRADIENTS = {
    "own gradient": (
        lambda: Layered(lambda y: Sign.apply(y)),
        r"autograd.Function.*at test_refusals.py:\d+; write it with",
    ),
    "inference mode": (lambda: Layered(under_inference_mode), r"inference_mode.*at test_refusals.py:\d+"),
    "detached in place": (lambda: Layered(lambda y: y * y.clone().detach_()), "use `detach"),
    "hook on a tensor": (lambda: Layered(hooked), "a hook on a tensor"),
    "hook on a module": (module_with_hook, "Linear has a backward hook"),
    "hook on a parameter": (module_with_gradient_hook, "weight has a gradient hook"),
    "reentrant checkpoint": (lambda: Layered(checkpointed), "autograd.Function"),
    "not differentiable": (lambda: Layered(lambda y: y // 1), "torch itself cannot differentiate"),
}


def port_and_verify(module, x=None):
    verify(module, migrate(module, torch.zeros(2, 6)), networks.examples((6,)) if x is None else x)


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_that_are_not_recorded(name):
    build, message = GRADIENTS[name]
    with pytest.raises(errors.UnsupportedGradient, match=message):
        port_and_verify(build().eval())


def test_guarding_leaves_torch_as_it_was():
    names = ((torch.autograd.Function, "apply"), (torch.Tensor, "detach_"), (torch.inference_mode, "__enter__"))
    before = [vars(home)[name] for home, name in names]
    migrate(networks.mlp(), torch.zeros(2, 1, 8, 8))
    assert [vars(home)[name] for home, name in names] == before


MIXED = {
    "running sum": lambda y: y + y.detach().cumsum(0),
    "the first": lambda y: y - y[:1].detach(),
    "mean": lambda y: y - y.mean(0),
    "mean, constant": lambda y: y + y.mean(0).detach(),
    "position": lambda y: y + torch.arange(y.shape[0])[:, None],
    "sum of all": lambda y: y.sum(),
}


@pytest.mark.parametrize("count", [1, 6])
@pytest.mark.parametrize("name", MIXED)
def test_outputs_that_depend_on_other_examples(name, count):
    with pytest.raises(errors.BatchDependentNorm, match="depends on the other examples"):
        port_and_verify(Layered(MIXED[name]).eval(), networks.examples((6,), count))


def test_a_batch_axis_that_is_squeezed_away():
    with pytest.raises(errors.StaticBatch, match=r"\[3, 6\] for 3 examples but \[6\] for one.*squeeze"):
        port_and_verify(Layered(lambda y: y[:, None].squeeze()).eval())


def test_indexing_by_a_mask():
    refuse(called(lambda x: x[x > 0]), errors.DataDependentControlFlow, "by a mask")
    refuse(called(lambda x: x.masked_select(x > x.mean())), errors.DataDependentControlFlow, "by a mask")


def test_numbers_made_of_tensors():
    refuse(called(lambda x: x * torch.ones(3)[0].item()), errors.DataDependentControlFlow, r"item\(\)")


def test_numpy_randomness():
    rng = np.random.default_rng(0)
    with pytest.raises(errors.NonDeterministicForward, match="another output each time"):
        port_and_verify(Layered(lambda y: y * float(rng.random())).eval())


def test_things_that_are_no_modules():
    for thing, name in ((F.relu, "function"), (nn.Linear, "Linear"), (np.zeros(3), "ndarray")):
        with pytest.raises(errors.MigratorError, match=f"expected a torch.nn.Module, got {name}"):
            migrate(thing, torch.zeros(2, 6))
    with pytest.raises(errors.StaticBatch, match="got ndarray"):
        migrate(networks.mlp(), np.zeros((2, 1, 8, 8)))
    with pytest.raises(errors.StaticBatch, match="as many examples of each"):
        migrate(networks.TwoInputs().eval(), (torch.zeros(2, 5, dtype=torch.int64), torch.zeros(3, 5)))


def test_autocast_around_the_port():
    module = networks.cnn(3, 8)
    port = migrate(module, torch.zeros(2, 3, 8, 8))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with pytest.raises(errors.PrecisionLoss, match="autocast` is on for cpu"):
            migrate(module, torch.zeros(2, 3, 8, 8))
        with pytest.raises(errors.PrecisionLoss, match="leave it before porting"):
            verify(module, port, networks.examples((3, 8, 8)))


def test_what_torch_resizes_wrongly():
    resized = called(lambda x: F.interpolate(x, size=(3, 4), mode="bilinear", antialias=True, align_corners=True))
    refuse(resized, errors.UnsupportedOp, "antialias` and `align_corners")


class Padded(nn.Module):
    """A transformer that is told which positions are padding."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1)

    def forward(self, x, mask):
        return self.encoder(x, src_key_padding_mask=mask)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_torch_that_computes_something_else_without_gradients():
    torch.manual_seed(0)
    module, x = Padded().eval(), networks.examples((5, 6), 3)
    mask = np.tile([False, False, False, True, True], (3, 1))
    port = migrate(module, (torch.zeros(2, 5, 6), torch.zeros(2, 5, dtype=torch.bool)))
    with pytest.raises(errors.PortMismatch, match=r"something else under `no_grad`.*set_fastpath_enabled\(False\)"):
        verify(module, port, (x, mask))
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        assert verify(module, port, (x, mask)).verified
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


def test_what_has_the_length_of_the_examples_batch(monkeypatch):
    def of_two(x, *_):
        return jnp.concatenate([x[:1], x[1:2]])

    monkeypatch.setitem(RULES, "aten.atanh.default", dataclasses.replace(RULES["aten.atanh.default"], apply=of_two))
    refuse(called(torch.atanh), errors.StaticBatch, r"returns \[2, 3, 7, 7\] for 5 examples, expected \[5, 3, 7, 7\]")
    added = dataclasses.replace(RULES["aten.acosh.default"], apply=lambda x: x + jnp.zeros((2, 1, 1, 1)))
    monkeypatch.setitem(RULES, "aten.acosh.default", added)
    refuse(called(torch.acosh), errors.StaticBatch, "cannot be run on 5 examples .TypeError.*recorded on 2")


def test_inference_mode_around_the_port():
    with torch.inference_mode(), pytest.raises(errors.UnsupportedGradient, match="leave it before"):
        migrate(networks.mlp(), torch.zeros(2, 1, 8, 8))


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        (np.zeros((3, 5), np.float32), r"expected shape \[n, 6\], got \[3, 5\]"),
        (np.zeros((3, 6), np.int64), "expected float32, got int64"),
        (np.zeros((0, 6), np.float32), "at least one"),
        ((np.zeros((3, 6)), np.zeros((3, 6))), "takes 1 inputs, but examples of 2"),
        (np.full((3, 6), np.nan, np.float32), "not a number"),
    ],
)
def test_examples_that_do_not_fit(examples, message):
    module = Layered(torch.tanh).eval()
    with pytest.raises(errors.PortMismatch, match=message):
        verify(module, migrate(module, torch.zeros(2, 6)), examples)


class Cached(nn.Module):
    """Keeps what it computed from a parameter, as LeViT does with its biases in eval mode."""

    def __init__(self):
        super().__init__()
        self.bias, self.kept = nn.Parameter(torch.ones(3)), {}

    def forward(self, x):
        if "bias" not in self.kept:
            self.kept["bias"] = self.bias * 2
        return x.mean((2, 3)) * self.kept["bias"]


@pytest.mark.parametrize("called_before", [False, True])
def test_what_is_kept_from_one_call_to_the_next(called_before):
    module = nn.Sequential(Cached()).eval()
    if called_before:
        module(torch.zeros(2, 3, 7, 7))
    with pytest.raises(errors.UnsupportedGradient, match=r"`0\.kept` keeps from one call to the next"):
        verify(module, migrate(module, (torch.zeros(2, 3, 7, 7),)), np.zeros((3, 3, 7, 7), np.float32))
