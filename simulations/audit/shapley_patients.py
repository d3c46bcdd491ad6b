"""Our exact explainer of a network against `shap.ExactExplainer`, patient by patient and player by player."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fedescc.client.cohort import SiteCohort
from fedescc.client.explanation.regions import BASELINE_HU, RIM_MM
from fedescc.client.explanation.values import Explanation, explain
from fedescc.client.learning.dataset import Batch, SiteTensors
from fedescc.common.players import covariate_groups, player_names
from fedescc.common.study import REGIONS, Study
from fedescc.simulations.audit.figures import Ledger
from fedescc.simulations.audit.library import shap_library
from fedescc.simulations.audit.pairs import Floats
from fedescc.simulations.audit.scores import Rows
from fedescc.simulations.comparison.comparators import Fitted

if TYPE_CHECKING:
    import torch

GROUP = "explanation, shap on single patients"
TOLERANCE = 1e-5
FEW = 2

Worth = Callable[[Floats], Floats]


def network_values(
    fitted: Fitted, cohort: SiteCohort, rows: Rows, study: Study, columns: Floats, reference: Floats
) -> Explanation:
    """Our explanation of some patients, whose clinical ``columns`` (n, columns) are given."""
    tensors = _tensors(fitted, cohort, rows, columns)
    return explain(fitted.model, tensors, study, fitted.encoding, reference)


def audit_patient(
    ledger: Ledger, site: str, fitted: Fitted, cohort: SiteCohort, study: Study, columns: Floats, reference: Floats
) -> None:
    """A site's first test patient; ``columns`` (1, columns). All that is told is the largest difference of a player."""
    shap = shap_library()
    rows = cohort.rows("test")[:1]
    players = len(player_names(study))
    ours = network_values(fitted, cohort, rows, study, columns, reference).phi
    worth = _worth(fitted, _tensors(fitted, cohort, rows, columns).batch(np.arange(1)), study, reference)
    explainer = shap.ExactExplainer(worth, shap.maskers.Independent(np.zeros((1, players))))
    theirs = explainer(np.ones((1, players)), max_evals=2**players, silent=True).values
    largest = float(np.abs(ours - theirs).max())
    ledger.check(GROUP, f"{site} / largest difference of a player", largest, 0.0, TOLERANCE)


def _tensors(fitted: Fitted, cohort: SiteCohort, rows: Rows, columns: Floats) -> SiteTensors:
    import torch

    tensors = SiteTensors.from_cohort(cohort, fitted.encoding, rows)
    return replace(tensors, clinical=torch.from_numpy(columns.astype(np.float32)))


def _worth(fitted: Fitted, batch: Batch, study: Study, reference: Floats) -> Worth:
    """Logit of one patient from who takes part, (coalitions, players) of 0 and 1."""
    import torch

    model, groups = fitted.model, tuple(covariate_groups(study))
    batch = batch.to(next(model.parameters()).device)
    shown = torch.from_numpy(reference.astype(np.float32)).to(batch.clinical.device)
    of_column = np.array([groups.index(group) for group in fitted.encoding.column_groups], dtype=np.intp)
    embedded = _embeddings(fitted, batch, study)

    def worth(members: Floats) -> Floats:
        regions = members[:, : -len(groups)].reshape(len(members), -1, len(REGIONS)).astype(int)
        kept = torch.from_numpy(members[:, -len(groups) :][:, of_column] > 0).to(batch.clinical.device)
        scans = [torch.stack([embedded[t, tuple(row)] for row in regions[:, t]]) for t in range(regions.shape[1])]
        with torch.inference_mode():
            logits = model.head(torch.stack(scans, dim=1), torch.where(kept, batch.clinical, shown))
        return np.asarray(logits.cpu().numpy(), np.float64)

    return worth


def _embeddings(fitted: Fitted, batch: Batch, study: Study) -> "dict[tuple[int, tuple[int, ...]], torch.Tensor]":
    """Time point and which regions are shown -> what the encoder makes of the scan with holes in it."""
    import torch
    from scipy.ndimage import distance_transform_edt

    if study.imaging is None:
        return {}
    grid, device = study.imaging.grid, batch.images.device
    low, high = grid.window_hu
    found = {}
    for point in range(batch.images.shape[1]):
        image, roi = batch.images[0, point].cpu().numpy(), batch.rois[0, point].cpu().numpy()
        inside = roi >= 0.5
        away = distance_transform_edt(~inside, sampling=grid.spacing_zyx_mm) if inside.any() else np.inf + roi
        region = np.where(inside, 0, np.where(away <= (study.model.rim_mm or RIM_MM), 1, 2))
        for shown in np.ndindex(2, 2, 2):
            hole = np.where(np.array(shown)[region] > 0, image, (BASELINE_HU - low) / (high - low))
            left = roi if shown[0] else np.zeros_like(roi)
            scan = [torch.from_numpy(array.astype(np.float32))[None].to(device) for array in (hole, left)]
            with torch.inference_mode():
                found[point, shown] = fitted.model.encode(*scan, batch.present[0, point : point + 1])[0]
    return found
