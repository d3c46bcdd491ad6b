"""Every patient is seen once a pass, in batches and pieces of two or more."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedescc.client.learning.plan import batch_plan, pad, pieces
from fedescc.common.federation import Training


@given(st.integers(2, 60), st.integers(2, 20), st.integers(1, 3))
def test_every_pass_uses_every_patient_once_in_batches_of_two_or_more(n: int, size: int, epochs: int) -> None:
    plan = batch_plan(n, Training(batch_size=size, local_epochs=epochs), np.random.default_rng(0))
    lengths = [len(index) for index, _ in plan]
    assert min(lengths) >= 2
    assert max(lengths) <= max(3, 1.5 * size + 1)
    seen = np.concatenate([index for index, _ in plan])
    assert np.bincount(seen, minlength=n).tolist() == [epochs] * n
    assert all((counted == 1).all() for _, counted in plan)


@given(st.integers(1, 40), st.integers(1, 30))
def test_local_updates_is_an_exact_number_of_batches(n: int, updates: int) -> None:
    settings = Training.model_validate({"local_updates": updates, "batch_size": 8})
    assert len(batch_plan(n, settings, np.random.default_rng(0))) == updates


@pytest.mark.parametrize(
    ("drawn", "index", "counted"),
    [([], [0, 0], [0, 0]), ([5], [5, 5], [1, 0]), ([5, 2], [5, 2], [1, 1]), ([4, 0, 9], [4, 0, 9], [1, 1, 1])],
)
def test_a_short_draw_is_filled_with_copies_that_do_not_count(
    drawn: list[int], index: list[int], counted: list[int]
) -> None:
    padded = pad(np.array(drawn, np.intp))
    assert (padded[0].tolist(), padded[1].tolist()) == (index, counted)
    assert (padded[0].dtype, padded[1].dtype) == (np.intp, np.float32)


@given(st.integers(2, 50), st.integers(2, 20) | st.none())
def test_pieces_hold_every_patient_of_a_batch_once(patients: int, most: int | None) -> None:
    cut = pieces(patients, most)
    assert all(2 <= len(places) <= (most or patients) for places, _ in cut)
    counted = np.zeros(patients)
    for places, filled in cut:
        np.add.at(counted, places, filled)
    assert counted.tolist() == [1] * patients
