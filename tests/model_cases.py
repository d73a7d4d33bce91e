"""Small networks of every registered family, for tests over all of them."""

SMALL = {
    "mlp": {"width": 8},
    "linear": {},
    "cnn": {"width": 4},
    "resnet18": {"width": 4},
    "wide_resnet": {"max_width": 8, "block_groups": 3},
    "tutorial_cnn": {"width": 3},
    "cnn_gap": {"width": 4},
    "vgg11": {"width": 2},
    "convnet": {"width": 6, "depth": 3},
}
