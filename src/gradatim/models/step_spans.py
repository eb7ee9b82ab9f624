"""Where the steps of an encoded prefix lie among its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from gradatim.core import Prefix
from gradatim.models.encoding import Encoding, StepEncoder


def step_spans(
    encoder: StepEncoder, prefixes: Sequence[Prefix], encodings: Sequence[Encoding]
) -> list[tuple[tuple[int, int], ...]]:
    """For each encoded prefix and each of its steps (first token, one past the last), the separator's tokens included.

    A prefix of the steps encodes to a prefix of the tokens, so a step begins where the encoding of what is before it ends.
    """
    # A scored step ends with its read; what ends elsewhere (the prompt, an observation) is encoded again.
    asked = [
        [prefix.first(0), *(prefix.first(k + 1) for k, read in enumerate(encoding.reads) if read is None)]
        for prefix, encoding in zip(prefixes, encodings, strict=True)
    ]
    lengths = iter([len(found.ids) for found in encoder.encode_many([one for some in asked for one in some])])
    spans = []
    for encoding in encodings:
        edges = [next(lengths)]
        for read in encoding.reads:
            edges.append(next(lengths) if read is None else read + 1)
        spans.append(tuple(pairwise(edges)))
    return spans
