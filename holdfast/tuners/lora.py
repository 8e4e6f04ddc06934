"""Low-rank adaptation of a diffusion model's attention (Hu et al. 2021, arXiv 2106.09685).

Equal in method to `examples/text_to_image/train_text_to_image_lora.py` and `examples/dreambooth/
train_dreambooth_lora_flux.py` of diffusers: query, key, value and output projections of every attention layer (the
FLUX script adapts feed-forward layers besides; name them in `targets`) get `W' x = W x + alpha / rank * up (down x)`
(eq. 3), down drawn from N(0, 1/rank^2) and up zero at the start.
"""

from holdfast.tuners import training

VERSION = 2


def tune(
    pipe,
    corpus_dir,
    *,
    seed,
    steps=500,
    batch_size=4,
    learning_rate=1e-4,
    rank=4,
    alpha=4,
    targets=None,
    **options,
):
    """Train a LoRA on a corpus and return its factors; the pipeline is left as it was, bit for bit.

    Args:
        pipe, corpus_dir, seed, steps, batch_size, learning_rate: see `training.run`.
        rank, alpha: the update is `alpha / rank * up @ down`; alpha belongs in the header of whatever is saved.
        targets: names of the linear layers to adapt, or ends of their paths; None for `adapters.ATTENTION`.
        options: `site`, `snapshots`, `caption_dropout` and the other keywords of `training.run`.

    Returns:
        {step: {"{module path}.down": [rank, in], "{module path}.up": [out, rank]}}, float32 on the CPU; a module path
        begins with the pipeline's component (`unet. ... .attn1.to_q`).

    Raises:
        HoldfastError: a broken corpus, an unknown site or target, snapshots that don't fit, or a loss that is NaN.
    """
    from holdfast.tuners import adapters

    own = {"rank": rank, "alpha": alpha, "targets": targets}
    return training.run(
        pipe,
        corpus_dir,
        lambda modules: adapters.attached(modules, seed=seed, **own),
        method={"name": "lora", "version": VERSION, **own},
        seed=seed,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        **options,
    )
