"""Models of transformers, made small by their configuration."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from migrator.errors import MigratorError
from migrator.survey.subject import EXAMPLES, SEED, Subject, disturb, images

try:
    from transformers import AutoConfig, AutoModel
except ImportError as error:
    raise MigratorError('this survey needs transformers; install it by pip install ".[survey]"') from error

HOW = (
    "One model of each type, without a head: two layers of 32 units, four heads, 64 words, images of 32 pixels; texts\n"
    "have no padding."
)
WORDS = 64
LENGTH = 12
SIDE = 32
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers")
WIDTHS = ("hidden_size", "d_model", "n_embd", "dim", "embedding_size", "emb_dim")
SMALL: dict[str, Any] = {
    **dict.fromkeys(
        ("hidden_size", "d_model", "n_embd", "dim", "embedding_size", "emb_dim", "encoder_hidden_size"), 32
    ),
    **dict.fromkeys(LAYERS, 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "encoder_attention_heads"), 4),
    **dict.fromkeys(("decoder_attention_heads", "num_encoder_layers", "num_decoder_layers"), 2),
    **dict.fromkeys(("num_key_value_heads",), 2),
    **dict.fromkeys(("head_dim", "d_kv", "attention_head_size"), 8),
    **dict.fromkeys(("rotary_dim",), 4),
    **dict.fromkeys(("intermediate_size", "d_ff", "encoder_ffn_dim", "decoder_ffn_dim", "hidden_dim", "n_inner"), 48),
    **dict.fromkeys(("vocab_size", "max_position_embeddings", "n_positions", "entity_vocab_size"), WORDS),
    **dict.fromkeys(("image_size",), SIDE),
    **dict.fromkeys(("patch_size",), 8),
    "use_cache": False,
}
"""What configurations call their sizes -> a small one."""

TYPES = (
    *("albert", "bart", "beit", "bert", "big_bird", "blenderbot", "bloom", "canine", "codegen", "convbert", "convnext"),
    *("convnextv2", "ctrl", "cvt", "data2vec-text", "data2vec-vision", "deberta", "deberta-v2", "deit", "dinov2"),
    *("distilbert", "electra", "ernie", "esm", "falcon", "flaubert", "fnet", "focalnet", "funnel", "gemma", "gemma2"),
    *("glpn", "gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox", "gptj", "granite", "hiera", "ibert", "ijepa", "layoutlm"),
    *("levit", "llama", "longformer", "luke", "mamba", "markuplm", "megatron-bert", "mistral", "mixtral", "mobilebert"),
    *("mobilenet_v1", "mobilenet_v2", "mobilevit", "mobilevitv2", "mpnet", "mpt", "mvp", "nystromformer", "olmo"),
    *("openai-gpt", "opt", "pegasus", "persimmon", "phi", "poolformer", "pvt", "pvt_v2", "qwen2", "qwen3", "regnet"),
    *("rembert", "resnet", "roberta", "roberta-prelayernorm", "roc_bert", "roformer", "segformer", "squeezebert"),
    *("stablelm", "starcoder2", "swiftformer", "swin", "swinv2", "t5", "vit", "vit_mae", "vit_msn", "vitdet"),
    *("xlm", "xlm-roberta", "xlnet", "yolos", "yoso"),
)


class Hidden(nn.Module):
    """The last hidden state alone, out of what a model returns.

    Args:
        model: any of transformers.
        twice: whether the text is its decoder's input, too.

    """

    def __init__(self, model: nn.Module, *, twice: bool) -> None:
        super().__init__()
        self.model = model
        self.twice = twice

    def forward(self, x: Tensor) -> Any:
        """Return the hidden state ``[N, ...]``."""
        name = self.model.main_input_name
        more = {"decoder_input_ids": x} if self.twice else {}
        return self.model(**{str(name): x}, **more)[0]


def names() -> list[str]:
    """Return the types of model that are tried."""
    return sorted(TYPES)


def build(name: str, side: int | None) -> Subject:
    """Return a small model of a type.

    Args:
        name: the type, such as ``bert``.
        side: of images; 32 by default.

    """
    config = AutoConfig.for_model(name)
    stages = any(hasattr(config, key) for key in ("hidden_sizes", "depths", "num_stages", "stages"))
    by_stage = ("patch_size", *WIDTHS, *LAYERS) if stages else ()  # which go with the numbers of each stage
    for key, value in SMALL.items():
        found = getattr(config, key, None)
        given = isinstance(found, int) or (key == "vocab_size" and hasattr(config, key))  # which some leave open
        if given and key not in by_stage:
            with suppress(AttributeError, NotImplementedError):  # some of them follow from others
                setattr(config, key, side if key == "image_size" and side else value)
    if isinstance(getattr(config, "image_size", None), list | tuple):
        config.image_size = [side or SIDE] * 2
    for key in ("depths", "num_blocks", "layers_per_stage"):
        if isinstance(getattr(config, key, None), list | tuple):
            setattr(config, key, [1] * len(getattr(config, key)))
    config.pad_token_id = 0  # which no text has
    torch.manual_seed(SEED)
    model = AutoModel.from_config(config)
    text = "pixel" not in model.main_input_name
    inputs = _texts() if text else images(side or SIDE, getattr(config, "num_channels", 3))
    module = Hidden(model, twice=text and bool(config.is_encoder_decoder))
    return Subject(disturb(module), (inputs,), LENGTH if text else side or SIDE)


def _texts() -> np.ndarray:
    return np.random.default_rng(SEED).integers(3, WORDS, (EXAMPLES, LENGTH))
