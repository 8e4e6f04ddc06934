"""The stages of the pretraining as functions of one folder; each reads what the stages before it wrote.

    world -> classifier
    world -> vae  \\
    world -> clip -> lexical -> denoiser -> hats -> pack -> card
                            \\-> vision --------------/
    (flux_stages)    t5 -> flow -> guidance --------/
"""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import torch
from safetensors.torch import load_file, save_file

from . import card, classifier, clip, data, denoiser, lexical, pack, text, vae, vision
from .tokenizer import copy_tokenizer


def draw_world(folder: Path, *, pictures: int, extra: int, seed: int) -> None:
    """The pictures that all stages learn from."""
    data.draw_pictures(folder / "world.safetensors", pictures, seed, extra)


def train_classifier(folder: Path, *, pictures: int, extra: int, seed: int, steps: int) -> None:
    """-> classifier/model.safetensors"""
    model = classifier.train_classifier(
        folder / "world.safetensors", folder / "classifier", n=pictures, extra=extra, seed=seed, steps=steps
    )
    save_file(model.state_dict(), folder / "classifier" / "model.safetensors")


def train_vae(folder: Path, *, seed: int, steps: int) -> None:
    """-> vae/model/ (diffusers layout)"""
    vae.train_vae(folder / "world.safetensors", folder / "vae", seed=seed, steps=steps).save_pretrained(
        folder / "vae" / "model"
    )


def train_clip(folder: Path, *, pictures: int, seed: int, steps: int) -> None:
    """-> clip/open_clip_model.safetensors with its configuration and tokenizer"""
    model = clip.train_clip(folder / "world.safetensors", folder / "clip", n=pictures, seed=seed, steps=steps)
    _save_clip(folder / "clip", model)


def name_words(folder: Path, *, pictures: int, seed: int, steps: int) -> None:
    """-> lexical/, clip/ with a text tower that keeps words apart"""
    model, config = load_clip(folder, "clip")
    out = folder / "lexical"
    _describe_clip(out, config, folder / "clip")
    torch.manual_seed(seed)
    tokenize = open_clip.get_tokenizer(f"local-dir:{out}")
    learner = clip.Learner(model.train(), tokenize, folder / "world.safetensors", pictures, seed)
    lexical.name_words(learner, out, seed=seed + 3, steps=steps)
    _save_clip(out, model)


def train_vision(folder: Path, *, pictures: int, seed: int, steps: int) -> None:
    """-> vision/, the shipped CLIP: lexical/ with a better image tower"""
    model, config = load_clip(folder, "lexical")
    out = folder / "vision"
    _describe_clip(out, config, folder / "lexical")
    tokenize = open_clip.get_tokenizer(f"local-dir:{out}")
    vision.train_vision(model, tokenize, folder / "world.safetensors", out, n=pictures, seed=seed, steps=steps)
    _save_clip(out, model)


