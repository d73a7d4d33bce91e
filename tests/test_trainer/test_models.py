"""Every registered network: shapes, batch norm, skips, options, seeds, export."""

import json

import numpy as np
import pytest
import torch
from model_cases import SMALL
from torch import nn

from trainer.errors import TrainerError
from trainer.models import MODELS, ModelSpec, build, build_model
from trainer.models.resnet import BasicBlock
from trainer.models.wide_resnet import PreActivationBlock

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32)]


def spec(name, shape=(1, 8, 8), **options):
    return ModelSpec(name, shape, 10, {**SMALL[name], **options})


def batch_norms(model):
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def randomise(model, seed=0):
    """Give every parameter and running statistic a value of its own, so that nothing is an identity by chance."""
    generator = torch.Generator().manual_seed(seed)
    for tensor in [*model.parameters(), *model.buffers()]:
        if tensor.dtype == torch.float32:
            tensor.data = 0.5 + torch.rand(tensor.shape, generator=generator)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", MODELS)
def test_maps_a_batch_to_one_row_of_outputs_an_image(name, shape):
    model = build(spec(name, shape), seed=0)
    assert not model.training
    for batch in (1, 3):
        outputs = model(torch.zeros(batch, *shape))
        assert outputs.shape == (batch, 10)
        assert outputs.dtype == torch.float32


@pytest.mark.parametrize("name", MODELS)
def test_images_of_a_batch_do_not_see_each_other_in_eval_mode(name):
    model = build(spec(name), seed=0)
    x = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(x)[1:2], model(x[1:2]))


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_has_a_gradient(name):
    model = build(spec(name), seed=0).train()
    model(torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert all(bool(torch.isfinite(parameter.grad).all()) for parameter in model.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_can_be_exported_with_a_free_batch_size(name):
    model = build(spec(name), seed=0)
    x = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    batch = torch.export.Dim("batch", min=1)
    exported = torch.export.export(model, (x,), dynamic_shapes=({0: batch},), strict=False)
    torch.testing.assert_close(exported.module()(x[:2]), model(x[:2]))


@pytest.mark.parametrize("name", MODELS)
def test_the_seed_decides_the_weights_and_the_global_generator_is_left_alone(name):
    before = torch.random.get_rng_state()
    one, same, other = (build(spec(name), seed=seed).state_dict() for seed in (1, 1, 2))
    build(spec(name))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one) is (name != "linear")  # which starts at zero


def test_without_a_seed_two_networks_differ():
    one, other = (build(spec("mlp")).state_dict() for _ in range(2))
    assert not torch.equal(one["1.weight"], other["1.weight"])


def test_batch_norm_stands_where_the_papers_have_it():
    # ResNet-18: the stem, two in each of 8 blocks, one on each of 3 projections.
    assert len(batch_norms(build(spec("resnet18"), 0))) == 1 + 16 + 3
    # Wide ResNet: two in each block and one before the last pooling; projections have none.
    assert len(batch_norms(build(spec("wide_resnet", block_groups=3, blocks_per_group=2), 0))) == 2 * 6 + 1
    assert len(batch_norms(build(spec("wide_resnet", block_groups=1, blocks_per_group=1), 0))) == 2 + 1
    assert batch_norms(build(spec("cnn"), 0)) == []
    assert len(batch_norms(build(spec("cnn", batch_norm=True), 0))) == 3


def test_resnet18_block_is_the_formula_of_the_paper():
    x = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    same, changed = BasicBlock(3, 3, stride=1).eval(), BasicBlock(3, 5, stride=2).eval()
    for block in (same, changed):
        randomise(block)
        branch = block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(x)))))
        skip = x if block is same else block.shortcut[1](block.shortcut[0](x))
        torch.testing.assert_close(block(x), torch.relu(skip + branch))
    assert isinstance(same.shortcut, nn.Identity)
    assert changed.shortcut[0].kernel_size == (1, 1)


def test_wide_resnet_block_is_the_formula_of_the_paper():
    x = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    same, wider, strided = (PreActivationBlock(3, out, stride).eval() for out, stride in ((3, 1), (5, 1), (3, 2)))
    for block in (same, wider, strided):
        randomise(block)
        h = torch.relu(block.bn1(x))
        branch = block.conv2(torch.relu(block.bn2(block.conv1(h))))
        skip = x if block is same else block.shortcut(h)
        torch.testing.assert_close(block(x), skip + branch)
    assert same.shortcut is None
    assert wider.shortcut.kernel_size == strided.shortcut.kernel_size == (1, 1)


@pytest.mark.parametrize("kind", [PreActivationBlock, BasicBlock])
def test_a_block_whose_branch_is_zero_passes_its_input_through(kind):
    x = torch.rand(2, 4, 5, 5, generator=torch.Generator().manual_seed(0))  # positive, as after a ReLU
    block = kind(4, 4, 1).eval()
    last = block.bn2 if isinstance(block, BasicBlock) else block.conv2
    nn.init.zeros_(last.weight)
    torch.testing.assert_close(block(x), x, rtol=0, atol=0)


