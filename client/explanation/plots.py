"""Pictures of explanations, as PNG: shap's beeswarm and waterfall, and a slice with what its regions contribute."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedescc.client.explanation.values import Explanation

_DPI = 80
_MOST_BARS = 16

Floats = NDArray[np.float64]
Image = NDArray[np.float32]


def beeswarm(found: Explanation, data: Floats | None = None) -> bytes:
    """Every patient's value of every player; ``data`` (n, m) colours the points where the players are columns."""
    import shap

    plt = _pyplot()
    plt.figure()
    shap.plots.beeswarm(_as_shap(found, data), max_display=_MOST_BARS, show=False)
    return _png(plt)


def waterfall(found: Explanation, row: int, data: Floats | None = None) -> bytes:
    """One patient's way from the base to the logit."""
    import shap

    plt = _pyplot()
    plt.figure()
    shap.plots.waterfall(_as_shap(found, data)[row], max_display=_MOST_BARS, show=False)
    return _png(plt)


def overlay(images: Image, tumours: Image, rims: Image, values: dict[str, tuple[float, float]]) -> bytes:
    """The slice of each scan that shows most of its tumour, tumour and rim coloured by what they contribute.

    Args:
        images: (t, z, y, x) windowed intensities.
        tumours: the same shape, 1 inside.
        rims: the same shape, 1 inside.
        values: time point -> the values of tumour and rim.

    """
    plt = _pyplot()
    figure, axes = plt.subplots(1, len(values), squeeze=False, figsize=(3.2 * len(values), 3.4))
    largest = max([1e-9, *(abs(value) for pair in values.values() for value in pair)])
    for place, (point, (tumour, rim)) in enumerate(values.items()):
        slice_ = int(tumours[place].sum(axis=(1, 2)).argmax())
        axis, inside, around = axes[0][place], tumours[place, slice_] > 0, rims[place, slice_] > 0
        axis.imshow(images[place, slice_], cmap="gray", vmin=0, vmax=1)
        painted = np.where(inside, tumour, np.where(around, rim, np.nan))
        axis.imshow(painted, cmap="coolwarm", vmin=-largest, vmax=largest, alpha=0.45)
        axis.set_title(f"{point}, slice {slice_}: tumour {tumour:+.2f}, rim {rim:+.2f}", fontsize=7)
        axis.set_axis_off()
    figure.tight_layout()
    return _png(plt)


def _as_shap(found: Explanation, data: Floats | None) -> Any:
    import shap

    return shap.Explanation(found.phi, base_values=found.base, data=data, feature_names=list(found.players))


def _pyplot() -> Any:
    """Pyplot without a display, whatever the machine has."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def _png(plt: Any) -> bytes:
    """The current figure, which is closed."""
    content = io.BytesIO()
    plt.savefig(content, format="png", dpi=_DPI, bbox_inches="tight")
    plt.close("all")
    return content.getvalue()
