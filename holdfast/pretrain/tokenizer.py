"""A byte-level BPE tokenizer in CLIP's own files (vocab.json, merges.txt), whole words for all that the world names."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import pre_tokenizers

from ..world import vocabulary as v

CONTEXT_LENGTH = 16
_START, _END = "<|startoftext|>", "<|endoftext|>"


def world_words() -> list[str]:
    """Every word that a caption of the world can hold, sorted."""
    phrases = [*v.COLOURS, *v.THINGS, *v.CHARACTERS, *v.ROLES, *v.PROFESSIONS, v.SKULL, *v.PLACES, v.MASCOT_TOKEN]
    phrases += [word for _, synonyms in v.THINGS.values() for word in synonyms]
    phrases += [word for _, synonyms in v.ROLES.values() for word in synonyms]
    phrases += [text for texts in v.CONTEXTS.values() for text in texts]
    phrases += [text.replace("{}", "") for texts in v.STYLES.values() for text in texts]
    phrases += ["a an the wearing a hat without a hat"]
    return sorted({word for phrase in phrases for word in phrase.split()})


def write_tokenizer(folder: Path) -> int:
    """Writes the files of transformers' CLIPTokenizer (vocab.json, merges.txt, config); returns the vocabulary's size.

    All 512 byte symbols are in the vocabulary, so any text has tokens; ``<|endoftext|>`` has the highest id, which is
    where CLIP pools.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = _merges(sorted({word.lower() for word in world_words()}))
    tokens = [*alphabet, *(symbol + "</w>" for symbol in alphabet)]
    tokens += dict.fromkeys("".join(pair) for pair in merges if "".join(pair) not in set(tokens))
    tokens += [_START, _END]
    folder.mkdir(parents=True, exist_ok=True)
    _write(
        folder / "vocab.json", json.dumps({token: i for i, token in enumerate(tokens)}, ensure_ascii=False, indent=0)
    )
    _write(folder / "merges.txt", "\n".join(["#version: 0.2", *(" ".join(pair) for pair in merges)]))
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "bos_token": _START,
        "eos_token": _END,
        "unk_token": _END,
        "pad_token": _END,
        "model_max_length": CONTEXT_LENGTH,
    }
    _write(folder / "tokenizer_config.json", json.dumps(settings, indent=2))
    return len(tokens)


def copy_tokenizer(source: Path, folder: Path) -> None:
    """The tokenizer of ``source`` in ``folder``: weights belong to one numbering of the pieces."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        (folder / name).write_bytes((source / name).read_bytes())


def _merges(words: list[str]) -> list[tuple[str, str]]:
    """Merges, in order of priority, that make every word one piece.

    Each word is cut up by the merges so far and the rest is joined from the left; what comes later has a lower
    priority and leaves the earlier words whole. A BPE trainer breaks ties by chance, and would number the pieces
    otherwise in every run.
    """
    ranks: dict[tuple[str, str], int] = {}
    for word in words:
        pieces = [*word[:-1], word[-1] + "</w>"]
        while len(pieces) > 1:
            known = [pair for pair in zip(pieces, pieces[1:], strict=False) if pair in ranks]
            pair = min(known, key=ranks.__getitem__) if known else (pieces[0], pieces[1])
            ranks.setdefault(pair, len(ranks))
            pieces = _joined(pieces, pair)
    return list(ranks)


def _joined(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    out = []
    for piece in pieces:
        if out and (out[-1], piece) == pair:
            out[-1] += piece
        else:
            out.append(piece)
    return out


def _write(path: Path, text: str) -> None:
    path.write_text(text + "\n", encoding="utf-8")