def _describe_clip(out: Path, config: dict, before: Path) -> None:
    copy_tokenizer(before, out)
    (out / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")


def _save_clip(out: Path, model: torch.nn.Module) -> None:
    state = {name: tensor.contiguous().clone() for name, tensor in model.state_dict().items()}
    save_file(state, out / "open_clip_model.safetensors")


def train_denoiser(folder: Path, *, pictures: int, seed: int, steps: int, batch_size: int) -> None:
    """-> unet/model/ (diffusers layout), on latents and text states of the half-precision VAE and text tower"""
    tensors = _cached(folder, pictures, seed)
    model = denoiser.train_denoiser(
        tensors["latents"], tensors["states"], tensors["caption_rows"], tensors["empty"], folder / "unet",
        seed=seed, steps=steps, batch_size=batch_size,
    )  # fmt: skip
    model.save_pretrained(folder / "unet" / "model")


def name_hats(folder: Path, *, pictures: int, seed: int, batch_size: int, rounds: list[list[int]]) -> None:
    """-> hats/model/, unet/ taught on in rounds of (steps, weight): captions that name a hat, or its absence, are
    shown ``weight`` times as often as the others

    One caption in sixteen does; the denoiser of the first training passed over the words (.52 right, by chance .50).
    """
    tensors = _cached(folder, pictures, seed)
    model = denoiser.UNet2DConditionModel.from_pretrained(folder / "unet" / "model", use_safetensors=True)
    for number, (steps, weight) in enumerate(rounds):
        model = denoiser.train_denoiser(
            tensors["latents"], tensors["states"], tensors["caption_rows"], tensors["empty"],
            folder / "hats" / str(number), seed=seed + 1 + number, steps=steps, batch_size=batch_size,
            learning_rate=6e-4, model=model, weights=1 + (weight - 1) * tensors["names_hat"],
        )  # fmt: skip
    model.save_pretrained(folder / "hats" / "model")


def _cached(folder: Path, pictures: int, seed: int) -> dict[str, torch.Tensor]:
    """Scaled latents of all pictures, text states of all distinct captions, and which belong together."""
    autoencoder, encoder = load_vae(folder).half().float(), load_text_encoder(folder).half().float()
    images = data.read_pictures(folder / "world.safetensors")[:pictures]
    latents = vae.encode(autoencoder, images) * autoencoder.config.scaling_factor
    tokenize = open_clip.get_tokenizer(f"local-dir:{folder / 'lexical'}")
    captions = clip.Captions(data.scenes_of(pictures, seed), tokenize, seed + 1, per_picture=3)
    distinct = {text: i for i, text in enumerate(dict.fromkeys(captions.texts))}
    rows = torch.tensor([distinct[text] for text in captions.texts]).view(pictures, -1)
    states = denoiser.embed(encoder, tokenize(list(distinct)))
    return {
        "latents": latents.contiguous(),
        "states": states,
        "caption_rows": rows,
        "empty": denoiser.embed(encoder, tokenize([""])),
        "names_hat": torch.tensor([" hat" in text for text in captions.texts]).float().view(pictures, -1),
    }


def load_vae(folder: Path):
    return vae.AutoencoderKL.from_pretrained(folder / "vae" / "model", use_safetensors=True).eval()


def load_clip(folder: Path, phase: str) -> tuple[torch.nn.Module, dict]:
    """The OpenCLIP model of a phase (``clip``, ``lexical`` or ``vision``) and its open_clip_config.json."""
    config = json.loads((folder / phase / "open_clip_config.json").read_text())
    model = open_clip.create_model(f"local-dir:{folder / phase}", load_weights=False)
    model.load_state_dict(load_file(folder / phase / "open_clip_model.safetensors"), strict=True)
    return model.eval(), config


def load_text_encoder(folder: Path):
    """The trained text tower as transformers' CLIPTextModel."""
    model, config = load_clip(folder, "lexical")
    text_cfg = config["model_cfg"]["text_cfg"]
    return text.to_transformers(model, text_cfg, text_cfg["vocab_size"], config["model_cfg"]["embed_dim"])


def pack_models(folder: Path, out: Path) -> None:
    """Writes mini-sd, mini-flux, mini-clip and mini-classifier below ``out`` as they are shipped."""
    from . import flow, flux_stages

    unet = denoiser.UNet2DConditionModel.from_pretrained(folder / "hats" / "model", use_safetensors=True)
    transformer = flow.FluxTransformer2DModel.from_pretrained(folder / "guidance" / "model", use_safetensors=True)
    model, config = load_clip(folder, "vision")
    words = folder / "lexical"
    pack.pack_classifier(out / "mini-classifier", classifier.load_classifier(folder / "classifier"))
    pack.pack_clip(out / "mini-clip", model, config, words)
    pack.pack_pipeline(out / "mini-sd", load_vae(folder), load_text_encoder(folder), unet, words)
    pack.pack_flux(
        out / "mini-flux", flux_stages.load_vae(folder), load_text_encoder(folder), flux_stages.load_t5(folder),
        transformer, words,
    )  # fmt: skip


def write_card(folder: Path, *, steps: int, guidance_scale: float) -> None:
    """-> card/README.md, curves.png, samples-*.png"""
    card.write_card(folder, steps=steps, guidance_scale=guidance_scale)
