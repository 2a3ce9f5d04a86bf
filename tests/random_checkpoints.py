"""Small random networks of every class that checkpoints are read of, saved as `transformers` saves them."""

import pytest
import torch

transformers = pytest.importorskip("transformers")

V, D, LONGEST = 23, 16, 12
SIZES = {"hidden_size": D, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
SPREAD = {"initializer_range": 0.5}


def bert():
    config = transformers.BertConfig(vocab_size=V, max_position_embeddings=LONGEST, **SIZES, **SPREAD)
    return transformers.BertForMaskedLM(config)


def roberta():
    config = transformers.RobertaConfig(
        vocab_size=V, max_position_embeddings=LONGEST + 2, pad_token_id=1, type_vocab_size=1, **SIZES, **SPREAD
    )
    return transformers.RobertaForMaskedLM(config)


def gpt2():
    config = transformers.GPT2Config(vocab_size=V, n_positions=LONGEST, n_embd=D, n_layer=2, n_head=2, **SPREAD)
    return transformers.GPT2LMHeadModel(config)


def bart(layers=2):
    config = transformers.BartConfig(
        vocab_size=V, max_position_embeddings=LONGEST, d_model=D, encoder_layers=2, decoder_layers=layers,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24, init_std=0.5,
        scale_embedding=True,
    )  # fmt: skip
    return transformers.BartForConditionalGeneration(config)


MODELS = {make.__name__: make for make in (bert, roberta, gpt2, bart)}


def saved(folder, name, **keys):
    torch.manual_seed(0)
    model = MODELS[name](**keys).eval()
    for parameter in model.parameters():
        if parameter.dim() == 1:  # norms and biases begin as if they were not there
            parameter.data.add_(0.3 * torch.randn_like(parameter))
    if name == "bart":
        model.final_logits_bias.copy_(torch.randn(1, V))
    model.save_pretrained(folder, safe_serialization=True)
    return model
