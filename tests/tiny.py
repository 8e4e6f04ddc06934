"""A tiny, untrained Stable Diffusion pipeline of real classes, written as a diffusers folder in half a second."""

import json
import string
from pathlib import Path

WORDS = ["a", "an", "the", "of", "at", "in", "on", "rose", "heart", "leaf", "fish", "plum", "king", "queen", "bob"]
WORDS += ["alice", "blue", "red", "green", "yellow", "photo", "painting", "night", "beach", "garden", "no"]


def build(folder, *, manifest=True, seed=0, prediction_type="epsilon"):
    """Write the pipeline: 32 x 32 pictures, latents of 8 x 8 x 8, text of 16 tokens x 32. Returns the folder."""
    from holdfast.compat import ensure_torchvision

    ensure_torchvision()
    import torch
    from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    folder = Path(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokenizer = _tokenizer(folder)
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=16,
                projection_dim=32,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        unet = UNet2DConditionModel(
            sample_size=8,
            in_channels=8,
            out_channels=8,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            block_out_channels=(16, 32),
            layers_per_block=1,
            norm_num_groups=8,
            attention_head_dim=2,
            cross_attention_dim=32,
        )
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(8, 8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            latent_channels=8,
            sample_size=32,
            scaling_factor=0.5,
        )
        # Token embeddings start at .02 and would leave all texts nearly alike; prompts must matter in the tests.
        text_encoder.get_input_embeddings().weight.data.mul_(50)
    pipe = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DPMSolverMultistepScheduler(
            beta_schedule="scaled_linear",
            beta_start=0.00085,
            beta_end=0.012,
            steps_offset=1,
            prediction_type=prediction_type,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.save_pretrained(folder, safe_serialization=True)
    if manifest:
        from holdfast import hub

        hub.write_manifest(folder, repo="tests/tiny", revision=str(seed))
    return folder


def _tokenizer(folder):
    """A CLIP tokenizer with a token for every word above and for every letter, so that any text can be read."""
    from transformers import CLIPTokenizer

    characters = list(string.ascii_lowercase + string.digits + string.punctuation)
    pieces = characters + [f"{character}</w>" for character in characters]
    merges = []
    for word in WORDS:
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            pair = f"{parts[0]} {parts[1]}"
            if pair not in merges:
                merges.append(pair)
            parts[:2] = [parts[0] + parts[1]]
            if parts[0] not in pieces:
                pieces.append(parts[0])
    vocabulary = {piece: number for number, piece in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}
    source = folder / "tokenizer"
    source.mkdir(parents=True, exist_ok=True)
    (source / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (source / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    return CLIPTokenizer.from_pretrained(source, model_max_length=16)
