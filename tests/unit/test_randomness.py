from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from mtdrive.randomness import derive, generator, seeded

KEY = st.lists(st.integers() | st.text(), min_size=1, max_size=4)


@given(st.integers(0, 2**63), KEY, KEY)
def test_different_purposes_draw_differently_and_equal_ones_equally(
    seed: int, a: list[int | str], b: list[int | str]
) -> None:
    assert (derive(seed, *a) == derive(seed, *b)) == (a == b)
    assert 0 <= derive(seed, *a) < 2**63


def test_draws_are_the_same_on_every_machine() -> None:
    assert derive(0, "order", 3) == 8244215730568551301
    assert torch.equal(torch.rand(3, generator=generator(1, "x")), torch.rand(3, generator=generator(1, "x")))


def test_a_seeded_block_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    with seeded(0, "encoder"):
        torch.rand(7)
    assert torch.equal(torch.rand(2), expected)
