"""mini-flux's second tokenizer: T5's own class over the world's words, letters for everything else."""

from __future__ import annotations

from .tokenizer import CONTEXT_LENGTH, world_words

_WORD, _LETTER = -2.0, -12.0


def t5_tokenizer():
    """A ``T5Tokenizer`` whose pieces are the world's words (and names with a capital), then single characters.

    As T5's, it tells capitals from small letters and begins with <pad>, </s>, <unk>; it has no <bos>.
    """
    from transformers import T5Tokenizer

    words = world_words()
    letters = [chr(code) for code in range(33, 127)]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", _LETTER / 2)]
    pieces += [(f"▁{word}", _WORD) for word in dict.fromkeys([*words, *(word.capitalize() for word in words)])]
    known = {piece for piece, _ in pieces}
    pieces += [(letter, _LETTER) for letter in letters if letter not in known]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=CONTEXT_LENGTH)
