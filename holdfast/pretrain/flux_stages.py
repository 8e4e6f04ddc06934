"""mini-flux's stages of the pretraining, as `stages`: world, vae and lexical -> t5 -> flow -> guidance."""

from __future__ import annotations

from pathlib import Path

import open_clip
import torch
from safetensors.torch import load_file, save_file

from . import data, denoiser, flow, stages, t5, vae
from .words import t5_tokenizer

PER_PICTURE = 3


def train_t5(folder: Path, *, pictures: int, seed: int, steps: int) -> None:
    """-> t5/model/ (transformers layout)"""
    captions = t5.captions_of(pictures, seed, PER_PICTURE)
    t5.train_t5(captions, folder / "t5", seed=seed, steps=steps).save_pretrained(folder / "t5" / "model")


def train_flow(folder: Path, *, pictures: int, seed: int, steps: int, batch_size: int, hat_weight: float) -> None:
    """-> flow/model/ (diffusers layout), on latents and texts of the half-precision encoders"""
    cache = folder / "flow" / "cache.safetensors"
    cache.parent.mkdir(parents=True, exist_ok=True)
    save_file(_encode(folder, pictures, seed), cache)
    latents, texts, rows, hats = _read(folder)
    model = flow.train_flow(
        latents, texts, rows, 1 + (hat_weight - 1) * hats, folder / "flow", seed=seed, steps=steps,
        batch_size=batch_size,
    )  # fmt: skip
    model.save_pretrained(folder / "flow" / "model")


def distil_guidance(folder: Path, *, seed: int, steps: int, batch_size: int, hat_weight: float) -> None:
    """-> guidance/model/, flow/ with its guidance in the embedding, on what flow/ learned from"""
    latents, texts, rows, hats = _read(folder)
    teacher = flow.FluxTransformer2DModel.from_pretrained(folder / "flow" / "model", use_safetensors=True)
    model = flow.distil_guidance(
        teacher, latents, texts, rows, 1 + (hat_weight - 1) * hats, folder / "guidance", seed=seed + 2, steps=steps,
        batch_size=batch_size,
    )  # fmt: skip
    model.save_pretrained(folder / "guidance" / "model")


def load_t5(folder: Path):
    from transformers import T5EncoderModel

    return T5EncoderModel.from_pretrained(folder / "t5" / "model", use_safetensors=True).eval()


def load_vae(folder: Path):
    """mini-sd's autoencoder with FLUX's shift: the mean of its latents."""
    autoencoder = stages.load_vae(folder)
    shift = load_file(folder / "flow" / "cache.safetensors")["shift"]
    autoencoder.register_to_config(shift_factor=round(float(shift), 4))
    return autoencoder


def _read(folder: Path) -> tuple:
    """Shifted and scaled latents, `flow.Texts`, caption rows [N, K], and which captions name a hat [N, K]."""
    tensors = load_file(folder / "flow" / "cache.safetensors")
    texts = flow.Texts(tensors["states"], tensors["pooled"])
    return tensors["latents"], texts, tensors["caption_rows"], tensors["names_hat"]


@torch.no_grad()
def _encode(folder: Path, pictures: int, seed: int) -> dict[str, torch.Tensor]:
    autoencoder = stages.load_vae(folder).half().float()
    clip, encoder = stages.load_text_encoder(folder).half().float(), load_t5(folder).half().float()
    images = data.read_pictures(folder / "world.safetensors")[:pictures]
    latents = vae.encode(autoencoder, images)
    shift = latents.mean()
    texts = [caption.text for caption in t5.captions_of(pictures, seed, PER_PICTURE)]
    distinct = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    every = [*distinct, ""]
    tokenize = open_clip.get_tokenizer(f"local-dir:{folder / 'lexical'}")
    pooled = [clip(part).pooler_output.half() for part in tokenize(every).split(256)]
    return {
        "shift": shift.reshape(1),
        "latents": ((latents - round(float(shift), 4)) * autoencoder.config.scaling_factor).contiguous(),
        "states": denoiser.embed(encoder, t5.tokenize(t5_tokenizer(), every)),
        "pooled": torch.cat(pooled),
        "caption_rows": torch.tensor([distinct[text] for text in texts]).view(pictures, -1),
        "names_hat": torch.tensor([" hat" in text for text in texts]).float().view(pictures, -1),
    }
