"""Seconds per training step: the tuners against the loop of diffusers' example scripts, and DoRA against peft's."""

import copy
import json
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.timing import median_and_range

PICTURES, BATCH_SIZE, RANK, STEPS = 24, 8, 4, 6
LEARNING_RATE = 1e-4
ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]


def run(model_dir, repeats):
    """Markdown section with the milliseconds that one optimiser step takes in five ways of training an adapter."""
    from holdfast import families
    from holdfast.tuners import TUNERS
    from holdfast.tuners.cache import Cache

    pipe, cache = families.load(model_dir), Cache()
    with tempfile.TemporaryDirectory() as folder:
        pictures = _corpus(Path(folder), families.kind_of(pipe).latent_shape(pipe)[-1] * pipe.vae_scale_factor)
        options = {"seed": 0, "steps": STEPS, "batch_size": BATCH_SIZE, "learning_rate": LEARNING_RATE, "cache": cache}

        def tuner(name):
            return lambda done: TUNERS[name](pipe, folder, rank=RANK, alpha=RANK, progress=done, **options)

        contestants = {
            "plain loop: VAE, text encoder and peft's LoRA in the step": _loop(pipe, pictures, cached=False),
            "the same with latents and text cached": _loop(pipe, pictures, cached=True),
            "the same with peft's DoRA (`use_dora`)": _loop(pipe, pictures, cached=True, use_dora=True),
            "`holdfast.tuners`, LoRA": tuner("lora"),
            "`holdfast.tuners`, DoRA": tuner("dora"),
        }
        seconds = {name: [] for name in contestants}
        for _ in range(repeats):
            for name, contestant in contestants.items():
                seconds[name] += _step_seconds(contestant)
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    plain, lora_of_peft, dora_of_peft, lora, dora = middle.values()
    rows = [
        f"| {name} | {median_and_range([1e3 * value for value in seconds[name]])} | {plain / middle[name]:.2f} |"
        for name in contestants
    ]
    return "\n".join(
        [
            "## Tuning",
            "",
            f"One optimiser step on the attention of `{model_dir}`'s UNet: batch {BATCH_SIZE}, rank {RANK}, float32, "
            f"AdamW, gradients clipped. Milliseconds of wall time, median of {repeats} interleaved rounds of "
            f"{STEPS - 1} steps (least-most).",
            "",
            "| way | ms a step | times faster than the plain loop |",
            "|---|---|---|",
            *rows,
            "",
            f"A DoRA step takes {dora / lora:.2f} times a LoRA step here, and {dora_of_peft / lora_of_peft:.2f} times "
            "in peft.",
            "",
        ]
    )


def _step_seconds(contestant):
    """Seconds of each step of a run but the first, which comes after all that is done once."""
    stamps = []
    contestant(lambda n: stamps.append(time.perf_counter()))
    return [after - before for before, after in zip(stamps, stamps[1:], strict=False)]


def _corpus(folder, size):
    """Pictures of noise with captions, written as a corpus; returned as a tensor [n, 3, H, W] in -1..1."""
    import numpy as np
    import torch
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (PICTURES, size, size, 3), dtype=np.uint8)
    for number, picture in enumerate(pixels):
        Image.fromarray(picture).save(folder / f"{number}.png")
    lines = [json.dumps({"file_name": f"{number}.png", "text": "a photo of a mug"}) for number in range(PICTURES)]
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    return torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1


def _loop(pipe, pictures, cached, use_dora=False):
    """The training loop of `train_text_to_image_lora.py`, without its files, logs and checkpoints."""

    def contestant(done):
        import torch
        from accelerate import Accelerator
        from diffusers import DDPMScheduler
        from peft import LoraConfig, inject_adapter_in_model

        accelerator = Accelerator(cpu=True)
        scheduler = DDPMScheduler.from_config(pipe.scheduler.config)
        config = LoraConfig(
            r=RANK, lora_alpha=RANK, target_modules=ATTENTION, init_lora_weights="gaussian", use_dora=use_dora
        )
        unet = inject_adapter_in_model(config, copy.deepcopy(pipe.unet)).train()
        trained = [parameter for parameter in unet.parameters() if parameter.requires_grad]
        optimizer = accelerator.prepare(torch.optim.AdamW(trained, lr=LEARNING_RATE, weight_decay=1e-2))

        def encode(rows):
            with torch.no_grad():
                latents = pipe.vae.encode(pictures[rows]).latent_dist.sample() * pipe.vae.config.scaling_factor
                tokens = pipe.tokenizer(
                    ["a photo of a mug"] * len(rows),
                    max_length=pipe.tokenizer.model_max_length,
                    padding="max_length",
                    truncation=True,
                    return_tensors="pt",
                )
                return latents, pipe.text_encoder(tokens.input_ids)[0]

        latents, text = encode(torch.arange(PICTURES)) if cached else (None, None)
        for _ in range(STEPS):
            rows = torch.randint(PICTURES, (BATCH_SIZE,))
            batch, states = (latents[rows], text[rows]) if cached else encode(rows)
            noise = torch.randn_like(batch)
            timesteps = torch.randint(scheduler.config.num_train_timesteps, (BATCH_SIZE,))
            prediction = unet(scheduler.add_noise(batch, noise, timesteps), timesteps, states).sample
            velocity = scheduler.config.prediction_type == "v_prediction"
            target = scheduler.get_velocity(batch, noise, timesteps) if velocity else noise
            accelerator.backward(torch.nn.functional.mse_loss(prediction, target))
            accelerator.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            done(1)

    return contestant
