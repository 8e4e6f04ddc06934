"""Unified Concept Editing (Gandikota et al. 2024, arXiv 2308.14761): a closed-form edit of cross-attention.

Equation 7: every projection W that reads the text becomes

    W' = (lamb W + s_e sum_i v_i* c_i^T + s_p sum_j W c_j c_j^T) (lamb I + s_e sum_i c_i c_i^T + s_p sum_j c_j c_j^T)^-1

with concepts c_i, targets v_i* = W g_i of their guides g_i, and preserved concepts c_j. The right-hand matrix A is the
same for all projections, and a preserved concept has no change of its own, so that with the rows C and G of concepts
and guides

    W' = W + W M,   M = s_e (G - C)^T C A^-1,

and one factorisation M = E V of low rank r serves every layer: u = W E, v = V.
"""

from holdfast import families
from holdfast.errors import HoldfastError

VERSION = 1

TOKENS = ("last", "tail")

# Directions of M below this share of its largest are rounding of the float32 text states, and are not stored.
_RANK_TOLERANCE = 1e-7


def edit(pipe, edits, preserve, *, tokens="tail", templates=("{}",), lamb=0.5, edit_scale=1.0, preserve_scale=1.0):
    """Low-rank factors that make the model draw each edit's target where its source is asked for.

    Args:
        pipe: a pipeline from `families.load`; it is left as it is.
        edits: objects with `.source` and `.target` texts, made together in one solve.
        preserve: texts whose keys and values stay; those that are a source of `edits` are passed over.
        tokens: which text states are the concept. `last`: its last content token, as in the paper's text and in its
            authors' present code (trainscripts/uce_sd_erase.py). `tail`: from that token to the end of the context,
            EOS and padding included, aligned with the guide's from the guide's own last content token, as in the
            code published with the paper (train-scripts/train_erase.py); of preserved texts all positions.
        templates: texts with one `{}` each, in which every concept is encoded.
        lamb: weight of staying near W, above 0.
        edit_scale, preserve_scale: s_e above 0 and s_p at least 0.

    Returns:
        {"{module path}.u": [out, r] for every projection, "shared.v": [r, in]}, float32, W' = W + u v.

    Raises:
        HoldfastError: settings out of range, an empty source, a text too long for the encoder.
    """
    import torch

    if tokens not in TOKENS:
        raise HoldfastError(f"UCE knows no tokens {tokens!r}; choose one of {', '.join(TOKENS)}.")
    if not edits or not templates:
        raise HoldfastError("UCE needs at least one edit and one template.")
    if lamb <= 0 or edit_scale <= 0 or preserve_scale < 0:
        raise HoldfastError(
            "UCE needs lamb and edit_scale above 0 and preserve_scale at least 0; "
            f"they are {lamb}, {edit_scale} and {preserve_scale}."
        )
    if any(not change.source.strip() for change in edits):
        raise HoldfastError("UCE can't edit an empty source; name the concept to be edited.")
    sources = {change.source.strip().casefold() for change in edits}
    kept = [text for text in preserve if text.strip().casefold() not in sources] if preserve_scale > 0 else []
    read = _reader(pipe, [*(text for change in edits for text in (change.source, change.target)), *kept], templates)
    concepts, guides, preserved = [], [], []
    for template in templates:
        for change in edits:
            concept, guide = read(change.source, template), read(change.target, template)
            length = 1 if tokens == "last" else min(len(concept), len(guide))
            concepts.append(concept[:length])
            guides.append(guide[:length])
        for text in kept:
            preserved.append(read(text, template)[:1] if tokens == "last" else read(text, template, whole=True))
    concepts = torch.cat(concepts)
    preserved = torch.cat([concepts[:0], *preserved])
    left, right = solve(concepts, torch.cat(guides), preserved, lamb, edit_scale, preserve_scale)
    family = families.kind_of(pipe)
    factors = {
        f"{path}.u": (projection.weight.detach().cpu().double() @ left).float()
        for path, projection in family.cross_attention_projections(pipe).items()
    }
    return {**factors, "shared.v": right.float()}


