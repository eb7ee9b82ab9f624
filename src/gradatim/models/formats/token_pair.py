"""Language models that judge by which of two tokens they expect: their head cut down to the two rows that are asked.

softmax(z)[good] over two logits is sigmoid(z_good - z_bad), so a head of the rows [bad, good] gives the published score
without a logit of any other token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradatim.errors import CheckpointError
from gradatim.models.formats.contract import Asked, Facts, Match
from gradatim.models.formats.headed import Headed, linear
from gradatim.models.formats.weights import UNUSED, check_present, lm_head_name, load_body, rows

CONVERTED = "gradatim_format"
"""In the configuration of a checkpoint whose head is cut down already: the name of its format."""

WORD = "x"
"""What a token is put behind, to see it as it is in running text."""


def load_judge(facts: Facts, asked: Asked, *, good: int, bad: int) -> Headed:
    """The body of a causal language model and the rows of its head for two tokens, ordered bad, good.

    A checkpoint that `gradatim.models.convert` cut down has those rows already, as `score.weight`.
    """
    if CONVERTED in facts.config:
        check_present(facts, ["score.weight"])
        return Headed(load_body(facts, asked, beside=("score.weight",)), linear(facts.tensor("score.weight")))
    head = linear(rows(facts, lm_head_name(facts), (bad, good)))
    return Headed(load_body(facts, asked, beside=UNUSED), head)


def ids_of(tokenizer: Any, text: str) -> list[int]:
    """Tokens of a text of our own, without any that the tokenizer would add."""
    return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def one_token(tokenizer: Any, text: str, *, behind: str = WORD) -> int:
    """The one token that `text` is behind a word, as in running text: a tokenizer may have another at the beginning.

    CheckpointError if it is more than one there, or merges with the word.
    """
    before, found = ids_of(tokenizer, behind), ids_of(tokenizer, behind + text)
    if len(found) != len(before) + 1 or found[: len(before)] != before:
        raise CheckpointError(
            f"found {found[len(before) :]} for {text!r} behind a word, expected one token: this tokenizer is not one that "
            "the format was published for; name another format, or use the tokenizer saved with the reward model"
        )
    return int(found[-1])


def fits(facts: Facts, texts: Sequence[str], *, chat: bool = False) -> Match:
    """Whether a checkpoint is a causal language model whose tokenizer has each of the texts as one token.

    `chat` asks for a chat template too. No weight tells formats of this kind apart, so several may fit.
    """
    if not facts.architecture.endswith("ForCausalLM"):
        return Match(False)
    found, missing = [f"a {facts.architecture}"], list[str]()
    if extra := sorted(name for name in facts.files if name.startswith(("v_head.", "score."))):
        missing.append(f"found {', '.join(extra)}, expected no head beside the language model's")
    for text in texts:
        try:
            one_token(facts.tokenizer, text)
            found.append(f"a token {text!r}")
        except CheckpointError as error:
            missing.append(str(error))
    if chat and not facts.tokenizer.chat_template:
        missing.append("found no chat template, expected one")
    return Match(not missing, tuple(found), tuple(missing))
