"""What loading a pipeline has in common in every family."""

from types import SimpleNamespace

from holdfast.compat import ensure_torchvision, fast_imports, quiet_loading
from holdfast.errors import HoldfastError


def load_pipeline(cls, model_dir, components, *, device, dtype, absent):
    """A diffusers pipeline of class `cls` from a local folder, in evaluation mode and without gradients.

    Args:
        components: names of the pipeline's networks.
        device, dtype: see `families.load`.
        absent: components that are left out, with what `from_pretrained` wants to hear about it.
    """
    import torch

    try:
        with quiet_loading():
            pipe = cls.from_pretrained(
                model_dir, dtype=dtype or torch.float32, use_safetensors=True, local_files_only=True, **absent
            )
    except (OSError, ValueError) as error:
        raise HoldfastError(
            f"{model_dir} can't be loaded as a {cls.__name__} ({error}); delete it and run `snakemake download`."
        ) from error
    pipe.set_progress_bar_config(disable=True)
    for name in components:
        getattr(pipe, name).eval().requires_grad_(False)
    return pipe.to(device)


def load_decoder(model_dir, device):
    """The autoencoder of a diffusers folder, float32, with the image processor of its pipeline."""
    with fast_imports():
        ensure_torchvision()
        import torch
        from diffusers.image_processor import VaeImageProcessor
        from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    try:
        with quiet_loading():
            vae = AutoencoderKL.from_pretrained(
                model_dir, subfolder="vae", torch_dtype=torch.float32, use_safetensors=True, local_files_only=True
            )
    except (OSError, ValueError) as error:
        raise HoldfastError(
            f"{model_dir}/vae can't be loaded as an autoencoder ({error}); delete {model_dir} and run "
            "`snakemake download`."
        ) from error
    vae.eval().requires_grad_(False)
    return SimpleNamespace(vae=vae.to(device), image_processor=VaeImageProcessor(), device=device)


def modules_at(pipe, sites, site):
    """The networks that a site names: component of the pipeline -> module; HoldfastError for an unknown site."""
    if site not in sites:
        raise HoldfastError(f"There is no site {site!r} in a {type(pipe).__name__}; choose one of {', '.join(sites)}.")
    return {component: getattr(pipe, component) for component in sites[site]}


def feed_forward_path(pipe, pattern, encoder, layer):
    """`pattern` with its layer, checked: the module path of a text encoder's feed-forward output projection."""
    layers = pipe.components[pattern.partition(".")[0]].config.num_hidden_layers
    if not 0 <= layer < layers:
        raise HoldfastError(
            f"The text encoder {encoder!r} has layers 0 to {layers - 1} and no layer {layer}; choose one of them."
        )
    return pattern.format(layer=layer)


def last_position(tokenizer, text, beginning, before):
    """Position of the last content token of a text's beginning in the encoded text.

    Args:
        tokenizer: of the text encoder; it puts `before` special tokens before the content and one behind it.
        text: the whole text.
        beginning: what `text` begins with, up to the end of the concept.
        before: 1 for CLIP (BOS), 0 for T5.

    Returns:
        `before - 1` for an empty beginning: BOS in CLIP, -1 in T5, which has no token there.

    Raises:
        HoldfastError: the beginning ends inside a token of the text, or the text is too long to be read whole.
    """
    content = tokenizer(text, add_special_tokens=False)["input_ids"]
    start = tokenizer(beginning, add_special_tokens=False)["input_ids"]
    if content[: len(start)] != start:
        raise HoldfastError(f"In {text!r} the concept ends inside a token; put blanks around the template's {{}}.")
    longest = tokenizer.model_max_length - before - 1
    if len(content) > longest:
        raise HoldfastError(f"{text!r} has {len(content)} tokens, the text encoder reads {longest}; shorten it.")
    return before + len(start) - 1
