"""Networks of the papers: exact numbers of parameters, sizes, independent copies; dropout; old weights stay."""

import math

import pytest
import torch
from model_cases import SMALL
from torch import nn
from torch.nn import functional
from torchvision.models import ResNet
from torchvision.models.resnet import BasicBlock
from torchvision.models.vgg import VGG, make_layers

from trainer.errors import TrainerError
from trainer.models import MODELS, ModelSpec, Option, build, build_model
from trainer.models.wide_resnet import PreActivationBlock

WRN_28_2 = {"block_groups": 3, "blocks_per_group": 4, "max_width": 128, "stem_stride": 1}
LEAKY = {"leaky_slope": 0.1, "batch_norm_momentum": 1e-3}
IMAGENET, CIFAR = ((3, 224, 224), 1000), ((3, 32, 32), 10)

COUNTS = [
    ("tutorial_cnn", *CIFAR, {}, 62_006),
    ("cnn_gap", *CIFAR, {}, 94_538),
    ("vgg11", *CIFAR, {}, 9_231_114),
    ("vgg11", *CIFAR, {"batch_norm": False}, 9_225_610),
    ("vgg11", *IMAGENET, {"hidden": 4096}, 132_868_840),  # torchvision's vgg11_bn
    ("vgg11", *IMAGENET, {"hidden": 4096, "batch_norm": False}, 132_863_336),  # its vgg11
    ("resnet18", *IMAGENET, {"imagenet_stem": True}, 11_689_512),  # its resnet18
    ("wide_resnet", *CIFAR, {**WRN_28_2, **LEAKY}, 1_467_610),
    # Seven of 64 channels, one of 3, a linear layer: 3·9·64 + 64 + 7(64·9·64 + 64) + 64·10 + 10.
    ("convnet", *CIFAR, {}, 1_792 + 7 * 36_928 + 650),
    # 3072·w + w + 2(w² + w) + 10w + 10 for w = 32.
    ("mlp", *CIFAR, {"depth": 3, "width": 32}, 98_336 + 2 * 1_056 + 330),
]


@pytest.mark.parametrize(("name", "shape", "classes", "options", "expected"), COUNTS)
def test_a_network_has_its_papers_number_of_parameters(name, shape, classes, options, expected):
    family = MODELS[name]
    with torch.device("meta"):
        model = family.builder(shape, classes, **family.resolve(options))
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


SHAPES = [
    (1, 28, 28),
    (3, 28, 28),
    (1, 32, 32),
    (3, 32, 32),
    (3, 64, 64),
    (1, 20, 36),
    (3, 15, 16),
    (1, 1, 1),
    (2, 1, 9),
]
VARIANTS = {
    **{name: (name, SMALL[name]) for name in ("tutorial_cnn", "cnn_gap", "vgg11", "convnet")},
    "vgg11, torchvision's": ("vgg11", {"width": 1, "hidden": 4, "batch_norm": False}),
    "resnet18, ImageNet": ("resnet18", {"width": 2, "imagenet_stem": True}),
    "wide_resnet, leaky": ("wide_resnet", {"max_width": 8, **LEAKY}),
}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("case", VARIANTS)
def test_a_network_maps_images_of_every_size(case, shape):
    name, options = VARIANTS[case]
    outputs = build_model(name, shape, 7, 0, **options)(torch.ones(2, *shape))
    assert outputs.shape == (2, 7)
    assert bool(torch.isfinite(outputs).all())


