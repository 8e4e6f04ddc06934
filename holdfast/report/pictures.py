"""The pictures that the report shows: the same probe and noise in every arm, decoded from the samples' latents."""

import io

import pandas as pd

from holdfast.analysis.measures import OUTCOMES
from holdfast.errors import HoldfastError

ROLES = ("efficacy", "generality", "debias", "unsafe", "implied", "specificity")
MANY = 8  # states from which on fewer edits and seeds are shown of each
SHOWN = {False: 4, True: 2}  # seeds per probe: of a few states, of many
EDITS = {False: 8, True: 3}  # edits per task
SIDE = 160  # pictures larger than this are shown smaller, so that the page stays under its size
BATCH = 64
COLUMNS = [
    *("family", "lineage", "arm", "task", "edit", "source", "target", "editor", "tuner", "site", "corpus", "relation"),
    *("tuning_step", "train_seed", "role", "probe", "prompt", "seed", "outcome", "webp"),
]


def choose(edits, many=False):
    """The first probe of each role of the first edits of every task. Returns {probe id: (edit, probe)}.

    many: whether the study has many states.
    """
    chosen, count = {}, {}
    for edit in edits:
        count[edit.task] = count.get(edit.task, 0) + 1
        if count[edit.task] > EDITS[many]:
            continue
        for role in ROLES:
            for probe in [probe for probe in edit.probes if probe.role == role][:1]:
                chosen[probe.id] = (edit, probe)
    return chosen


def shown_states(states):
    """Of all states of one family (dicts as `analysis.tables.identify` gives them): those whose pictures are shown.

    All that were never tuned, and of every tuning the first training seed.
    """
    seeds = {}
    for state in states:
        seeds[_made(state)] = min(seeds.get(_made(state), state["train_seed"]), state["train_seed"])
    return [state for state in states if state["train_seed"] == seeds[_made(state)]]


def _made(state):
    """What made a state, whatever its shard and training seed."""
    return tuple(state[name] for name in ("arm", "editor", "tuner", "site", "corpus"))


def decode(files, edits, scores, pipe):
    """Decode the chosen pictures of every state at its last tuning step; of many states fewer edits and seeds.

    files: samples file -> state (dict), edits: sequence of Edit, scores: the long table, for the pictures' outcomes,
    pipe: the family's pipeline, of which the VAE is used. Returns a frame with the columns COLUMNS; `webp` is bytes,
    `outcome` target, source, other or empty where no scorer told.
    """
    from holdfast import artifacts, sampling

    many = len({_made(state) for state in files.values()}) > MANY
    chosen = choose(edits, many)
    found, latents = [], []
    for path, state in files.items():
        tensors, header = artifacts.load(path, kind="samples")
        last = max(step for _, step, _, _ in header["rows"])
        for index, (_, step, probe_id, seed) in enumerate(header["rows"]):
            if step == last and probe_id in chosen and seed < SHOWN[many]:
                edit, probe = chosen[probe_id]
                names = {"task": edit.task, "edit": edit.id, "source": edit.source, "target": edit.target}
                names |= {
                    "role": probe.role,
                    "probe": probe.id,
                    "prompt": probe.prompt,
                    "seed": seed,
                    "tuning_step": step,
                }
                found.append({**state, **names})
                latents.append(tensors["latents"][index])
    if not found:
        raise HoldfastError(
            "No samples file holds a probe of the edits table: run the study again after a change of edits."
        )
    import torch

    images = sampling.decode(pipe, torch.stack(latents).float(), BATCH)
    table = pd.DataFrame(found).assign(webp=[webp(image) for image in images])
    return with_outcomes(table, scores)[COLUMNS].sort_values(COLUMNS[:-2], ignore_index=True, kind="stable")


def with_outcomes(table, scores):
    """Add the column `outcome`: the classifier's where it measured, else CLIP's, else empty."""
    key = ["family", "lineage", "probe", "seed", "tuning_step"]
    hits = scores[(scores["value"] == 1) & scores["measure"].isin([*OUTCOMES, *(f"clip_{name}" for name in OUTCOMES)])]
    hits = hits.assign(outcome=hits["measure"].str.removeprefix("clip_"), clip=hits["measure"].str.startswith("clip_"))
    hits = hits.sort_values("clip").drop_duplicates(key)[[*key, "outcome"]]
    table = table.drop(columns="outcome", errors="ignore").merge(hits, on=key, how="left", validate="many_to_one")
    return table.assign(outcome=table["outcome"].fillna(""))


def webp(image):
    """A uint8 [H, W, 3] array as WebP bytes: lossless where small, else at most SIDE pixels wide at quality 85."""
    from PIL import Image

    picture, buffer = Image.fromarray(image), io.BytesIO()
    if max(picture.size) <= 64:
        picture.save(buffer, "WEBP", lossless=True, quality=100, method=6)
    else:
        picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        picture.save(buffer, "WEBP", quality=85, method=6)
    return buffer.getvalue()
