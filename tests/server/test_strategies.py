"""FedAvg's and FedProx's server step."""

import numpy as np
import pytest

from fedescc.common.strategy import FedAvg, FedProx
from fedescc.server.strategies import ServerState, server_step


@pytest.mark.parametrize("strategy", [FedAvg(), FedProx(mu=0.1)])
def test_the_mean_update_is_added_in_double_precision(strategy):
    start = ServerState(np.array([1.0, 1e8], np.float32), round=4)
    end = server_step(strategy)(start, np.array([0.5, 1e-9]))
    assert end.round == 5
    assert end.weights.dtype == np.float32
    assert end.weights.tolist() == [1.5, 1e8]
    assert start.weights.tolist() == [1.0, 1e8]
