"""The worth of every coalition, from encoded regions and clinical columns, without another look at a scan."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedescc.common.network.model import LinearModel, PairedCNN
from fedescc.common.statistics.shapley import coalition_masks
from fedescc.common.study import REGIONS

_PATIENTS_AT_ONCE = 16
_HEAD_ROWS = 1 << 16
_SUBSETS = 2 ** len(REGIONS)

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Inputs:
    """What the coalitions of several patients are made from.

    Attributes:
        embedded: (n, t, 8, embedding + 1), every scan under every subset of its regions; t = 0 without images.
        clinical: (n, columns).
        reference: (columns,), what a removed clinical group shows.
        groups: (columns,), the clinical player each column belongs to.
        players: clinical players; some may have no column.

    """

    embedded: Tensor
    clinical: Tensor
    reference: Tensor
    groups: NDArray[np.intp]
    players: int

    def __len__(self) -> int:
        return len(self.clinical)


def coalition_logits(model: PairedCNN | LinearModel, inputs: Inputs) -> Iterator[Floats]:
    """Logits of some patients at a time under every coalition, (b, 2^players) float64: regions first, then groups."""
    compute = _by_parts if isinstance(_last_layer(model), nn.Linear) else _by_rows
    model.to("cpu").eval()
    with torch.inference_mode():
        for start in range(0, len(inputs), _PATIENTS_AT_ONCE):
            rows = slice(start, start + _PATIENTS_AT_ONCE)
            yield compute(model, inputs, inputs.embedded[rows], inputs.clinical[rows])


def full_logits(model: PairedCNN | LinearModel, inputs: Inputs) -> Floats:
    """Logit of every patient with everything in place, by the model's own head, (n,)."""
    model.to("cpu").eval()
    with torch.inference_mode():
        logits = model.head(inputs.embedded[:, :, -1], inputs.clinical)
    return np.asarray(logits.numpy(), dtype=np.float64)


def column_weights(model: PairedCNN | LinearModel, columns: int) -> Floats | None:
    """Weight of every clinical column, (columns,), where the logit is linear in them; else None."""
    last = _last_layer(model)
    if not isinstance(last, nn.Linear):
        return None
    weights: Floats = last.weight[0, last.in_features - columns :].detach().cpu().numpy().astype(np.float64)
    return weights


def _last_layer(model: PairedCNN | LinearModel) -> nn.Module:
    return model.linear if isinstance(model, LinearModel) else model.fusion


def _by_parts(model: PairedCNN | LinearModel, inputs: Inputs, embedded: Tensor, clinical: Tensor) -> Floats:
    """A linear fusion adds up an image part and one of each group: 8^t + groups numbers give all 2^players."""
    b, t = embedded.shape[:2]
    scans = _scan_subsets(t)
    seen = embedded[:, torch.arange(t), scans] if t else embedded.new_zeros(b, 1, 0, 0)
    at_reference = inputs.reference.expand(b * len(scans), -1)
    image = model.head(seen.flatten(0, 1), at_reference).reshape(b, -1).numpy().astype(np.float64)
    weights = column_weights(model, clinical.shape[1])
    assert weights is not None
    moved = (clinical - inputs.reference).numpy().astype(np.float64) * weights
    effects = moved @ (inputs.groups[:, None] == np.arange(inputs.players))
    groups = effects @ coalition_masks(inputs.players).T
    worth: Floats = (groups[:, :, None] + image[:, None, :]).reshape(b, -1)
    return worth


def _by_rows(model: PairedCNN | LinearModel, inputs: Inputs, embedded: Tensor, clinical: Tensor) -> Floats:
    """Any head, in blocks of many coalitions."""
    b, t = embedded.shape[:2]
    regions = len(REGIONS) * t
    members = coalition_masks(regions + inputs.players)
    scans = _scan_subsets(t)[torch.arange(len(members)) % 2**regions]
    kept = torch.from_numpy(members[:, regions:][:, inputs.groups])
    values = np.empty((b, len(members)))
    for patient in range(b):
        for start in range(0, len(members), _HEAD_ROWS):
            rows = slice(start, start + _HEAD_ROWS)
            seen = embedded[patient, torch.arange(t), scans[rows]]
            shown = torch.where(kept[rows], clinical[patient], inputs.reference)
            values[patient, rows] = model.head(seen, shown).numpy()
    return values


def _scan_subsets(t: int) -> Tensor:
    """Subset of each scan's regions by image coalition, (8^t, t)."""
    places = torch.arange(_SUBSETS**t)
    return torch.stack([places // _SUBSETS**point % _SUBSETS for point in range(t)], dim=1) if t else places[:, None]