def images(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def randomise(model):
    """Give statistics and scales of batch norm values of their own."""
    generator = torch.Generator().manual_seed(1)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                tensor.data = 0.5 + torch.rand(tensor.shape, generator=generator)


@pytest.mark.parametrize(("side", "padding"), [(32, 0), (28, 0), (16, 0), (15, 2), (8, 2)])
def test_tutorial_cnn_is_the_tutorials(side, padding):
    model = build_model("tutorial_cnn", (3, side, side), 10, 0)
    (w1, b1), (w2, b2), (w3, b3), (w4, b4), (w5, b5) = [
        (layer.weight, layer.bias) for layer in model if isinstance(layer, nn.Conv2d | nn.Linear)
    ]
    x = images(2, 3, side, side)
    h = functional.max_pool2d(functional.conv2d(x, w1, b1, padding=padding).relu(), 2, 2)
    h = functional.max_pool2d(functional.conv2d(h, w2, b2, padding=padding).relu(), 2, 2).flatten(1)
    h = functional.linear(functional.linear(h, w3, b3).relu(), w4, b4).relu()
    torch.testing.assert_close(model(x), functional.linear(h, w5, b5))
    assert [tuple(w.shape) for w in (w1, w2)] == [(6, 3, 5, 5), (16, 6, 5, 5)]
    assert [len(w) for w in (w3, w4, w5)] == [120, 84, 10]
    assert float(w1.detach().abs().max()) <= 1 / math.sqrt(75)  # torch's own: uniform within 1/√fan_in


def test_cnn_gap_averages_before_it_classifies():
    model = build_model("cnn_gap", (3, 9, 8), 10, 0)
    x = h = images(2, 3, 9, 8)
    for at in (0, 2, 4):
        h = functional.conv2d(h, model[at].weight, model[at].bias, padding=1).relu()
        assert h.shape[2:] == x.shape[2:]
    torch.testing.assert_close(model(x), functional.linear(h.mean((2, 3)), model[-1].weight, model[-1].bias))


@pytest.mark.parametrize("batch_norm", [False, True])
def test_vgg11_is_torchvisions(batch_norm):
    channels = [2, "M", 4, "M", 8, 8, "M", 16, 16, "M", 16, 16, "M"]
    with torch.device("meta"):  # its own classifier is large
        theirs = VGG(make_layers(channels, batch_norm), init_weights=False)
    theirs.classifier[0] = nn.Linear(16 * 49, 12)
    theirs.classifier[3], theirs.classifier[6] = nn.Linear(12, 12), nn.Linear(12, 5)
    theirs.to_empty(device="cpu")
    ours = build_model("vgg11", (3, 64, 64), 5, 0, width=2, hidden=12, batch_norm=batch_norm, dropout=0.5)
    randomise(ours)
    assert_equal_with_weights_in_order(ours, theirs, images(2, 3, 64, 64))


def test_resnet18_with_the_imagenet_stem_is_torchvisions():
    theirs = ResNet(BasicBlock, [2, 2, 2, 2], num_classes=5)
    ours = build_model("resnet18", (3, 70, 64), 5, 0, imagenet_stem=True)
    randomise(ours)
    assert_equal_with_weights_in_order(ours, theirs, images(2, 3, 70, 64))


def assert_equal_with_weights_in_order(ours, theirs, x):
    state = ours.state_dict()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), state.values(), strict=True)))
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs.eval()(x))


def test_wide_resnet_has_the_groups_of_the_pntk_study():
    # WRN-16-k with two groups: first convolution 16 WF, groups 16 WF and 32 WF; here WF = 2.
    options = {"block_groups": 2, "blocks_per_group": 2, "stem_width": 32, "max_width": 64, "stem_stride": 1}
    model = build_model("wide_resnet", (3, 16, 16), 10, 0, **options)
    x, seen = model.stem(torch.zeros(1, 3, 16, 16)), []
    assert x.shape[1:] == (32, 16, 16)
    for block in model.blocks:
        x = block(x)
        seen.append(tuple(x.shape[1:]))
    assert seen == [(32, 16, 16)] * 2 + [(64, 8, 8)] * 2


def test_leaky_slope_and_momentum_reach_every_layer():
    model = build_model("wide_resnet", (3, 32, 32), 10, 0, **WRN_28_2, **LEAKY)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert [m.momentum for m in norms] == [1e-3] * (2 * 12 + 1)
    assert [m.negative_slope for m in model.modules() if isinstance(m, nn.LeakyReLU)] == [0.1] * (12 + 1)
    assert not any(isinstance(m, nn.ReLU) for m in model.modules())
    block = PreActivationBlock(3, 5, 2, slope=0.3).eval()
    randomise(block)
    x = images(2, 3, 6, 6)
    h = functional.leaky_relu(block.bn1(x), 0.3)
    branch = block.conv2(functional.leaky_relu(block.bn2(block.conv1(h)), 0.3))
    torch.testing.assert_close(block(x), branch + block.shortcut(h))


