"""Exact Shapley values of one site's patients: image regions and groups of clinical variables.

Players are tumour, rim and rest at every time point of the study, then the clinical groups. A scan is encoded
on its own, so 2³ encoder passes a time point and 2^players evaluations of the small fusion head give every
coalition; nothing is sampled.

A removed region's voxels take one fixed HU, the same at all sites. The ROI channel, which is also the
encoder's pooling weight, goes with the tumour: without it the encoder pools over the whole volume, as it does
for a patient without ROI, and the tumour's outline is not betrayed; a rim that is an input of the model is made
from the ROI by the model itself, so it goes too. The rim as a player is found from the ROI once, before anything
is removed; it is as wide as the model's, or 6 mm where the model has none. A removed clinical group takes the
columns' reference: 0, which for a numeric value is the federation's mean, and for a category or a missing flag
means "no flag set".
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedescc.client.learning.dataset import Batch, SiteTensors
from fedescc.client.learning.predict import batches
from fedescc.client.learning.train import choose_device
from fedescc.common.imaging import Grid
from fedescc.common.network.model import LinearModel, PairedCNN
from fedescc.common.players import covariate_groups, player_names
from fedescc.common.statistics.shapley import coalition_masks, shapley_values
from fedescc.common.study import REGIONS, Study
from fedescc.common.tabular.covariates import Encoding

BASELINE_HU = -100.0  # mediastinal fat
RIM_MM = 6.0
_PATIENTS_AT_ONCE = 4
_HEAD_ROWS = 1 << 16


@dataclass(frozen=True, eq=False)
class Explanation:
    """Shapley values on the scale of the logit.

    Attributes:
        players: (m,) names: ``pre_tumour`` and so on, then the clinical groups.
        phi: (n, m) float64; a row's sum is ``logits - base``.
        logits: (n,) logit with all players.
        base: (n,) logit with none.
        present: (n, m) bool, False for the regions of a missing scan (their phi is 0).

    """

    players: tuple[str, ...]
    phi: NDArray[np.float64]
    logits: NDArray[np.float64]
    base: NDArray[np.float64]
    present: NDArray[np.bool_]


def explain(model: PairedCNN | LinearModel, tensors: SiteTensors, study: Study, encoding: Encoding) -> Explanation:
    """Exact Shapley values (Shapley 1953) of every patient's logit, in evaluation mode."""
    groups, players = tuple(covariate_groups(study)), player_names(study)
    device = choose_device()
    model.to(device).eval()
    columns = torch.tensor([groups.index(group) for group in encoding.column_groups], dtype=torch.long)
    phi, ends = [np.empty((0, len(players)))], [np.empty((0, 2))]
    with torch.inference_mode():
        for batch in batches(tensors, _PATIENTS_AT_ONCE):
            worth = _coalition_logits(model, batch.to(device), study, columns.to(device), len(groups))
            phi.append(shapley_values(worth))
            ends.append(worth[:, [0, -1]])
    base, logits = np.concatenate(ends).T
    return Explanation(players, np.concatenate(phi), logits, base, _present(tensors.present, len(groups)))


def _present(present: Tensor, groups: int) -> NDArray[np.bool_]:
    scans = np.repeat(present.numpy() > 0, len(REGIONS), axis=1)
    return np.concatenate([scans, np.ones((len(scans), groups), np.bool_)], axis=1)


def _coalition_logits(
    model: PairedCNN | LinearModel, batch: Batch, study: Study, columns: Tensor, groups: int
) -> NDArray[np.float64]:
    """Logit of every patient and coalition, (b, 2^m) float64."""
    b, t = batch.present.shape
    embedded = _region_embeddings(model, batch, study)
    members = coalition_masks(len(REGIONS) * t + groups)
    scans = torch.from_numpy(
        members[:, : len(REGIONS) * t].reshape(len(members), t, len(REGIONS)) @ np.array([1, 2, 4])
    )
    kept = torch.from_numpy(members[:, len(REGIONS) * t :].astype(np.float32)).to(columns.device)[:, columns]
    values = np.empty((b, len(members)))
    for patient in range(b):
        for start in range(0, len(members), _HEAD_ROWS):
            rows = slice(start, start + _HEAD_ROWS)
            seen = embedded[patient, torch.arange(t), scans[rows].to(embedded.device)]
            logits = model.head(seen, kept[rows] * batch.clinical[patient])
            values[patient, rows] = logits.cpu().numpy()
    return values


def _region_embeddings(model: PairedCNN | LinearModel, batch: Batch, study: Study) -> Tensor:
    """What the encoder makes of each scan with each subset of its regions, (b, t, 8, embedding + 1)."""
    b, t = batch.present.shape
    if study.imaging is None or isinstance(model, LinearModel):
        return batch.clinical.new_zeros(b, t, 1, 0)
    grid = study.imaging.grid
    low, high = grid.window_hu
    fill = (BASELINE_HU - low) / (high - low)
    images, rois, present = batch.images.flatten(0, 1), batch.rois.flatten(0, 1), batch.present.flatten()
    regions = _regions(rois, grid, study.model.rim_mm or RIM_MM)
    embedded = []
    for keep in coalition_masks(len(REGIONS)):
        shown = regions[:, torch.from_numpy(keep).to(regions.device)].any(dim=1)
        tumour = rois if keep[0] else torch.zeros_like(rois)
        embedded.append(model.encode(torch.where(shown, images, fill), tumour, present))
    return torch.stack(embedded, dim=1).reshape(b, t, len(embedded), -1)


def _regions(rois: Tensor, grid: Grid, rim_mm: float) -> Tensor:
    """Tumour, rim (near it, by Euclidean distance) and rest: (s, 3, z, y, x) bool, a partition."""
    from scipy.ndimage import distance_transform_edt

    tumour = rois.cpu().numpy() > 0
    near = np.zeros_like(tumour)
    for scan in np.flatnonzero(tumour.any(axis=(1, 2, 3))):
        near[scan] = distance_transform_edt(~tumour[scan], sampling=grid.spacing_zyx_mm) <= rim_mm
    return torch.from_numpy(np.stack([tumour, near & ~tumour, ~near], axis=1)).to(rois.device)
