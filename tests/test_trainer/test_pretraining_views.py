"""Views of images: against the changes one after another, and what each option leaves alone."""

import colorsys
import math

import numpy as np
import pytest
import torch

from trainer.pretraining import views
from trainer.pretraining.views import Viewer, ViewOptions, cropped, recoloured


def made(seed=0):
    return torch.Generator().manual_seed(seed)


def one_by_one(x, brightness, contrast, saturation, angle):
    """The changes of an image ``[3, H, W]`` in turn, a pixel at a time."""
    x = x * brightness
    mean = x.mean()
    x = (x - mean) * contrast + mean
    turned = torch.empty_like(x)
    for i in range(x.shape[1]):
        for j in range(x.shape[2]):
            y, a, b = (views.YIQ.double() @ x[:, i, j]).tolist()
            chroma, hue = saturation * math.hypot(a, b), math.atan2(b, a) + angle
            yiq = torch.tensor([y, chroma * math.cos(hue), chroma * math.sin(hue)], dtype=torch.float64)
            turned[:, i, j] = torch.linalg.solve(views.YIQ.double(), yiq)
    return turned.clamp(0, 1)


def test_one_linear_map_is_all_changes_in_turn():
    x = torch.rand(6, 3, 3, 4)
    found = recoloured(x, 1.0, made(3))
    drawn, (chance, grey) = torch.rand(4, 6, generator=(g := made(3))) * 2 - 1, torch.rand(2, 6, generator=g)
    changed = 0
    for i in range(6):
        jitter = drawn[:, i].double() if chance[i] < views.JITTERED else torch.zeros(4, dtype=torch.float64)
        brightness, contrast, saturation = (1 + views.BRIGHTNESS * jitter[:3]).tolist()
        saturation *= float(grey[i] >= views.GREY)
        expected = one_by_one(
            x[i].double(), brightness, contrast, saturation, 2 * math.pi * views.HUE * float(jitter[3])
        )
        torch.testing.assert_close(found[i].double(), expected, atol=1e-5, rtol=0)
        changed += not torch.allclose(found[i], x[i], atol=1e-4)
    assert changed >= 3


def test_luma_is_that_of_the_standard_library():
    for colour in np.random.default_rng(0).random((5, 3)):
        assert float(views.YIQ[0] @ torch.tensor(colour, dtype=torch.float32)) == pytest.approx(
            colorsys.rgb_to_yiq(*colour)[0], abs=0.01
        )


def test_grey_images_stay_as_grey_in_one_channel_as_in_three():
    x = torch.rand(8, 1, 4, 4)
    one, three = recoloured(x, 1.0, made()), recoloured(x.expand(-1, 3, -1, -1), 1.0, made())
    torch.testing.assert_close(three, one.expand(-1, 3, -1, -1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_colours_stay_colours_and_crops_stay_images(channels):
    x = torch.rand(16, channels, 8, 6)
    for y in (cropped(x, 0.2, True, made()), recoloured(x, 1.0, made())):
        assert y.shape == x.shape
        assert 0 <= y.min() <= y.max() <= 1
        assert not torch.equal(x, y)


def test_a_crop_of_all_is_the_image_or_its_mirror():
    x = torch.rand(32, 3, 5, 7)
    ratio, views.RATIO = views.RATIO, 1.0
    try:
        torch.testing.assert_close(cropped(x, 1.0, False, made()), x, atol=1e-5, rtol=0)
        mirrored = cropped(x, 1.0, True, made())
    finally:
        views.RATIO = ratio
    same = [torch.allclose(a, b, atol=1e-5) for a, b in zip(mirrored, x, strict=True)]
    turned = [torch.allclose(a, b.flip(-1), atol=1e-5) for a, b in zip(mirrored, x, strict=True)]
    assert all(a != b for a, b in zip(same, turned, strict=True))
    assert 8 <= sum(turned) <= 24


def test_without_flips_left_stays_left():
    x = torch.linspace(0, 1, 9).expand(64, 1, 9, 9)  # brighter to the right
    assert (cropped(x, 0.2, False, made()).diff(dim=-1) >= -1e-6).all()
    assert (cropped(x, 0.2, True, made()).diff(dim=-1) < -1e-3).any()


def test_a_crop_has_the_area_that_was_drawn():
    x = torch.stack(torch.meshgrid(torch.linspace(0, 1, 64), torch.linspace(0, 1, 64), indexing="ij"))
    seen = cropped(x.expand(200, 2, 64, 64), 0.25, False, made())
    sides = seen.amax((2, 3)) - seen.amin((2, 3))  # [200, 2], of height and width 1
    area = sides.prod(1)
    assert area.min() > 0.22
    assert area.max() <= 1
    assert 0.5 < area.mean() < 0.72


def test_a_viewer_normalises_last_and_changes_no_image():
    images = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)
    kept = images.clone()
    plain = Viewer(ViewOptions(0.2, False, 1.0), 255, (0.0, 0, 0), (1.0, 1, 1))(images, made())
    scaled = Viewer(ViewOptions(0.2, False, 1.0), 255, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))(images, made())
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)))
    torch.testing.assert_close(scaled, (plain - mean) / std, atol=1e-5, rtol=1e-5)
    assert torch.equal(images, kept)
    assert 0 <= plain.min() <= plain.max() <= 1


def test_colours_stay_what_they_are_where_none_are_to_change():
    images = torch.full((4, 3, 8, 8), 100, dtype=torch.uint8)
    view = Viewer(ViewOptions(0.2, True, 0.0), 255, (0.0, 0, 0), (1.0, 1, 1))(images, made())
    torch.testing.assert_close(view, torch.full_like(view, 100 / 255))
