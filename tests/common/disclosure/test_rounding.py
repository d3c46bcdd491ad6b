"""Real figures of one site lose digits that nobody needs; counts and whole sums lose none."""

import pytest

from fedescc.common.disclosure.rounding import rounded

EXACT = {"n": 123456789, "tp": 7, "gradient": [2**54 + 1], "counts": [1, 2], "large_loss": [0.123456789012]}


def test_losses_and_estimates_have_six_decimals() -> None:
    sums = {"brier_sum": 3.14159265358979, "validation_log_loss_sum": 20.00000049, "auc": 2 / 3, "loss": 0.1}
    expected = {"brier_sum": 3.141593, "validation_log_loss_sum": 20.0, "auc": 0.666667, "loss": 0.1}
    assert rounded(sums) == expected


def test_counts_whole_sums_and_newton_terms_stay_exact() -> None:
    assert rounded(EXACT) == EXACT


def test_a_whole_loss_stays_whole() -> None:
    """Of a logistic regression it is fixed point, and totals must not depend on rounding."""
    found = rounded({"loss": 2**50 + 1})["loss"]
    assert (found, type(found)) == (2**50 + 1, int)


@pytest.mark.parametrize("area", [1e-9, 1 - 1e-9])
def test_an_area_stays_between_0_and_1(area: float) -> None:
    assert 0 <= float(str(rounded({"auc": area})["auc"])) <= 1
