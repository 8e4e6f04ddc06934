"""Weight-decomposed low-rank adaptation of a diffusion model's attention (Liu et al. 2024, arXiv 2402.09353).

`W' = m (W + s up @ down) / |W + s up @ down|`, row by row, with s = alpha / rank (eq. 5) and the norm a constant for
the gradient (section 4.3): LoRA for the rows' directions, and for each row a magnitude m of its own that starts at the
row's norm. Everything else is as in `lora`, and as peft's `use_dora`.
"""

from holdfast.tuners import training

VERSION = 1


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
    """Train a DoRA on a corpus and return its factors and magnitudes; the pipeline is left as it was, bit for bit.

    Args:
        All: as `lora.tune`.

    Returns:
        {step: {"{module path}.down": [rank, in], ".up": [out, rank], ".magnitude": [out]}}, float32 on the CPU.

    Raises:
        HoldfastError: as `lora.tune`.
    """
    from holdfast.tuners import adapters

    own = {"rank": rank, "alpha": alpha, "targets": targets}
    return training.run(
        pipe,
        corpus_dir,
        lambda modules: adapters.attached(modules, seed=seed, magnitudes=True, **own),
        method={"name": "dora", "version": VERSION, **own},
        seed=seed,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        **options,
    )
