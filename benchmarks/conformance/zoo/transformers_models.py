"""transformers: small configurations of its models, on token ids or on series."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from benchmarks.conformance.zoo import Case

WORDS, STEPS, WIDTH = 19, 6, 8
SMALL = {
    "vocab_size": WORDS,
    "hidden_size": WIDTH,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 32,
}


def ids() -> torch.Tensor:
    return torch.randint(3, WORDS, (2, STEPS))


def language(model: str, config: str, masked: bool = False, **options: Any) -> tuple[nn.Module, Any]:
    """A model on token ids, with an attention mask where ``masked``; weights large enough for something to happen."""
    import transformers

    settings = getattr(transformers, config)(**options)
    settings.use_cache = False
    built = widened(getattr(transformers, model)(settings))
    inputs = {"input_ids": ids()}
    if masked:
        inputs["attention_mask"] = torch.tensor([[1] * STEPS, [1] * (STEPS - 2) + [0] * 2])
    return built, inputs


def widened(model: nn.Module) -> nn.Module:
    """Initial weights of transformers are 0.02 wide."""
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.mul_(10)
    return model


def series(model: str, config: str, **options: Any) -> tuple[nn.Module, Any]:
    """A model of numbers: (sample, time, channel)."""
    import transformers

    settings = getattr(transformers, config)(context_length=16, prediction_length=4, num_input_channels=2, **options)
    return getattr(transformers, model)(settings), {"past_values": torch.randn(2, 16, 2)}


def probabilistic(model: str, config: str, **options: Any) -> tuple[nn.Module, Any]:
    """A forecasting encoder and decoder with lags and time features."""
    import transformers

    settings = getattr(transformers, config)(
        context_length=12, prediction_length=3, lags_sequence=[1, 2], num_time_features=1, **options
    )
    past = {"past_values": torch.randn(2, 14), "past_time_features": torch.randn(2, 14, 1)}
    future = {"future_values": torch.randn(2, 3), "future_time_features": torch.randn(2, 3, 1)}
    built = getattr(transformers, model)(settings)
    return built, {**past, "past_observed_mask": torch.ones(2, 14, dtype=torch.bool), **future}


def speech() -> tuple[nn.Module, Any]:
    import transformers

    config = transformers.Wav2Vec2Config(
        **{name: value for name, value in SMALL.items() if name != "max_position_embeddings"},
        conv_dim=(4, 4),
        conv_stride=(2, 2),
        conv_kernel=(3, 3),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    )
    return transformers.Wav2Vec2Model(config), {"input_values": torch.randn(2, 64)}


def case(name: str, model: str, config: str, masked: bool = False, **options: Any) -> Case:
    return Case(f"transformers {name}", lambda: language(model, config, masked, **options))


ENCODERS = {"d_model": WIDTH, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2} | {
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
}
GPT = {"vocab_size": WORDS, "n_embd": WIDTH, "n_layer": 1, "n_head": 2, "n_positions": 32}
LLAMA = {**SMALL, "num_key_value_heads": 1}
STATE = {"vocab_size": WORDS, "hidden_size": WIDTH, "num_hidden_layers": 1, "state_size": 4, "expand": 2}
RWKV = {"vocab_size": WORDS, "hidden_size": WIDTH, "num_hidden_layers": 2, "context_length": 16}

CASES = (
    case("BERT", "BertModel", "BertConfig", **SMALL),
    case("BERT with a mask", "BertForSequenceClassification", "BertConfig", masked=True, **SMALL),
    case(
        "DistilBERT",
        "DistilBertModel",
        "DistilBertConfig",
        vocab_size=WORDS,
        dim=8,
        n_layers=1,
        n_heads=2,
        hidden_dim=16,
    ),
    case("GPT-2", "GPT2LMHeadModel", "GPT2Config", **GPT),
    case("GPT-2 with a mask", "GPT2LMHeadModel", "GPT2Config", masked=True, **GPT),
    case("Llama", "LlamaForCausalLM", "LlamaConfig", **LLAMA),
    case("Mistral", "MistralForCausalLM", "MistralConfig", **LLAMA),
    case(
        "T5 encoder",
        "T5EncoderModel",
        "T5Config",
        vocab_size=WORDS,
        d_model=8,
        d_kv=4,
        d_ff=16,
        num_layers=1,
        num_heads=2,
    ),
    case("Mamba", "MambaForCausalLM", "MambaConfig", **STATE),
    case(
        "Mamba-2",
        "Mamba2ForCausalLM",
        "Mamba2Config",
        vocab_size=WORDS,
        hidden_size=8,
        num_hidden_layers=1,
        state_size=4,
        expand=2,
        head_dim=8,
        num_heads=2,
        n_groups=1,
        chunk_size=4,
    ),
    case(
        "RecurrentGemma",
        "RecurrentGemmaForCausalLM",
        "RecurrentGemmaConfig",
        vocab_size=WORDS,
        hidden_size=8,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=16,
        lru_width=8,
        attention_window_size=4,
    ),
    case("RWKV", "RwkvForCausalLM", "RwkvConfig", **RWKV, rescale_every=0),
    case("RWKV, which divides its weights", "RwkvForCausalLM", "RwkvConfig", **RWKV, rescale_every=1),
    case(
        "xLSTM",
        "xLSTMForCausalLM",
        "xLSTMConfig",
        vocab_size=WORDS,
        hidden_size=8,
        embedding_dim=8,
        num_heads=2,
        num_blocks=1,
        num_hidden_layers=1,
        chunkwise_kernel="chunkwise--native_autograd",
        sequence_kernel="native_sequence__native",
        step_kernel="native",
    ),
    Case("transformers Wav2Vec2", speech),
    Case(
        "transformers PatchTST",
        lambda: series(
            "PatchTSTForPrediction",
            "PatchTSTConfig",
            d_model=8,
            num_attention_heads=2,
            num_hidden_layers=1,
            ffn_dim=16,
            patch_length=4,
            patch_stride=2,
        ),
    ),
    Case(
        "transformers PatchTSMixer",
        lambda: series(
            "PatchTSMixerForPrediction", "PatchTSMixerConfig", d_model=8, num_layers=1, patch_length=4, patch_stride=4
        ),
    ),
    Case(
        "transformers TimeSeriesTransformer",
        lambda: probabilistic("TimeSeriesTransformerModel", "TimeSeriesTransformerConfig", **ENCODERS),
    ),
    Case("transformers Informer", lambda: probabilistic("InformerModel", "InformerConfig", **ENCODERS)),
    Case("transformers Autoformer", lambda: probabilistic("AutoformerModel", "AutoformerConfig", **ENCODERS)),
)
