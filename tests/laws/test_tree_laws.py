"""Laws of `gradatim.trees`: nothing is lost, nothing is held twice, and masks can be read off the order."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim import trees

SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9).map(tuple), min_size=1, max_size=12)
BUDGETS = st.integers(1, 30)


def prefixes_of(sequences: list[tuple[int, ...]]) -> set[tuple[int, ...]]:
    return {sequence[:length] for sequence in sequences for length in range(1, len(sequence) + 1)}


def sees(block: trees.Block, node: int) -> set[int]:
    """A node and its ancestors, by walking up."""
    found = set()
    while node >= 0:
        found.add(node)
        node = block.parent[node]
    return found


@given(SEQUENCES, BUDGETS)
def test_every_path_spells_its_sequence(sequences: list[tuple[int, ...]], budget: int) -> None:
    """Each sequence is a member of exactly one block, and the tokens along its path are the sequence."""
    blocks = trees.build(sequences, budget)

    members = [member for block in blocks for member in block.members]
    assert sorted(members) == list(range(len(sequences)))
    for block in blocks:
        for member in block.members:
            path = block.path(member)
            assert tuple(block.ids[node] for node in path) == sequences[member]
            assert [block.depth[node] for node in path] == list(range(len(path)))
            assert block.nodes(member, [0, len(path) - 1]) == (path[0], path[-1])


@given(SEQUENCES, BUDGETS)
def test_a_block_holds_each_beginning_once_and_nothing_else(sequences: list[tuple[int, ...]], budget: int) -> None:
    """The nodes of a block are the distinct beginnings of its members, one for one."""
    for block in trees.build(sequences, budget):
        beginnings = [tuple(block.ids[n] for n in sorted(sees(block, node))) for node in range(len(block))]

        assert len(set(beginnings)) == len(block)
        assert set(beginnings) == prefixes_of([sequences[member] for member in block.members])


@given(SEQUENCES, BUDGETS)
def test_blocks_obey_the_budget(sequences: list[tuple[int, ...]], budget: int) -> None:
    """Only a chain of one long sequence is larger than the budget."""
    for block in trees.build(sequences, budget):
        longest = max(len(sequences[member]) for member in block.members)

        assert len(block) <= budget or (block.is_chain and len(block) == longest)


@given(SEQUENCES, BUDGETS)
def test_the_mask_can_be_read_off_the_order(sequences: list[tuple[int, ...]], budget: int) -> None:
    """`j <= i < end[j]` says exactly that j is i or an ancestor of i."""
    for block in trees.build(sequences, budget):
        for i in range(len(block)):
            assert {j for j in range(len(block)) if j <= i < block.end[j]} == sees(block, i)
        assert block.is_chain == all(parent == node - 1 for node, parent in enumerate(block.parent))


@given(SEQUENCES, BUDGETS, st.randoms(use_true_random=False))
def test_order_changes_no_block(sequences: list[tuple[int, ...]], budget: int, shuffled: random.Random) -> None:
    """Shuffled sequences give the same blocks, in the same order."""
    order = list(range(len(sequences)))
    shuffled.shuffle(order)

    given_order = [(block.ids, block.parent) for block in trees.build(sequences, budget)]
    other_order = [(block.ids, block.parent) for block in trees.build([sequences[i] for i in order], budget)]
    assert given_order == other_order


@given(SEQUENCES)
def test_distinct_tokens_counts_distinct_beginnings(sequences: list[tuple[int, ...]]) -> None:
    """`distinct_tokens` is the number of different beginnings, and a tree of relatives reaches it."""
    root = (7,) * 9
    family = [root + sequence for sequence in sequences]

    assert trees.distinct_tokens(sequences) == len(prefixes_of(sequences))
    (block,) = trees.build(family, 10_000)
    assert len(block) == trees.distinct_tokens(family)


@given(SEQUENCES)
def test_chains_are_chains(sequences: list[tuple[int, ...]]) -> None:
    """`chains` needs no mask anywhere and still spells every sequence."""
    blocks = trees.chains(sequences)

    assert all(block.is_chain for block in blocks)
    spelled = {member: block.ids[: len(block.path(member))] for block in blocks for member in block.members}
    assert [spelled[index] for index in range(len(sequences))] == sequences


@given(SEQUENCES, BUDGETS, st.integers(1, 60))
def test_batches_hold_every_block_once_within_their_tokens(
    sequences: list[tuple[int, ...]], budget: int, tokens: int
) -> None:
    """A batch of several blocks fits when padded by an eighth at most, and has either chains or trees in it."""
    blocks = trees.build(sequences, budget)
    groups = trees.batches(blocks, tokens)

    assert sorted(index for group in groups for index in group) == list(range(len(blocks)))
    for group in groups:
        assert len(group) == 1 or max(len(blocks[index]) for index in group) * len(group) <= tokens
        assert len({blocks[index].is_chain for index in group}) == 1
        assert 7 * max(len(blocks[index]) for index in group) <= 8 * min(len(blocks[index]) for index in group)


def test_strangers_do_not_share_a_block() -> None:
    """Two long sequences that share one token stay chains: the mask would cost more than the token."""
    blocks = trees.build([(1, *[2] * 40), (1, *[3] * 40)], 1000)

    assert [block.is_chain for block in blocks] == [True, True]


@pytest.mark.parametrize(("sequences", "budget"), [([()], 5), ([(1,), ()], 5), ([(1,)], 0)])
def test_nonsense_is_refused(sequences: list[tuple[int, ...]], budget: int) -> None:
    """Empty sequences and budgets without room for a token are errors."""
    with pytest.raises(ValueError, match=r"empty|budget"):
        trees.build(sequences, budget)
