"""Turns the trained OpenCLIP text tower into transformers' CLIPTextModel, as Stable Diffusion carries it."""

from __future__ import annotations

import torch


def to_transformers(model, text_cfg: dict, vocabulary_size: int, projection: int):
    """The same text tower as a ``CLIPTextModel``: equal hidden states, weights copied."""
    from transformers.models.clip.configuration_clip import CLIPTextConfig
    from transformers.models.clip.modeling_clip import CLIPTextModel

    width = text_cfg["width"]
    config = CLIPTextConfig(
        vocab_size=vocabulary_size,
        hidden_size=width,
        intermediate_size=int(width * text_cfg["mlp_ratio"]),
        projection_dim=projection,
        num_hidden_layers=text_cfg["layers"],
        num_attention_heads=text_cfg["heads"],
        max_position_embeddings=text_cfg["context_length"],
        hidden_act="gelu",
        layer_norm_eps=1e-5,
        bos_token_id=vocabulary_size - 2,
        eos_token_id=vocabulary_size - 1,
        pad_token_id=vocabulary_size - 1,
    )
    encoder = CLIPTextModel(config).eval()
    encoder.load_state_dict(_renamed(model.state_dict(), text_cfg["layers"]), strict=True)
    return encoder


def _renamed(state: dict[str, torch.Tensor], layers: int) -> dict[str, torch.Tensor]:
    new = {
        "embeddings.token_embedding.weight": state["token_embedding.weight"],
        "embeddings.position_embedding.weight": state["positional_embedding"],
        "final_layer_norm.weight": state["ln_final.weight"],
        "final_layer_norm.bias": state["ln_final.bias"],
    }
    for i in range(layers):
        old, out = f"transformer.resblocks.{i}", f"encoder.layers.{i}"
        for kind in ("weight", "bias"):
            new[f"{out}.layer_norm1.{kind}"] = state[f"{old}.ln_1.{kind}"]
            new[f"{out}.layer_norm2.{kind}"] = state[f"{old}.ln_2.{kind}"]
            for name, part in zip("qkv", state[f"{old}.attn.in_proj_{kind}"].chunk(3), strict=True):
                new[f"{out}.self_attn.{name}_proj.{kind}"] = part
            new[f"{out}.self_attn.out_proj.{kind}"] = state[f"{old}.attn.out_proj.{kind}"]
            new[f"{out}.mlp.fc1.{kind}"] = state[f"{old}.mlp.c_fc.{kind}"]
            new[f"{out}.mlp.fc2.{kind}"] = state[f"{old}.mlp.c_proj.{kind}"]
    return {name: tensor.clone().contiguous() for name, tensor in new.items()}
