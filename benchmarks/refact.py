"""ReFACT on the shipped text encoder: one batch with its constants hoisted against the released way of optimising.

The released code edits one request at a time; in every step it reads the target and source texts anew with a clean copy
of the encoder, and runs the whole of the edited one over texts padded to the longest. Both do the same steps here, so
what differs is what is computed in them.
"""

import statistics
from types import SimpleNamespace

from benchmarks.timing import interleave, median_and_range

LAYER = 2
TEMPLATES = ("a picture of {}", "a painted {}", "{} in the dark", "{} on the grass")
SETTINGS = {"learning_rate": 0.05, "weight_decay": 0.1, "clamp": 4.0}


def run(model_dir, counts=(1, 50), repeats=3, steps=20, alone=2):
    """Markdown section with seconds for each edit in batches of `counts`, and for edits made alone by the loop.

    Args:
        model_dir: diffusers folder whose CLIP text encoder is edited.
        steps: passes of the optimiser, which never stops early.
        alone: edits that the loop makes, one after the other; its seconds per edit don't depend on their number.
    """
    from holdfast import families
    from holdfast.editors import towers
    from holdfast.world import vocabulary

    pipe = families.load(model_dir)
    stack = towers.tower(pipe, "clip")
    nouns = [
        SimpleNamespace(source=f"a {noun}", target=f"a {colour} {noun}")
        for colour in vocabulary.COLOURS
        for noun in vocabulary.THINGS
    ]
    # No source twice in one model, so a noun that comes again has another word before it.
    for number, change in enumerate(nouns):
        change.source = (
            f"{['a', 'the', 'my', 'your', 'one', 'no'][number // len(vocabulary.THINGS)]}{change.source[1:]}"
        )
    contestants = {count: lambda count=count: _batch(stack, nouns[:count], steps) for count in counts} | {
        "loop": lambda: [_alone(stack, change, steps) for change in nouns[:alone]]
    }
    seconds, found = interleave(contestants, repeats)
    per_edit = {
        name: [value / (alone if name == "loop" else name) for value in values] for name, values in seconds.items()
    }
    worst = max(
        float((found[counts[-1]][number] - delta).norm() / delta.norm()) for number, delta in enumerate(found["loop"])
    )
    loop = statistics.median(per_edit["loop"])
    rows = [
        f"| batch of {count} | {median_and_range(per_edit[count])} | {loop / statistics.median(per_edit[count]):.1f} |"
        for count in counts
    ]
    return "\n".join(
        [
            "## ReFACT",
            "",
            f"The offsets of layer {LAYER} of {len(stack.layers)} in the shipped CLIP encoder (width "
            f"{stack.model.config.hidden_size}, {stack.length} tokens), {len(TEMPLATES) + 1} prompts for each edit and "
            f"{steps} steps of Adam, none of them stopped early. `loop` makes each edit alone and "
            "computes target features and the whole encoder in every step, as the released code does; `batch` is "
            "`holdfast.editors.offsets`: all edits at once, only the layers above the edited one in the loop, nothing "
            f"twice. Wall seconds for each edit, constants included, median of {repeats} interleaved rounds "
            f"(least-most). Largest relative difference of an offset between the two: {worst:.0e}.",
            "",
            "| | seconds for each edit | times faster than the loop |",
            "|---|---|---|",
            f"| loop | {median_and_range(per_edit['loop'])} | 1 |",
            *rows,
            "",
        ]
    )


def _batch(stack, edits, steps):
    """Offsets [n, d] by Holdfast."""
    from holdfast.editors.offsets import optimise
    from holdfast.editors.refact import Reading

    constants = Reading(stack, LAYER, edits, ["{}", *TEMPLATES]).constants((), "bare", 0, 0.0)
    return optimise(stack, LAYER, constants, max_steps=steps, stop=1.0, tail_weight=0.0, **SETTINGS).delta


def _alone(stack, change, steps):
    """Offset [d] of one edit as the released code finds it (src/refact/compute_v.py, `contrastive_text`)."""
    import torch

    model, tokenizer = stack.model, stack.tokenizer
    prompts = ["{}", *TEMPLATES]
    edited = tokenizer([prompt.format(change.source) for prompt in prompts], padding=True, return_tensors="pt")
    rivals = tokenizer([change.target, change.source], padding=True, return_tensors="pt")
    positions = [
        len(tokenizer((prompt.partition("{}")[0] + change.source).strip()).input_ids) - 2 for prompt in prompts
    ]
    delta = torch.zeros(model.config.hidden_size, requires_grad=True)
    optimizer = torch.optim.Adam([delta], lr=SETTINGS["learning_rate"])
    initial = []

    def add(module, inputs, output):
        if not initial:
            initial.append(output[0, positions[0]].detach().clone())
        output = output.clone()
        for row, position in enumerate(positions):
            output[row, position] += delta
        return output

    for step in range(steps):
        hook = stack.linear(LAYER).register_forward_hook(add)
        features = model(input_ids=edited.input_ids).pooler_output
        hook.remove()
        with torch.no_grad():
            wanted = model(input_ids=rivals.input_ids).pooler_output
        loss = torch.cdist(features[None], wanted[None])[0].neg().log_softmax(1)[:, 0].mean().neg()
        loss = loss + SETTINGS["weight_decay"] * delta.norm() / initial[0].norm() ** 2
        if step == steps - 1:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        longest = SETTINGS["clamp"] * initial[0].norm()
        if delta.norm() > longest:
            with torch.no_grad():
                delta *= longest / delta.norm()
    return delta.detach()
