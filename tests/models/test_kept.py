"""What is kept is whole paths within the capacity, found again as long as they fit, least recent out first."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim import trees
from gradatim.models.kept import Kept
from gradatim.models.sheets import Sheet

SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9).map(tuple), min_size=1, max_size=12)


def keep(kept: Kept, ids: tuple[int, ...]) -> list[int]:
    """All of a sequence, in a turn of its own: its slots."""
    kept.begin()
    run, slots = kept.find(ids)
    count = kept.room(len(ids) - len(slots))
    return [*slots, *kept.add(run, ids[len(slots) : len(slots) + count])] if count else slots


def fill(kept: Kept, sequences: list[tuple[int, ...]], reads: list[tuple[int, ...]], size: int) -> list[Sheet]:
    """Sheets as a reader makes them. The model that is read here says how deep a token is."""
    order = sorted(range(len(sequences)), key=lambda index: sequences[index])
    sheets, at = [], 0
    while at < len(order):
        sheet, found = Sheet(kept, size), {}
        while at < len(order) and (slots := sheet.add(sequences[order[at]], reads[order[at]])) is not None:
            found[order[at]] = slots
            at += 1
        assert len(sheet) > 0 or found
        assert len(sheet) <= size
        assert len(kept) <= kept.capacity
        assert len(set(sheet.slots)) == len(sheet)
        sheet.finish([float(sheet.depths[place]) for place in sheet.reads])
        for index, slots in found.items():
            assert [kept.values[slot] for slot in slots] == list(map(float, reads[index]))
            assert len(kept.find(sequences[index])[1]) == len(sequences[index])
        sheets.append(sheet)
    return sheets


@given(SEQUENCES, st.integers(1, 20))
def test_every_distinct_token_is_on_a_sheet_once(sequences: list[tuple[int, ...]], size: int) -> None:
    """With room for all, sheets hold the tokens of one tree, however small they are, and a second time nothing."""
    kept = Kept(1000)
    reads = [(len(ids) - 1,) for ids in sequences]
    sheets = fill(kept, sequences, reads, size)

    # In sorted order a sequence comes before those that go on from it: its last token is read when it is computed.
    assert sum(map(len, sheets)) == len(kept) == trees.distinct_tokens(sequences)
    assert sum(map(len, fill(kept, sequences, reads, size))) == 0


@given(SEQUENCES, st.integers(1, 5), st.integers(0, 15), st.randoms(use_true_random=False))
def test_little_room_changes_costs_and_nothing_else(
    sequences: list[tuple[int, ...]], size: int, spare: int, draws: random.Random
) -> None:
    """With room for the longest sequence and one sheet all are read, in every call, whatever else was kept before."""
    kept = Kept(max(map(len, sequences)) + size + spare)
    for _ in range(3):
        some = draws.sample(sequences, draws.randint(1, len(sequences)))
        reads = [tuple(sorted(draws.sample(range(len(ids)), draws.randint(1, len(ids))))) for ids in some]
        fill(kept, some, reads, size)


@given(SEQUENCES, st.integers(9, 30))
def test_what_is_found_is_a_beginning_with_slots_of_its_own(sequences: list[tuple[int, ...]], capacity: int) -> None:
    """There is room for any sequence that fits alone; no two tokens that are kept share a slot."""
    kept = Kept(capacity)
    for ids in sequences:
        slots = keep(kept, ids)
        assert len(slots) == len(set(slots)) == len(ids)
        assert max(slots) < capacity
    held: dict[int, tuple[int, ...]] = {}
    for ids in sequences:
        for depth, slot in enumerate(kept.find(ids)[1]):
            assert held.setdefault(slot, ids[: depth + 1]) == ids[: depth + 1]
    assert len(held) <= len(kept) <= capacity


def test_the_least_recent_branch_goes_first() -> None:
    """What was used last stays, with all that it hangs below; what goes is the oldest end of a path."""
    kept = Kept(12)
    stem, first, second, third = (1, 1, 1, 1), (1, 1, 1, 1, 2, 2, 2), (1, 1, 1, 1, 3, 3, 3), (1, 1, 1, 1, 4, 4, 4)
    for ids in (stem, first, second, first):
        keep(kept, ids)
    assert len(kept) == 10
    keep(kept, third)

    assert len(kept) == 10
    assert [len(kept.find(ids)[1]) for ids in (first, second, third)] == [7, 4, 7]


def test_what_is_in_use_is_not_dropped() -> None:
    """Within a turn there is room for as much as is not in use, and no more."""
    kept = Kept(6)
    keep(kept, (1, 2, 3, 4))
    kept.begin()
    kept.find((1, 2, 3, 4))

    assert kept.room(5) == 2
    kept.begin()
    assert kept.room(5) == 5
    assert len(kept) == 0


def test_a_sheet_that_failed_leaves_nothing() -> None:
    """Tokens that were not computed are not taken for kept ones."""
    kept = Kept(100)
    fill(kept, [(1, 2, 3)], [(2,)], 10)
    sheet = Sheet(kept, 10)
    sheet.add((1, 2, 4, 5), (3,))
    sheet.add((1, 2, 4, 6), (3,))
    sheet.undo()

    assert len(kept) == 3
    assert len(kept.find((1, 2, 4, 5))[1]) == 2


@pytest.mark.parametrize("size", [1, 2, 100])
def test_a_token_is_read_late_for_the_price_of_a_token(size: int) -> None:
    """One text, two ways to cut it into steps: the tokens are the same, the reads are not."""
    kept = Kept(100)
    fill(kept, [(1, 2, 1, 2)], [(3,)], 100)
    (sheet,) = (sheet for sheet in fill(kept, [(1, 2, 1, 2)], [(1, 3)], size) if len(sheet))

    assert (sheet.ids, sheet.depths) == ([2], [1])
