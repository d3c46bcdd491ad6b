"""Patients with scores, for tests of the statistics on them."""

from typing import TypeVar

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from fedescc.common.errors import Refusal
from fedescc.common.statistics.roc import Estimate

T = TypeVar("T")
Floats = NDArray[np.float64]
Labels = NDArray[np.bool_]


def known(estimate: Estimate[T]) -> T:
    """The value, where there must be one."""
    assert estimate.value is not None, estimate.reason
    return estimate.value


def code(attempt: object) -> str | None:
    """The code with which a call without arguments is refused; None if it is not."""
    assert callable(attempt)
    try:
        attempt()
    except Refusal as refusal:
        return refusal.code
    return None


def patients(rng: np.random.Generator, n: int, gap: float, scale: float = 1.0) -> tuple[Labels, Floats]:
    """Binormal scores of about 35 % positives, at least two a class; AUC is Φ(gap / √2)."""
    y = rng.random(n) < 0.35
    y[:4] = [True, True, False, False]
    return y, scale * (rng.normal(size=n) + gap * (y - 0.5))


@st.composite
def tied_scores(draw: st.DrawFn, at_least: int = 2) -> tuple[Labels, Floats]:
    """Small samples of whole scores from -4 to 4, with many ties and at least so many patients in each class."""
    extra = draw(st.lists(st.booleans(), max_size=30))
    y = np.array([True] * at_least + [False] * at_least + extra)
    scores = draw(hnp.arrays(np.int64, y.size, elements=st.integers(-4, 4)))
    return y, scores.astype(np.float64)