def he(c_in, c_out, kernel):
    """Draw a convolution's weights as always: first torch's own, then normal ones in their place."""
    layer = nn.Conv2d(c_in, c_out, kernel, bias=False)
    nn.init.normal_(layer.weight, std=math.sqrt(2 / (kernel * kernel * c_in)))
    return layer.weight


def dense(n_in, n_out, gain=1.0):
    layer = nn.Linear(n_in, n_out)
    nn.init.normal_(layer.weight, std=gain / math.sqrt(n_in))
    return layer.weight


def drawn_mlp():
    yield "1.weight", dense(64, 6, math.sqrt(2))
    yield "3.weight", dense(6, 6, math.sqrt(2))
    yield "5.weight", dense(6, 10)


def drawn_cnn():
    for at, (c_in, c_out) in ((0, (1, 3)), (2, (3, 6)), (4, (6, 6))):
        layer = nn.Conv2d(c_in, c_out, 3)
        yield from ((f"{at}.weight", layer.weight), (f"{at}.bias", layer.bias))
    layer = nn.Linear(24, 10)
    yield from (("7.weight", layer.weight), ("7.bias", layer.bias))


def drawn_wide_resnet():
    yield "stem.weight", he(1, 16, 3)
    for block, (c_in, c_out) in enumerate([(16, 4), (4, 4), (4, 8), (8, 8)]):
        yield f"blocks.{block}.conv1.weight", he(c_in, c_out, 3)
        yield f"blocks.{block}.conv2.weight", he(c_out, c_out, 3)
        if c_in != c_out:
            yield f"blocks.{block}.shortcut.weight", he(c_in, c_out, 1)
    yield "head.weight", dense(8, 10)


def drawn_resnet18():
    yield "stem.0.weight", he(1, 2, 3)
    widths = [2, 2, 4, 4, 8, 8, 16, 16]
    for block, (c_in, c_out) in enumerate(zip([2, *widths], widths, strict=False)):
        yield f"blocks.{block}.conv1.weight", he(c_in, c_out, 3)
        yield f"blocks.{block}.conv2.weight", he(c_out, c_out, 3)
        if c_in != c_out:
            yield f"blocks.{block}.shortcut.0.weight", he(c_in, c_out, 1)
    yield "head.weight", dense(16, 10)


OLD = {
    "mlp": (drawn_mlp, {"width": 6}),
    "cnn": (drawn_cnn, {"width": 3}),
    "wide_resnet": (drawn_wide_resnet, {"max_width": 8, "block_groups": 2}),
    "resnet18": (drawn_resnet18, {"width": 2}),
}


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize("name", OLD)
def test_what_older_runs_built_at_a_seed_is_built_now_bit_for_bit(name, seed):
    """The draws of the versions before the new options, in their order: a changed name or draw shows here."""
    drawn, options = OLD[name]
    state = build(ModelSpec(name, (1, 8, 8), 10, options), seed).state_dict()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        expected = dict(drawn())
    for key, tensor in expected.items():
        assert torch.equal(state[key], tensor), key
    others = {key: tensor for key, tensor in state.items() if key not in expected}
    fresh = {"bias": 0, "running_mean": 0, "num_batches_tracked": 0, "running_var": 1, "weight": 1}
    for key, tensor in others.items():
        assert bool((tensor == fresh[key.rpartition(".")[2]]).all()), key
    norms = sum("running_mean" in key for key in others)
    assert norms == {"mlp": 0, "cnn": 0, "wide_resnet": 9, "resnet18": 20}[name]


DROPS = {
    "mlp": {"width": 64},
    "cnn": {"width": 16},
    "vgg11": {"width": 8},
    "vgg11, hidden": {"width": 2, "hidden": 64},
    "wide_resnet": {"max_width": 64},
    "resnet18": {"width": 8},
}


