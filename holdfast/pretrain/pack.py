"""Writes trained networks as the folders that are shipped: half precision, safetensors, a manifest each."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from ..hub import forget_origins, write_manifest
from .classifier import HEADS
from .denoiser import SCHEDULE
from .flow import SCHEDULE as FLOW_SCHEDULE
from .tokenizer import CONTEXT_LENGTH, copy_tokenizer
from .words import t5_tokenizer


def pack_pipeline(folder: Path, vae, text_encoder, unet, words: Path) -> None:
    """``folder`` becomes a Stable Diffusion pipeline in diffusers' layout; ``words`` has CLIP's tokenizer."""
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
    from transformers.models.clip.tokenization_clip import CLIPTokenizer

    pipe = StableDiffusionPipeline(
        vae=vae.half(),
        text_encoder=text_encoder.half(),
        tokenizer=CLIPTokenizer.from_pretrained(words),
        unet=unet.half(),
        scheduler=DPMSolverMultistepScheduler(
            **SCHEDULE, algorithm_type="dpmsolver++", solver_order=2, timestep_spacing="trailing"
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.tokenizer.model_max_length = CONTEXT_LENGTH
    pipe.save_pretrained(folder, safe_serialization=True)
    _ship(folder, "mini-sd")


def pack_flux(folder: Path, vae, text_encoder, t5, transformer, words: Path) -> None:
    """``folder`` becomes a FLUX pipeline in diffusers' layout; ``words`` has CLIP's tokenizer."""
    from diffusers.pipelines.flux.pipeline_flux import FluxPipeline
    from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
    from transformers.models.clip.tokenization_clip import CLIPTokenizer

    pipe = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(**FLOW_SCHEDULE),
        vae=vae.half(),
        text_encoder=text_encoder.half(),
        tokenizer=CLIPTokenizer.from_pretrained(words),
        text_encoder_2=t5.half(),
        tokenizer_2=t5_tokenizer(),
        transformer=transformer.half(),
    )
    pipe.tokenizer.model_max_length = CONTEXT_LENGTH
    pipe.save_pretrained(folder, safe_serialization=True)
    _ship(folder, "mini-flux")


def _ship(folder: Path, name: str) -> None:
    forget_origins(folder)
    write_manifest(folder, f"holdfast/{name}", "shipped")


def pack_clip(folder: Path, model, config: dict, words: Path) -> None:
    """``folder`` becomes an open_clip local directory; ``words`` has its tokenizer."""
    copy_tokenizer(words, folder)
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")
    _save(folder / "open_clip_model.safetensors", model)
    write_manifest(folder, "holdfast/mini-clip", "shipped")


def pack_classifier(folder: Path, model) -> None:
    """``folder`` becomes an attribute classifier: config.json (heads) and model.safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"heads": HEADS}, indent=2) + "\n")
    _save(folder / "model.safetensors", model)
    write_manifest(folder, "holdfast/mini-classifier", "shipped")


def _save(path: Path, model: torch.nn.Module) -> None:
    save_file({name: t.detach().half().contiguous().clone() for name, t in model.state_dict().items()}, path)