def solve(concepts, guides, preserved, lamb, edit_scale, preserve_scale):
    """Factors (E [d, r], V [r, d]) in float64 of equation 7's change: W' = W + W E V for any W that reads these states.

    Args:
        concepts, guides: [n, d], row i of the guides is what concept i becomes.
        preserved: [m, d], m may be 0.
        lamb, edit_scale, preserve_scale: of equation 7.

    With scaled rows K = [sqrt(s_e) C; sqrt(s_p) P], A = lamb I + K^T K, and `C A^-1` follows from one Cholesky
    factorisation: of A where there are more rows than dimensions, else of the smaller `lamb I + K K^T`
    (A^-1 K^T = K^T (lamb I + K K^T)^-1).
    """
    import torch

    concepts, guides, preserved = (rows.detach().cpu().double() for rows in (concepts, guides, preserved))
    rows = torch.cat([edit_scale**0.5 * concepts, preserve_scale**0.5 * preserved])
    n, (count, width) = len(concepts), rows.shape
    if count < width:
        gram = rows @ rows.T + lamb * torch.eye(count, dtype=torch.float64)
        inverse_rows = torch.cholesky_solve(rows, torch.linalg.cholesky(gram))[:n]
    else:
        gram = rows.T @ rows + lamb * torch.eye(width, dtype=torch.float64)
        inverse_rows = torch.cholesky_solve(rows[:n].T, torch.linalg.cholesky(gram)).T
    return _compress(edit_scale**0.5 * (guides - concepts).T, inverse_rows)


def _compress(left, right):
    """The product of left [d, n] and right [n, d] as factors of its numerical rank, by SVD.

    Padding positions and templates repeat each other, so the stacked states have far fewer directions than rows.
    """
    import torch

    left_basis, left_rest = torch.linalg.qr(left)
    right_basis, right_rest = torch.linalg.qr(right.T)
    u, s, vh = torch.linalg.svd(left_rest @ right_rest.T)
    rank = max(1, int((s > _RANK_TOLERANCE * s[0]).sum()))
    scale = s[:rank].sqrt()
    return left_basis @ u[:, :rank] * scale, scale[:, None] * (vh[:rank] @ right_basis.T)


def _reader(pipe, concepts, templates):
    """A function (concept, template, whole=False) -> text states [k, d], after one batched pass of the text encoder.

    The states start at the concept's last content token (at BOS where the concept and what precedes it are empty), or
    with `whole` at BOS, and reach to the end of the context.
    """
    texts, starts = [], {}
    for template in templates:
        before, hole, after = template.partition("{}")
        if not hole or "{}" in after:
            raise HoldfastError(f"The template {template!r} needs exactly one {{}} for the concept.")
        for concept in concepts:
            text = before + concept + after
            starts[concept, template] = len(texts), _last_token(pipe, text, (before + concept).rstrip())
            texts.append(text)
    distinct = list(dict.fromkeys(texts))
    rows = {text: row for row, text in enumerate(distinct)}
    states = families.kind_of(pipe).encode_prompts(pipe, distinct)["prompt_embeds"].cpu()

    def read(concept, template, whole=False):
        number, start = starts[concept, template]
        return states[rows[texts[number]], 0 if whole else start :]

    return read


def _last_token(pipe, text, beginning):
    """Position in the encoded text of the last content token of its beginning; 0, which is BOS, for an empty one."""
    content = pipe.tokenizer(text, add_special_tokens=False)["input_ids"]
    start = pipe.tokenizer(beginning, add_special_tokens=False)["input_ids"]
    if content[: len(start)] != start:
        raise HoldfastError(f"In {text!r} the concept ends inside a token; put blanks around the template's {{}}.")
    longest = pipe.tokenizer.model_max_length - 2
    if len(content) > longest:
        raise HoldfastError(f"{text!r} has {len(content)} tokens, the text encoder reads {longest}; shorten it.")
    return len(start)
