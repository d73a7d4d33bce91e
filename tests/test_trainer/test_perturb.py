"""Strong changes of images and features: what each does, of how many channels, of which pixels, by which chance."""

import numpy as np
import pytest
import torch

from trainer.data.augment import AUGMENTATIONS, flip_crop, shift
from trainer.data.perturb import NOISE, PERTURBATIONS, is_image, noisy
from trainer.data.rand_augment import APPLIED, LEVELS, RAND_AUGMENT, RandAugment, cutout, shifted


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def images(count=6, channels=1, side=8, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, channels, side, side)).astype(np.float32))


def rand_augment(x):
    return RandAugment(x.amin((0, 2, 3)), x.amax((0, 2, 3)))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("operation", RAND_AUGMENT, ids=lambda operation: operation.name)
def test_every_operation_keeps_shape_and_kind_at_every_strength(operation, channels):
    image = torch.randint(256, (channels, 8, 5), generator=seeded(), dtype=torch.uint8)
    kept = image.clone()
    for level in range(1, LEVELS + 1):
        strength = operation.least + (operation.most - operation.least) * level / LEVELS
        for sign in (1, -1) if operation.signed else (1,):
            changed = operation.apply(image, sign * strength, [0.0] * channels)
            assert (changed.shape, changed.dtype) == (image.shape, torch.uint8)
    assert torch.equal(image, kept)


def test_there_are_fourteen_and_most_change_an_image():
    # equalising leaves an image of less than 256 pixels as it is
    image = torch.randint(40, 200, (3, 20, 20), generator=seeded(), dtype=torch.uint8)
    changed = {one.name for one in RAND_AUGMENT if not torch.equal(one.apply(image, one.most, [0.0] * 3), image)}
    assert len(RAND_AUGMENT) == 14
    assert {one.name for one in RAND_AUGMENT} - changed == {"identity"}


def test_operations_by_hand():
    image = torch.tensor([[[0, 100, 200, 255]]], dtype=torch.uint8)
    apply = {one.name: one.apply for one in RAND_AUGMENT}
    assert apply["brightness"](image, 0.5, [0.0]).tolist() == [[[0, 50, 100, 127]]]
    assert apply["solarize"](image, 128, [0.0]).tolist() == [[[0, 100, 55, 0]]]
    assert apply["posterize"](image, 4, [0.0]).tolist() == [[[0, 96, 192, 240]]]
    assert apply["translate-x"](image, 0.25, [7.0]).tolist() == [[[7, 0, 100, 200]]]
    assert apply["translate-x"](image, -0.25, [7.0]).tolist() == [[[100, 200, 255, 7]]]
    stretched = apply["auto-contrast"](image // 2, 0, [0.0]).int()  # of 0, 50, 100, 127
    assert (stretched - torch.tensor([0, 100, 201, 255])).abs().max() <= 1
    column = image.transpose(1, 2)
    assert apply["translate-y"](column, 0.25, [7.0]).flatten().tolist() == [7, 0, 100, 200]


def test_each_of_two_is_applied_half_of_the_time():
    x = images(400, side=6)
    augment = rand_augment(x)
    applied = []
    counting = tuple(one._replace(apply=lambda image, v, fill: applied.append(v) or image) for one in RAND_AUGMENT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainer.data.rand_augment.RAND_AUGMENT", counting)
        augment(x, seeded())
    assert len(applied) == pytest.approx(400 * 2 * APPLIED, rel=0.1)
    assert any(v < 0 for v in applied)
    assert any(v > 0 for v in applied)


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_changed_images_stay_in_their_range_and_their_order(channels):
    x = images(8, channels)
    changed = rand_augment(x)(x, seeded())
    assert changed.shape == x.shape
    low, high = x.amin((0, 2, 3)), x.amax((0, 2, 3))
    assert (changed >= low.view(-1, 1, 1) - 1e-5).all()
    assert (changed <= high.view(-1, 1, 1) + 1e-5).all()
    assert not torch.equal(changed, x)
    assert torch.equal(changed, rand_augment(x)(x, seeded()))
    assert not torch.equal(changed, rand_augment(x)(x, seeded(1)))


def test_exposure_makes_no_difference():
    """Of images a tenth as bright the same changes are made: they are told by the range that the images have."""
    x = images(20)
    dark = 0.1 * x + 3
    found = rand_augment(dark)(dark, seeded())
    bytes_apart = (dark.max() - dark.min()) / 255
    expected = 0.1 * rand_augment(x)(x, seeded()) + 3
    inside = found != 0  # not of the square, which has the mean pixel, 0
    assert ((found - expected).abs()[inside] <= 1.5 * bytes_apart + 1e-5).float().mean() > 0.9


def test_images_of_one_value_stay_finite():
    x = torch.zeros(3, 1, 8, 8)
    assert torch.isfinite(rand_augment(x)(x, seeded())).all()


def test_cutout_takes_a_square_of_half_the_side_and_no_more():
    x = torch.ones(300, 2, 8, 8)
    cut = cutout(x, seeded())
    hidden = (cut == 0).sum((2, 3))
    assert torch.equal(hidden[:, 0], hidden[:, 1])
    assert hidden.max() == 16
    assert hidden.min() >= 4  # in a corner
    assert (hidden[:, 0] == 16).float().mean() > 0.2
    rows = (cut[:, 0] == 0).any(2).sum(1)
    assert torch.equal(rows * (cut[:, 0] == 0).any(1).sum(1), hidden[:, 0])  # rectangles
    assert torch.equal(x, torch.ones_like(x))


def test_shifts_are_whole_pixels_up_to_a_quarter_or_an_eighth():
    x = torch.zeros(400, 1, 16, 16)
    x[:, :, 8, 8] = 1
    for change, most in ((shifted, 4), (shift, 2)):
        places = change(x, seeded()).flatten(1).argmax(1)
        rows, columns = places // 16 - 8, places % 16 - 8
        assert {*rows.tolist()} == {*columns.tolist()} == {*range(-most, most + 1)}


def test_flip_crop_is_a_mirror_and_a_shift():
    x = images(40)
    generator = seeded()
    mirrored = torch.randint(2, (40,), generator=generator).bool()
    expected = shift(torch.where(mirrored[:, None, None, None], x.flip(-1), x), generator)
    assert torch.equal(flip_crop(x, seeded()), expected)
    assert AUGMENTATIONS["shift"] is shift


def test_noise_drops_features_but_no_pixels():
    pixels, features = torch.ones(50, 1, 8, 8), torch.ones(200, 30, 1, 1)
    assert (noisy(pixels, seeded()) - 1).std().item() == pytest.approx(NOISE, rel=0.1)
    assert (noisy(pixels, seeded()) == 0).sum() == 0
    assert (noisy(features, seeded()) == 0).float().mean().item() == pytest.approx(0.2, abs=0.02)


def test_what_is_for_images_says_so():
    assert {name for name, one in PERTURBATIONS.items() if not one.of_images} == {"none", "noise"}
    assert is_image((3, 8, 8))
    assert is_image((1, 1, 8))
    assert not is_image((12, 1, 1))
    for name, one in PERTURBATIONS.items():
        assert (one.name, bool(one.description), bool(one.source)) == (name, True, True)
        x = images(3)
        assert one.build(x.amin((0, 2, 3)), x.amax((0, 2, 3)))(x, seeded()).shape == x.shape
