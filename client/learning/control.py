"""SCAFFOLD at the site: its control variate (Karimireddy et al., ICML 2020, algorithm 1, option II).

The server sends its weights x and its control c. A step moves y by the gradient plus c - c_i. Afterwards

    c_i⁺ = c_i - c + (x - y) / Σ η_k

where the paper has K · η for K steps of one rate. Under a schedule each step k has its own rate η_k, and
x - y = Σ η_k (g_k + c - c_i), so that dividing by the sum of the rates gives what K · η gives there: the mean of the
gradients along the way, weighted by their rates. Weight decay is part of those gradients, and a clip of the steps
too: where it binds, c_i approaches the gradient over several rounds, by at most the clip in each.
"""

import numpy as np

from fedescc.common.arrays import FlatParameters
from fedescc.common.errors import Refusal


def split_control(received: FlatParameters) -> tuple[FlatParameters, FlatParameters]:
    """The server's weights and its control, (size,) each, out of one array of both.

    Raises:
        Refusal: ``wrong-parameters``, they cannot be of one size.

    """
    if received.ndim != 1 or len(received) % 2:
        raise Refusal("wrong-parameters", "weights and control are not of one size", "check the server's version")
    weights, control = np.split(received, 2)
    return weights, control


def next_control(own: FlatParameters, server: FlatParameters, delta: FlatParameters, rates: float) -> FlatParameters:
    """c_i⁺, (size,) float32; unchanged where no step was taken.

    Args:
        own: c_i, (size,).
        server: c, (size,).
        delta: y - x, (size,).
        rates: sum of the learning rates of the steps taken.

    """
    if not rates:
        return own
    mean_step = delta.astype(np.float64) / rates
    after: FlatParameters = (own.astype(np.float64) - server - mean_step).astype(np.float32)
    return after
