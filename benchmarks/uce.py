"""UCE at Stable Diffusion 1.4's size: one low-rank solve against the published loop of float32 inverses."""

import statistics

from benchmarks.timing import interleave, median_and_range

WIDTH = 768
# 16 cross-attention layers, a key and a value projection each: 5 of width 320, 5 of 640, 6 of 1280.
SHAPES = [(out, WIDTH) for out, layers in ((320, 5), (640, 5), (1280, 6)) for _ in range(2 * layers)]
LAMB = 0.5


def run(counts, repeats):
    """Markdown section with the times and errors for each number of edited (and of preserved) concepts."""
    import torch

    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(shape, generator=generator) / WIDTH**0.5 for shape in SHAPES]
    common = torch.randn(WIDTH, generator=generator)
    rows = []
    for count in counts:
        # CLIP's last-token states have unit variance after its final norm and share much of their direction.
        concepts, guides, preserved = (0.7 * common + 0.7 * torch.randn(3, count, WIDTH, generator=generator)).unbind()
        contestants = {
            "loop": lambda c=concepts, g=guides, p=preserved: _loop(weights, c, g, p),
            "low rank": lambda c=concepts, g=guides, p=preserved: _low_rank(weights, c, g, p),
        }
        seconds, edited = interleave(contestants, repeats)
        exact = _exact(weights, concepts, guides, preserved)
        errors = {name: _error(weights, found, exact) for name, found in edited.items()}
        speedup = statistics.median(seconds["loop"]) / statistics.median(seconds["low rank"])
        rows.append(
            f"| {count} + {count} | {median_and_range(seconds['loop'])} | {median_and_range(seconds['low rank'])} "
            f"| {speedup:.0f} | {errors['loop'][0]:.1e} | {errors['low rank'][0]:.1e} "
            f"| {errors['loop'][1]:.1e} | {errors['low rank'][1]:.1e} |"
        )
    return "\n".join(
        [
            "## UCE",
            "",
            f"Equation 7 on the {len(SHAPES)} key and value projections of Stable Diffusion 1.4 (768 -> 320, 640, "
            "1280; random weights, and concept states of CLIP's scale), n edited + n preserved concepts, last tokens, "
            "lamb 0.5. `loop` is the published way: for each projection, a sum over concepts and a float32 inverse. "
            "`low rank` is `holdfast.editors.uce.solve`, its factors applied to every projection. Wall seconds, "
            f"median of {repeats} interleaved rounds (least-most). Errors against equation 7 solved in float64, the "
            "worst projection: of the new weight W', and of the change W' - W.",
            "",
            "| concepts | loop, s | low rank, s | times faster | error of W': loop | low rank | error of W' - W: loop "
            "| low rank |",
            "|---|---|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _loop(weights, concepts, guides, preserved):
    """Equation 7 as the authors' code does it: projection by projection, concept by concept, float32."""
    import torch

    edited = []
    for weight in weights:
        left, right = LAMB * weight, LAMB * torch.eye(WIDTH)
        for known, wanted in ((concepts, guides), (preserved, preserved)):
            for c, g in zip(known, wanted, strict=True):
                left += torch.outer(weight @ g, c)
                right += torch.outer(c, c)
        edited.append(left @ torch.inverse(right))
    return edited


def _low_rank(weights, concepts, guides, preserved):
    """The same by `holdfast.editors.uce`, in the precision of a stored delta."""
    from holdfast.editors import uce

    left, right = uce.solve(concepts, guides, preserved, LAMB, 1.0, 1.0)
    return [weight + (weight.double() @ left).float() @ right.float() for weight in weights]


def _exact(weights, concepts, guides, preserved):
    """Equation 7 in float64."""
    import torch

    known, wanted = torch.cat([concepts, preserved]).double(), torch.cat([guides, preserved]).double()
    right = LAMB * torch.eye(WIDTH, dtype=torch.float64) + known.T @ known
    return [
        torch.linalg.solve(right, LAMB * weight + (weight @ wanted.T) @ known, left=False)
        for weight in (weight.double() for weight in weights)
    ]


def _error(weights, edited, exact):
    """Largest relative error (Frobenius) over the projections: of the weight, and of its change."""
    pairs = [(w.double(), e.double(), x) for w, e, x in zip(weights, edited, exact, strict=True)]
    return (
        max(float((e - x).norm() / x.norm()) for _, e, x in pairs),
        max(float((e - x).norm() / (x - w).norm()) for w, e, x in pairs),
    )
