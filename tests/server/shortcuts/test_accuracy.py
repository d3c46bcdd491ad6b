"""Balanced accuracy from counts of which some are hidden: its interval covers, and bounds hold what is not told."""

import numpy as np
import pytest

from fedescc.common.statistics.proportions import wilson_interval
from fedescc.server.shortcuts.accuracy import balanced_accuracy
from fedescc.server.shortcuts.replies import Assigned


def told(n, right):
    return Assigned(n, right, right)


def test_the_mean_over_classes_not_over_patients():
    found = balanced_accuracy({"a": [told(100, 100)], "b": [told(10, 5)]}, 0.5)
    assert found["accuracy"] == pytest.approx(0.75)
    assert found["classes"]["b"] == {"n": 10, "right": 5, "accuracy": 0.5}
    assert "suppressed" not in found


def test_the_interval_of_one_class_is_wilsons():
    found = balanced_accuracy({"a": [told(13, 6), told(7, 3)]}, 0.5)
    assert found["ci95"] == pytest.approx(list(wilson_interval(9, 20).value))


def test_the_interval_of_the_mean_by_hand():
    parts = {"a": (20, 15), "b": (30, 12)}
    found = balanced_accuracy({name: [told(*part)] for name, part in parts.items()}, 0.5)
    ends = [wilson_interval(right, n).value for n, right in parts.values()]
    low = np.hypot(15 / 20 - ends[0][0], 12 / 30 - ends[1][0]) / 2
    high = np.hypot(ends[0][1] - 15 / 20, ends[1][1] - 12 / 30) / 2
    assert found["accuracy"] == pytest.approx(0.575)
    assert found["ci95"] == pytest.approx([0.575 - low, 0.575 + high])


def test_a_hidden_count_leaves_bounds_and_a_wider_interval():
    shown = balanced_accuracy({"a": [told(20, 20)], "b": [told(20, 19)]}, 0.5)
    found = balanced_accuracy({"a": [told(20, 20)], "b": [Assigned(20, 16, 19)]}, 0.5)
    assert found["accuracy"] is None
    assert found["suppressed"] == "small-cells-hidden"
    assert found["bounds"] == pytest.approx([0.9, 0.975])
    assert found["ci95"][0] < shown["ci95"][0]
    assert found["ci95"][1] == pytest.approx(shown["ci95"][1])
    assert found["told_apart"]
    assert found["classes"]["b"] == {"n": 20, "right": None, "accuracy": None, "suppressed": "small-cells-hidden"}


def test_guessing_is_not_told_apart_and_certainty_is():
    assert not balanced_accuracy({name: [told(10, 5)] for name in "ab"}, 0.5)["told_apart"]
    assert balanced_accuracy({name: [told(10, 10)] for name in "ab"}, 0.5)["told_apart"]


def test_the_interval_covers_the_truth_in_19_of_20_cohorts():
    rng, truth, sizes = np.random.default_rng(4), (0.45, 0.3, 0.6), (14, 25, 40)
    covered = 0
    for _ in range(1500):
        counts = {str(i): [told(n, int(rng.binomial(n, p)))] for i, (n, p) in enumerate(zip(sizes, truth, strict=True))}
        low, high = balanced_accuracy(counts, 1 / 3)["ci95"]
        covered += low <= np.mean(truth) <= high
    assert 0.935 <= covered / 1500 <= 0.97
