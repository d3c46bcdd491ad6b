"""Which round is kept: hand-made validation sums, sites that come and go, ties, patience."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedescc.common.federation import Selection
from fedescc.common.statistics.metrics import EvaluationSums
from fedescc.server.replies import SplitShare
from fedescc.server.training.selection import Best, asks_for_last, best_so_far, choose, pooled_log_loss, should_stop

BEST = Selection(keep="best")


def share(n, mean_loss):
    return SplitShare(EvaluationSums(n, 0, 0, 0, n, 0, 0.0, n * mean_loss), None)


def model(**losses):
    """Shares of sites a (10 patients), b (30) and c (60); None keeps its sums."""
    sizes = {"a": 10, "b": 30, "c": 60}
    return {name: SplitShare(None, None) if v is None else share(sizes[name], v) for name, v in losses.items()}


def test_the_pooled_loss_weighs_patients_and_not_sites():
    shares = model(a=1.0, b=0.5, c=None)
    assert pooled_log_loss(shares) == pytest.approx((10 * 1.0 + 30 * 0.5) / 40)
    assert pooled_log_loss(shares, {"a"}) == 1.0
    assert pooled_log_loss(model(a=None)) is None
    assert pooled_log_loss({}) is None


def test_the_first_of_equals_is_the_best():
    assert best_so_far([model(a=0.7), model(a=0.5), model(a=0.5), model(a=0.6)]) == Best(1, 2)
    assert best_so_far([]) == Best(None, 0)


def test_a_hard_site_that_misses_a_round_does_not_make_it_look_good():
    """Model 1 pools to .5 over a alone, less than model 0's .86 over both; on a, which both have, it is worse."""
    models = [model(a=0.4, b=1.0), model(a=0.5)]
    assert pooled_log_loss(models[1]) < pooled_log_loss(models[0])
    assert best_so_far(models) == Best(0, 1)
    assert best_so_far([*models, model(a=0.3, b=0.99)]).round == 2


def test_models_without_a_common_site_are_not_compared_and_cost_no_patience():
    assert best_so_far([model(a=0.9), model(b=0.1), model(c=None), {}]) == Best(0, 0)


def test_a_first_model_without_sums_leaves_the_choice_to_those_with():
    assert best_so_far([model(a=None), model(a=0.7), model(a=0.6)]) == Best(2, 0)


def test_patience_counts_comparable_models_since_the_best():
    patient = Selection(keep="best", patience=2)
    models = [model(a=0.5), model(a=0.6), model(a=None), model(a=0.5)]
    assert [should_stop(patient, best_so_far(models[:k])) for k in range(5)] == [False, False, False, False, True]
    assert not should_stop(BEST, Best(0, 10_000))


def test_the_choice_and_its_reason():
    models = [model(a=0.9), model(a=0.2), model(a=0.4)]
    assert (choose(BEST, models).round, choose(BEST, models).reason) == (1, "best-validation")
    assert (choose(Selection(), models).round, choose(Selection(), models).reason) == (2, "last-round")
    hidden = [model(a=None)] * 3
    assert (choose(BEST, hidden).round, choose(BEST, hidden).reason) == (2, "no-validation-released")
    assert asks_for_last(BEST)
    assert not asks_for_last(Selection(patience=3))


@given(st.lists(st.floats(0, 10), min_size=1, max_size=12))
def test_with_one_site_the_choice_is_the_first_minimum(losses):
    models = [{"a": share(7, loss)} for loss in losses]
    pooled = [pooled_log_loss(m) for m in models]
    assert choose(BEST, models).round == pooled.index(min(pooled))
