"""Stable Diffusion 1.x and models of its shape: UNet2DConditionModel + CLIPTextModel + AutoencoderKL.

Diffusers and torch are imported inside the functions, so that naming a family costs nothing.
"""

from holdfast.compat import ensure_torchvision, fast_imports, quiet_loading
from holdfast.errors import HoldfastError

PIPELINE = "StableDiffusionPipeline"

# site of a tuner or editor -> component of the pipeline
SITES = {"denoiser": "unet", "text_encoder": "text_encoder"}


def load(model_dir, device="cpu", dtype=None):
    """The pipeline in `model_dir`, in evaluation mode and without gradients; see `families.load`."""
    with fast_imports():
        ensure_torchvision()
        import torch
        from diffusers import StableDiffusionPipeline

    try:
        with quiet_loading():
            pipe = StableDiffusionPipeline.from_pretrained(
                model_dir,
                dtype=dtype or torch.float32,
                use_safetensors=True,
                local_files_only=True,
                safety_checker=None,
                feature_extractor=None,
                image_encoder=None,
                requires_safety_checker=False,
            )
    except (OSError, ValueError) as error:
        raise HoldfastError(
            f"{model_dir} can't be loaded as Stable Diffusion ({error}); delete it and run `snakemake download`."
        ) from error
    pipe.set_progress_bar_config(disable=True)
    for module in (pipe.unet, pipe.text_encoder, pipe.vae):
        module.eval().requires_grad_(False)
    return pipe.to(device)


def latent_shape(pipe):
    """(C, h, w) of one latent."""
    size = pipe.unet.config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    return pipe.unet.config.in_channels, height, width


def encode_prompts(pipe, prompts):
    """Text conditioning of prompts: {"prompt_embeds": [n, tokens, d]}, CLIP's hidden states after its last norm.

    A loaded pipeline takes no gradients, so no graph is built; where a tuner trains the text encoder, it is.
    """
    embeds, _ = pipe.encode_prompt(list(prompts), pipe.device, 1, do_classifier_free_guidance=False)
    return {"prompt_embeds": embeds}


def encode_empty(pipe):
    """Conditioning of the unconditional pass of guidance: `encode_prompts` of one empty prompt."""
    return encode_prompts(pipe, [""])


def denoise(pipe, noise, cond, empty, steps, guidance_scale):
    """Latents [n, C, h, w] from noise of the same shape, by the pipeline's own scheduler and loop.

    Args:
        cond: entries of `encode_prompts`, one row for each picture.
        empty: of `encode_empty`, one row; unused (may be None) at guidance_scale 1.
        guidance_scale: of classifier-free guidance (Ho and Salimans 2022); at 1 the unconditional pass is skipped.
    """
    embeds = cond["prompt_embeds"]
    negative = empty["prompt_embeds"].expand_as(embeds) if guidance_scale > 1 else None
    height, width = (side * pipe.vae_scale_factor for side in noise.shape[-2:])
    return pipe(
        prompt_embeds=embeds,
        negative_prompt_embeds=negative,
        latents=noise.to(pipe.device, embeds.dtype),
        num_inference_steps=steps,
        guidance_scale=guidance_scale,
        height=height,
        width=width,
        output_type="latent",
    ).images


def site_module(pipe, site):
    """The component that a site names: `denoiser` (UNet) or `text_encoder`."""
    if site not in SITES:
        raise HoldfastError(f"There is no site {site!r} in Stable Diffusion; choose one of {', '.join(SITES)}.")
    return getattr(pipe, SITES[site])


def cross_attention_projections(pipe):
    """Every linear layer that reads the text: module path (`unet. ... .attn2.to_k` or `.to_v`) -> Linear."""
    return {
        f"unet.{name}": module
        for name, module in pipe.unet.named_modules()
        if name.endswith(("attn2.to_k", "attn2.to_v"))
    }


def add_noise(pipe, latents, noise, timesteps):
    """Diffused latents `sqrt(abar_t) x0 + sqrt(1 - abar_t) eps` (Ho et al. 2020, eq. 4); timesteps [n], int64."""
    signal, sigma = _schedule(pipe, latents, timesteps)
    return signal * latents + sigma * noise


def training_targets(pipe, latents, noise, timesteps):
    """What the UNet learns to predict at `timesteps`, as the scheduler's prediction_type says.

    `epsilon`: the noise; `v_prediction`: `sqrt(abar_t) eps - sqrt(1 - abar_t) x0` (Salimans and Ho 2022, section 4);
    `sample`: the latents.
    """
    prediction_type = pipe.scheduler.config.prediction_type
    if prediction_type == "epsilon":
        return noise
    if prediction_type == "sample":
        return latents
    if prediction_type == "v_prediction":
        signal, sigma = _schedule(pipe, latents, timesteps)
        return signal * noise - sigma * latents
    raise HoldfastError(f"The scheduler's prediction_type {prediction_type!r} has no training target in Holdfast.")


def predict(pipe, latents, timesteps, cond):
    """The UNet's prediction for noisy latents [n, C, h, w] at timesteps [n], given entries of `encode_prompts`."""
    return pipe.unet(latents, timesteps, encoder_hidden_states=cond["prompt_embeds"], return_dict=False)[0]


def _schedule(pipe, latents, timesteps):
    """sqrt(abar_t) and sqrt(1 - abar_t), shaped to multiply latents [n, C, h, w]."""
    alphas_cumprod = pipe.scheduler.alphas_cumprod.to(latents.device, latents.dtype)[timesteps]
    alphas_cumprod = alphas_cumprod.reshape(-1, *[1] * (latents.dim() - 1))
    return alphas_cumprod.sqrt(), (1 - alphas_cumprod).sqrt()