@pytest.mark.parametrize("case", DROPS)
def test_dropout_drops_the_last_layers_features_in_training_alone(case):
    name, x = case.partition(",")[0], images(50, 1, 16, 16)
    plain, dropping = (build_model(name, (1, 16, 16), 10, 3, **DROPS[case], dropout=share) for share in (0, 0.25))
    assert not any(isinstance(m, nn.modules.dropout._DropoutNd) for m in plain.modules())
    assert all(
        torch.equal(one, other)
        for one, other in zip(plain.state_dict().values(), dropping.state_dict().values(), strict=True)
    )
    torch.testing.assert_close(plain(x), dropping(x), rtol=0, atol=0)  # in eval mode
    seen = []
    last = [m for m in dropping.modules() if isinstance(m, nn.Linear)][-1]
    last.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        dropping.eval()(x)
        for m in dropping.modules():
            if isinstance(m, nn.modules.dropout._DropoutNd):
                m.train()
        dropping(x)
        dropping(x)
    kept, one, other = seen
    alive = (kept > 0).any(0)  # features that a ReLU leaves for some image
    lost = (one[:, alive] == 0) & (kept[:, alive] > 0)
    share = float(lost.sum() / (kept[:, alive] > 0).sum())
    assert share >= 0.2
    if name in ("wide_resnet", "resnet18") or case == "vgg11":  # dropout stands at this one place
        assert abs(share - 0.25) < 0.05
        whole = one != 0
        torch.testing.assert_close(one[whole], kept[whole] / 0.75)
    assert not torch.equal(one, other)


def test_dropout_stands_after_every_hidden_layer_of_mlp_and_cnn():
    def kinds(name, **options):
        return [type(m).__name__ for m in build_model(name, (1, 8, 8), 3, 0, **options)]

    hidden = ["Linear", "ReLU", "Dropout"]
    assert kinds("mlp", dropout=0.1) == ["Flatten", *hidden, *hidden, "Linear"]
    conv = ["Conv2d", "ReLU"]
    expected = [*conv, "Dropout2d", *conv, "Dropout2d", *conv, "Flatten", "Dropout", "Linear"]
    assert kinds("cnn", dropout=0.1) == expected
    assert kinds("vgg11", hidden=4, dropout=0.1)[-7:] == [*hidden, *hidden, "Linear"]
    assert kinds("vgg11", dropout=0.1)[-3:] == ["Flatten", "Dropout", "Linear"]


SHARE = Option(0.0, "a share", 0.0, 0.9)


@pytest.mark.parametrize(
    ("option", "given", "expected"),
    [
        (SHARE, 0.25, 0.25),
        (SHARE, 0, 0.0),
        (SHARE, 0.9, 0.9),
        (Option(1.5, "unbounded"), 7, 7.0),
        (Option(3, "a count"), 7, 7),
        (Option(True, "a truth"), False, False),
    ],
)
def test_an_option_takes_its_type_and_floats_take_ints(option, given, expected):
    value = option.check("it", given)
    assert value == expected
    assert type(value) is type(option.default)


@pytest.mark.parametrize(
    ("option", "given", "message"),
    [
        (SHARE, True, "it must be of type float, got True"),
        (SHARE, "0.5", r"it must be of type float, got '0.5' \(str\); write it without quotes, such as 0.001"),
        (SHARE, None, "it must be of type float, got None"),
        (SHARE, -0.1, "it must be at least 0.0 and at most 0.9, got -0.1"),
        (SHARE, 1, "it must be at least 0.0 and at most 0.9, got 1"),
        (SHARE, math.nan, "it must be at least 0.0 and at most 0.9, got nan"),
        (Option(1.5, "unbounded"), math.inf, "it must be at least 1, got inf"),
        (Option(3, "a count"), 4.0, r"it must be of type int, got 4.0 \(float\)$"),
        (Option(True, "a truth"), 1.0, "it must be of type bool, got 1.0"),
    ],
)
def test_an_option_refuses_other_types_and_ranges(option, given, message):
    with pytest.raises(TrainerError, match=message):
        option.check("it", given)
