"""Our language model's weights in `transformers`' GPT-NeoX, which has the same block: the yardstick for logits and speed."""

from typing import Any

import torch
from torch import Tensor

from baselines.networks.language_model import LanguageModel

MLP = ("dense_h_to_4h", "dense_4h_to_h")


def as_gpt_neox(model: LanguageModel, *, positions: int = 512) -> Any:
    """A `GPTNeoXForCausalLM` with equal weights: no parallel residual, full rotary, erf GELU, biases zero."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    vocabulary, width = model.embedding.weight.shape
    heads = width // model.transformer.rotary.size
    config = GPTNeoXConfig(
        vocab_size=vocabulary, hidden_size=width, num_hidden_layers=len(model.transformer.blocks), num_attention_heads=heads,
        intermediate_size=4 * width, hidden_act="gelu", max_position_embeddings=positions, use_parallel_residual=False,
        attention_bias=False, hidden_dropout=0.0, attention_dropout=0.0, tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 1.0},
        bos_token_id=None, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    other = GPTNeoXForCausalLM(config).eval()
    found = weights(model, heads)
    zeros = [f"gpt_neox.layers.{index}.mlp.{name}.bias" for index in range(config.num_hidden_layers) for name in MLP]
    other.load_state_dict(found | {name: torch.zeros_like(other.get_parameter(name)) for name in zeros})
    return other


def weights(model: LanguageModel, heads: int) -> dict[str, Tensor]:
    """GPT-NeoX names and layouts: heads outermost in the fused projection, rotary pairs half a head apart."""
    found = {
        "gpt_neox.embed_in.weight": model.embedding.weight,
        "lm_head.weight": model.embedding.weight,
        "gpt_neox.final_layer_norm.weight": model.transformer.norm.weight,
        "gpt_neox.final_layer_norm.bias": model.transformer.norm.bias,
    }
    for index, block in enumerate(model.transformer.blocks):
        parts = {
            "input_layernorm.weight": block.norm_attention.weight,
            "input_layernorm.bias": block.norm_attention.bias,
            "post_attention_layernorm.weight": block.norm_mlp.weight,
            "post_attention_layernorm.bias": block.norm_mlp.bias,
            "attention.query_key_value.weight": fused(block.attention.qkv.weight, heads),
            "attention.dense.weight": block.attention.out.weight,
            "mlp.dense_h_to_4h.weight": block.mlp.up.weight,
            "mlp.dense_4h_to_h.weight": block.mlp.down.weight,
        }
        found |= {f"gpt_neox.layers.{index}.{name}": tensor for name, tensor in parts.items()}
    return {name: tensor.detach().clone() for name, tensor in found.items()}


def fused(weight: Tensor, heads: int) -> Tensor:
    """Rows (3, H, E/2, 2) to rows (H, 3, E) with the pairs' first members before their second in queries and keys."""
    query_key, value = weight.view(3, heads, -1, 2, weight.shape[1]).split([2, 1])
    halves = query_key.transpose(2, 3).flatten(2, 3)
    return torch.cat([halves, value.flatten(2, 3)]).transpose(0, 1).reshape(weight.shape)
