"""The encoder a study names: one scan (s, z, y, x) in [0, 1] and its ROI -> embedding (s, ``model.embedding``).

Every layer of every encoder works sample by sample (GroupNorm and LayerNorm, nothing in place), so that per-sample
gradients exist: Opacus' validator passes and ``torch.func.vmap(grad)`` runs.
"""

from torch import nn

from fedescc.common.imaging import Grid
from fedescc.common.network.cells import CellEncoder
from fedescc.common.network.monai_encoders import MonaiEncoder
from fedescc.common.study import Model


def build_encoder(settings: Model, grid: Grid) -> nn.Module:
    """The encoder named by ``model.encoder``, initialised from torch's present random state."""
    return CellEncoder(settings, grid) if settings.encoder == "cells" else MonaiEncoder(settings, grid)
