"""Augmentation: what it may change, and that only its own generator is used."""

import numpy as np
import pytest
import torch

from trainer.data.augment import AUGMENTATIONS, flip_crop


def images(n=200, channels=2, height=16, width=8):
    return 1 + torch.rand(n, channels, height, width, generator=torch.Generator().manual_seed(0))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_none_is_the_batch_itself():
    x = images(3)
    assert AUGMENTATIONS["none"](x, generator()) is x


def test_every_result_is_one_of_the_flips_and_shifts_of_its_own_image():
    x = images()
    out = flip_crop(x, generator())
    assert out.shape == x.shape
    pad_h, pad_w, seen = 2, 1, set()
    for image, result in zip(x.numpy(), out.numpy(), strict=True):
        matches = []
        for mirror in (False, True):
            padded = np.pad(image[:, :, ::-1] if mirror else image, ((0, 0), (pad_h, pad_h), (pad_w, pad_w)))
            for top in range(2 * pad_h + 1):
                for left in range(2 * pad_w + 1):
                    if np.array_equal(padded[:, top : top + 16, left : left + 8], result):
                        matches.append((mirror, top, left))
        assert len(matches) == 1
        seen.add(matches[0])
    assert len(seen) == 2 * 5 * 3  # every combination occurs


def test_only_the_given_generator_is_used_and_the_batch_is_not_changed():
    x = images(20)
    copy, state = x.clone(), torch.random.get_rng_state()
    one, same, other = flip_crop(x, generator(1)), flip_crop(x, generator(1)), flip_crop(x, generator(2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(x, copy)
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_it_is_laid_out_as_it_came(name, channels):
    """With channels last, which one channel does not show, torch's narrow convolutions corrupt memory on some CPUs."""
    x = torch.randn(5, channels, 8, 8)
    assert AUGMENTATIONS[name](x, torch.Generator().manual_seed(0)).stride() == x.stride()