def test_resnet18_at_full_width_is_the_resnet18_of_the_literature():
    # He et al.'s ResNet-18 with a 3x3 stem and 10 classes: 11,173,962 parameters.
    model = build(ModelSpec("resnet18", (3, 32, 32), 10), seed=0)
    assert sum(parameter.numel() for parameter in model.parameters()) == 11_173_962


def test_wide_resnet_at_paper_scale_has_the_papers_number_of_parameters():
    # WRN-28-10 for CIFAR-10 has 36.48 million (Zagoruyko and Komodakis, table 5: "36.5M").
    options = {"block_groups": 3, "blocks_per_group": 4, "max_width": 640, "stem_stride": 1}
    with torch.device("meta"):
        model = MODELS["wide_resnet"].builder((3, 32, 32), 10, stem_width=16, **options)
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6, 2) == 36.48


@pytest.mark.parametrize(
    ("groups", "stem_stride", "widths", "sides"),
    [(1, 2, [32], [16]), (2, 1, [16, 32], [32, 16]), (3, 1, [8, 16, 32], [32, 16, 8])],
)
def test_wide_resnet_groups_double_in_width_and_halve_in_size(groups, stem_stride, widths, sides):
    model = build_model("wide_resnet", (3, 32, 32), 10, 0, block_groups=groups, stem_stride=stem_stride)
    x, seen = model.stem(torch.zeros(1, 3, 32, 32)), []
    for block in model.blocks:
        x = block(x)
        seen.append(tuple(x.shape[1:]))
    assert seen[1::2] == [(width, side, side) for width, side in zip(widths, sides, strict=True)]


def test_options_reach_the_network():
    assert build(spec("mlp", depth=3, width=7), 0)[1].out_features == 7
    assert sum(isinstance(layer, nn.Linear) for layer in build(spec("mlp", depth=3), 0)) == 4
    assert build(spec("cnn", width=5), 0)[0].out_channels == 5
    assert build(spec("resnet18", width=6), 0).stem[0].out_channels == 6
    assert build(spec("wide_resnet", stem_width=9), 0).stem.out_channels == 9
    assert build(spec("wide_resnet", max_width=12), 0).head.in_features == 12


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vgg", {}, "there is no model 'vgg'; choose one of mlp, cnn"),
        (
            "cnn",
            {"dropout": "0.5"},
            "cnn option dropout must be of type float, got '0.5' .str.; write it without quotes",
        ),
        ("cnn", {"depth": 3}, "cnn has no option 'depth'; its options are width, batch_norm, dropout"),
        ("cnn", {"width": "8"}, "cnn option width must be of type int, got '8'"),
        ("cnn", {"width": True}, "cnn option width must be of type int, got True"),
        ("cnn", {"batch_norm": 1}, "cnn option batch_norm must be of type bool, got 1"),
        ("mlp", {"depth": 0}, "mlp option depth must be at least 1 and at most 1000, got 0"),
        ("wide_resnet", {"block_groups": 4}, "block_groups must be at least 1 and at most 3, got 4"),
    ],
)
def test_options_that_do_not_exist_or_fit_are_named(name, options, message):
    with pytest.raises(TrainerError, match=message.replace("?", r"\?")):
        build_model(name, (1, 8, 8), 10, **options)


def test_a_specification_survives_json():
    one = ModelSpec("wide_resnet", (3, 32, 32), 100, {"max_width": 64})
    assert ModelSpec(**json.loads(one.to_json())) == one
    assert json.loads(one.to_json())["options"] == {"max_width": 64}


@pytest.mark.parametrize(
    ("shape", "classes", "message"),
    [
        ((1, 8), 10, "input_shape must be three positive sizes"),
        ((1, 8, 0.5), 10, "input_shape must be three positive sizes"),
        ((1, 8, 8), True, "num_classes must be at least 2"),
        ((1, 8, 8), 1, "num_classes must be at least 2, got 1"),
    ],
)
def test_a_bad_specification_is_refused(shape, classes, message):
    with pytest.raises(TrainerError, match=message):
        ModelSpec("mlp", shape, classes)


def test_every_family_says_what_it_is_and_where_it_comes_from():
    for name, family in MODELS.items():
        assert family.name == name
        assert family.description
        assert family.source
        assert all(option.help for option in family.options.values())


def test_small_inputs_still_fit_the_cnn():
    for side in (1, 3, 5):
        assert build_model("cnn", (1, side, side), 4, 0)(torch.zeros(2, 1, side, side)).shape == (2, 4)
    assert np.isfinite(build_model("cnn", (1, 8, 8), 4, 0)(torch.ones(1, 1, 8, 8)).detach().numpy()).all()
