"""Warm-up and cosine by the share of all rounds that is done."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedescc.client.learning.schedule import Turn, learning_rate
from fedescc.common.federation import Training


def rates(settings: Training, rounds: int, steps: int) -> list[float]:
    turns = [Turn(0, number, rounds, "a") for number in range(1, rounds + 1)]
    return [turn.rate(settings, step, steps) for turn in turns for step in range(steps)]


def test_cosine_falls_from_the_full_rate_to_zero_across_rounds() -> None:
    settings = Training(learning_rate=0.2, schedule="cosine")
    assert [learning_rate(settings, p) for p in (0, 0.5, 1)] == pytest.approx([0.2, 0.1, 0], abs=1e-12)
    assert learning_rate(Training(learning_rate=0.2, schedule="constant"), 0.7) == 0.2


def test_the_rate_rises_on_a_line_whose_first_step_moves() -> None:
    settings = Training(learning_rate=1.0, schedule="constant", warmup=0.4)
    assert rates(settings, rounds=5, steps=2) == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1])


def test_after_the_warm_up_the_cosine_spans_what_is_left() -> None:
    settings = Training(learning_rate=1.0, schedule="cosine", warmup=0.2)
    assert [learning_rate(settings, p) for p in (0.2, 0.6, 1)] == pytest.approx([1, 0.5, 0], abs=1e-12)


def test_the_schedule_is_monais_with_the_warm_up_one_step_earlier() -> None:
    from fedescc.common.network.monai_import import torch_jit_unmentioned

    with torch_jit_unmentioned():
        from monai.optimizers.lr_scheduler import WarmupCosineSchedule
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    peer = WarmupCosineSchedule(optimizer, warmup_steps=4, t_total=20)
    theirs = [0.3 * peer.lr_lambda(step) for step in range(20)]
    ours = rates(Training(learning_rate=0.3, schedule="cosine", warmup=0.2), rounds=5, steps=4)
    assert ours[4:] == pytest.approx(theirs[4:], abs=1e-12)
    assert ours[:4] == pytest.approx(theirs[1:5], abs=1e-12)


@given(st.floats(0, 0.99), st.integers(1, 30), st.integers(1, 30), st.sampled_from(["constant", "cosine"]))
def test_every_rate_is_positive_and_at_most_the_full_one(warmup: float, rounds: int, steps: int, kind: str) -> None:
    settings = Training.model_validate({"learning_rate": 0.1, "schedule": kind, "warmup": warmup})
    found = np.array(rates(settings, rounds, steps))
    assert (found > 0).all()
    assert (found <= 0.1).all()


def test_seed_round_and_site_each_decide_the_random_numbers() -> None:
    turns = (Turn(0, 1, 9, "a"), Turn(1, 1, 9, "a"), Turn(0, 2, 9, "a"), Turn(0, 1, 9, "b"))
    assert len({turn.derived_seed for turn in turns}) == 4
    assert all(0 <= turn.derived_seed < 2**63 for turn in turns)
