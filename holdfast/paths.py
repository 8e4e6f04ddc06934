"""Where everything lies, relative to the working directory: the one place that knows the folders' names.

The rules spell the same patterns with wildcards; `tests/test_dag.py` builds the whole graph from these functions, so a
pattern and a function that disagree end in a missing input.
"""

from __future__ import annotations


def model(family: str) -> str:
    """Folder of a base model in diffusers layout, with its manifest.json."""
    return f"resources/models/{family}"


def scorer(name: str) -> str:
    """Folder of a scorer's weights, with its manifest.json."""
    return f"resources/scorers/{name}"


def corpus(name: str) -> str:
    """Folder of fine-tuning pictures and metadata.jsonl (the imagefolder convention)."""
    return f"resources/corpora/{name}"


def delta(family: str, lineage: str) -> str:
    """Delta file that the last step of a lineage wrote."""
    return f"results/states/{family}/{lineage}/delta.safetensors"


def samples(family: str, lineage: str, probes: str) -> str:
    """Latents of the probes' pictures."""
    return f"results/samples/{family}/{lineage}/{probes}.safetensors"


def scores(family: str, lineage: str, probes: str) -> str:
    """One row per picture and measure."""
    return f"results/scores/{family}/{lineage}/{probes}.parquet"


def probes(shard: int) -> str:
    """Name of the set of probes that belong to one shard's variants."""
    return f"edits-{shard}"
