"""Test patients of a made-up study."""

import numpy as np
import pytest
from audited import EDGES, THRESHOLD

from fedescc.simulations.audit.bins import Locked
from fedescc.simulations.audit.scores import Scored


@pytest.fixture
def scored():
    """Two hundred patients."""
    rng = np.random.default_rng(8)
    y = (rng.random(200) < 0.35).astype(np.int8)
    return Scored(y, rng.normal(1.3 * (y - 0.5)) - 0.4)


@pytest.fixture
def locked():
    return Locked(EDGES, THRESHOLD)
