"""FedAvg's fold equals the definition and leaves nothing behind from a refused update."""

import numpy as np
import pytest

from fedescc.common.errors import Refusal
from fedescc.server.aggregate import Fold


def test_weighted_mean_by_hand():
    fold = Fold(size=2, parties=2)
    fold.add(np.array([1.0, 0.0], np.float32), 1)
    fold.add(np.array([0.0, 2.0], np.float32), 3)
    assert fold.weight == 4
    assert np.allclose(fold.mean(), [0.25, 1.5], rtol=0, atol=2**-33)


@pytest.mark.parametrize(
    ("delta", "weight", "code"),
    [
        (np.zeros(3, np.float32), 1, "update-wrong-size"),
        (np.zeros(2, np.float32), 0, "update-without-patients"),
        (np.zeros(2, np.float32), -5, "update-without-patients"),
        (np.array([0, np.nan], np.float32), 1, "update-not-finite"),
        (np.array([0, 3e38], np.float32), 10, "update-too-large"),
    ],
)
def test_a_refused_update_changes_nothing(delta, weight, code):
    fold = Fold(size=2, parties=3)
    fold.add(np.array([1.0, 1.0], np.float32), 2)
    with pytest.raises(Refusal, match=code):
        fold.add(delta, weight)
    assert fold.weight == 2
    assert np.array_equal(fold.mean(), [1.0, 1.0])


def test_an_empty_fold_has_no_mean():
    with pytest.raises(Refusal, match="no-training-patients"):
        Fold(size=2, parties=1).mean()
