"""Small sweeps."""

from pathlib import Path

import pytest

from fedescc.common.study import read_study
from fedescc.simulations.scenarios.settings import Sweep, swept_study


@pytest.fixture(scope="session")
def small_study():
    """The shipped study on a grid of 16 voxels."""
    return swept_study(read_study("escc-pcr"), 16)


@pytest.fixture(scope="session")
def make_sweep(small_study):
    """A sweep of two hospitals with six patients each; keywords replace its settings."""

    def make(out=Path("unused"), **changes):
        settings = {
            "study": small_study,
            "strategies": ("fedavg", "fedprox"),
            "heterogeneity": ("none", "missing_modality"),
            "sites": 2,
            "patients": 6,
            "test_patients": 25,
            "rounds": 2,
            "seeds": (0,),
            "out": out,
        }
        return Sweep(**settings | changes)

    return make
