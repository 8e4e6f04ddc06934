"""Trace what tuning does to an edit through weights and activations, without a picture."""

from pathlib import Path

COLUMNS = ["variant", "task", "edit", "tuned", "tuning_step", "layer", "measure", "value"]
# In the column `layer`: all edited layers together.
ALL = ""
# What the tuning of an edited model, and of the base, learned of its corpus: share of the loss that is gone.
FITS = {"edited_tuned": "fit", "tuned": "fit_control"}


def run(job, *, model, deltas, corpora, output, log, threads, machine):
    """Follow the edits of `job` (`causes.job`) into every state that was tuned from theirs; a table to `output`.

    `deltas` are the files of `causes.deltas`, in any order, `corpora` the metadata.jsonl of each of the job's corpora.
    Rows (columns COLUMNS; measures: docs/tables.md) are of a variant's weights where `edit` is empty, and of one edit's
    prompts otherwise.
    """
    from holdfast import devices
    from holdfast import log as logs

    logs.job(log)
    device = devices.prepare(threads)

    import pyarrow
    import pyarrow.parquet

    from holdfast import artifacts, states
    from holdfast.analysis import causes
    from holdfast.lineage import prefixes
    from holdfast.tuners.fit import Fit

    place = {artifacts.read_header(path)["lineage"]: path for path in deltas}
    edited = [place[lineage] for lineage in prefixes(job["lineage"])]
    state = states.State(Path(model).parent, device=device, offload=machine["offload"], **job["loading"])
    total = sum(len(steps) for *_, steps, _ in job["tunings"]) * len(job["variants"])
    bar = logs.progress(total=total, description=job["lineage"], unit="tunings")
    rows, fits, losses = [], {}, {}

    def fitted(name, key, pipe):
        """The loss on a corpus of the state `key`, which is asked for again and again."""
        if (name, *key) not in losses:
            losses[name, *key] = fits[name].loss(pipe)
        return losses[name, *key]

    for variant, task, prompts in job["variants"]:
        # Weights are read beside the base, activations in the states themselves.
        pipe = state.apply([])
        with state.onloaded():
            made = states.weights(pipe, edited, variant)
            for name, metadata in zip(job["corpora"], corpora, strict=True):
                fits[name] = fits.get(name) or Fit(pipe, Path(metadata).parent)
        seen = {"base": respond(pipe, prompts, job["guidance_scale"])}
        before = {name: {"tuned": fitted(name, ["base"], pipe)} for name in fits}
        pipe = state.apply(edited, variant)
        seen["edited"] = respond(pipe, prompts, job["guidance_scale"])
        for name in fits:
            before[name]["edited_tuned"] = fitted(name, [job["lineage"], variant], pipe)
        for tuned, control, steps, corpus in job["tunings"]:
            arms = {"tuned": ([place[control]], None), "edited_tuned": ([*edited, place[tuned]], variant)}
            for step in steps:
                pipe = state.apply([])
                with state.onloaded():
                    weights = {arm: states.weights(pipe, *state_of, step) for arm, state_of in arms.items()}
                    names = {*made, *weights["tuned"], *weights["edited_tuned"]}
                    base = {name: parameter_of(pipe, name) for name in names}
                    found = [("", *row) for row in causes.of_weights(*map(_arrays, (base, made, *weights.values())))]
                for arm, state_of in arms.items():
                    pipe = state.apply(*state_of, step)
                    seen[arm] = respond(pipe, prompts, job["guidance_scale"])
                    lineage = [control, step] if arm == "tuned" else [tuned, step, variant]
                    left = fitted(corpus, lineage, pipe) / before[corpus][arm]
                    found.append(("", ALL, FITS[arm], 1 - left))
                found += [(edit, ALL, *row) for edit in seen["base"] for row in causes.of_paths(edit, **seen)]
                rows += [(variant, task, edit, tuned, step, *rest) for edit, *rest in found]
                bar.update(1)
    bar.close()
    table = dict(zip(COLUMNS, map(list, zip(*rows, strict=True)), strict=True))
    with artifacts.atomic(output) as temporary:
        pyarrow.parquet.write_table(pyarrow.table(table), temporary)


def parameter_of(pipe, name):
    """The parameter at `{component}.{path}` of a pipeline."""
    component, _, path = name.partition(".")
    return getattr(pipe, component).get_parameter(path)


def _arrays(tensors):
    return {name: tensor.detach().float().cpu().numpy() for name, tensor in tensors.items()}


def _read(layer, states):
    """What a layer makes of states, by itself: where whole networks are offloaded, it lies elsewhere than they."""
    return layer(states if layer.weight.is_meta else states.to(layer.weight.device))


def respond(pipe, prompts, guidance_scale, batch_size=16):
    """What a model makes of prompts before it draws: edit -> {path: float32 vector on the CPU}.

    Paths: `text`, the outputs of every layer through which the denoiser reads the text, where editors of both kinds
    must pass; `denoiser`, its first prediction from the noise that the sampler starts with (seed 0). An edit's prompts
    are put together.

    prompts: [(edit, probe, prompt), ...]. batch_size: of them at once.
    """
    import numpy as np
    import torch

    from holdfast import families, noise

    family = families.kind_of(pipe)
    shape = family.latent_shape(pipe)
    found = {}
    for start in range(0, len(prompts), batch_size):
        batch = prompts[start : start + batch_size]
        with torch.no_grad():
            cond = family.encode_prompts(pipe, [prompt for *_, prompt in batch])
            read = [_read(layer, cond[key]) for layer, key in family.text_projections(pipe).values()]
            begun = torch.stack([noise.draw(probe, 0, shape) for _, probe, _ in batch]).to(
                read[0].device, read[0].dtype
            )
            last = torch.full([len(batch)], pipe.scheduler.config.num_train_timesteps - 1, device=begun.device)
            predicted = family.predict(pipe, begun, last, cond, guidance=guidance_scale)
        text = torch.cat([output.flatten(1) for output in read], dim=1)
        for (edit, *_), *rows in zip(batch, text.float().cpu(), predicted.flatten(1).float().cpu(), strict=True):
            for path, row in zip(("text", "denoiser"), rows, strict=True):
                found.setdefault(edit, {}).setdefault(path, []).append(row.numpy())
    return {edit: {path: np.concatenate(parts) for path, parts in paths.items()} for edit, paths in found.items()}
