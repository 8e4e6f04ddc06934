"""A byte-level BPE tokenizer in CLIP's own files (vocab.json, merges.txt), whole words for all that the world names."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

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
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    bpe.normalizer = normalizers.Lowercase()
    bpe.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
        vocab_size=4000, min_frequency=1, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False
    )
    bpe.train_from_iterator(world_words(), trainer)
    merges = [tuple(pair) for pair in json.loads(bpe.to_str())["model"]["merges"]]
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


def _write(path: Path, text: str) -> None:
    path.write_text(text + "\n", encoding="utf-8")
