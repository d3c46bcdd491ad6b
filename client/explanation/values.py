"""Exact Shapley values of one site's patients: image regions and groups of clinical variables, or single columns.

Players are tumour, rim and rest at every time point of the study, then the clinical groups. A scan is encoded
on its own, so 2³ encoder passes a time point (`passes`) and 2^players evaluations of the small fusion head (`games`)
give every coalition; nothing is sampled.

The reference is the same at all sites: a removed region's voxels take one fixed HU (`regions`), a removed clinical
group takes the reference of its columns, which are the federation's means where the server gives them, and 0
otherwise: for a numeric value the mean too, for a category or a missing flag "no flag set".
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedescc.client.explanation.games import Inputs, coalition_logits, column_weights
from fedescc.client.explanation.passes import encode_regions
from fedescc.client.explanation.regions import RIM_MM, Baseline
from fedescc.client.learning.dataset import SiteTensors
from fedescc.common.network.model import LinearModel, PairedCNN
from fedescc.common.players import covariate_groups, player_names
from fedescc.common.statistics.shapley import additive_deletion_areas, deletion_areas, shapley_values
from fedescc.common.study import REGIONS, Study
from fedescc.common.tabular.covariates import Encoding

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]
AnyModel = PairedCNN | LinearModel


@dataclass(frozen=True, eq=False)
class Explanation:
    """Shapley values on the scale of the logit.

    Attributes:
        players: (m,) names: ``pre_tumour`` and so on, then the clinical groups; or the columns.
        phi: (n, m) float64; a row's sum is ``logits - base``.
        logits: (n,) logit with all players.
        base: (n,) logit with none.
        present: (n, m) bool, False for the regions of a missing scan (their phi is 0).
        areas: (n,) area between the deletion curves, see `deletion_areas`.

    """

    players: tuple[str, ...]
    phi: Floats
    logits: Floats
    base: Floats
    present: NDArray[np.bool_]
    areas: Floats


def explain(
    model: AnyModel, tensors: SiteTensors, study: Study, encoding: Encoding, reference: Floats | None = None
) -> Explanation:
    """Exact Shapley values (Shapley 1953) of every patient's logit, in evaluation mode."""
    rows = np.arange(len(tensors))
    embedded = region_embeddings([model], tensors, study, rows)[0]
    return explain_embedded(model, embedded, tensors, rows, study, encoding, reference)


def region_embeddings(
    models: Sequence[AnyModel], tensors: SiteTensors, study: Study, rows: Rows, baseline: Baseline = "fixed"
) -> list[Tensor]:
    """What each model's encoder makes of the patients' regions, as `encode_regions`; of a study without images none."""
    networks = [model for model in models if isinstance(model, PairedCNN)]
    if study.imaging is None or not networks:
        return [torch.zeros(len(rows), 0, 1, 0) for _ in models]
    rim_mm = study.model.rim_mm or RIM_MM
    return encode_regions(networks, tensors, rows, study.imaging.grid, rim_mm, baseline)


def explain_embedded(
    model: AnyModel,
    embedded: Tensor,
    tensors: SiteTensors,
    rows: Rows,
    study: Study,
    encoding: Encoding,
    reference: Floats | None = None,
) -> Explanation:
    """The values of the patients in ``rows``, whose regions were encoded before."""
    inputs = inputs_of(embedded, tensors, rows, study, encoding, reference)
    m = len(player_names(study))
    phi, ends, areas = [np.empty((0, m))], [np.empty((0, 2))], [np.empty(0)]
    for worth in coalition_logits(model, inputs):
        phi.append(shapley_values(worth))
        ends.append(worth[:, [0, -1]])
        areas.append(deletion_areas(worth, phi[-1]))
    base, logits = np.concatenate(ends).T
    present = _present(tensors.present[torch.from_numpy(rows)], inputs.players)
    return Explanation(player_names(study), np.concatenate(phi), logits, base, present, np.concatenate(areas))


def inputs_of(
    embedded: Tensor,
    tensors: SiteTensors,
    rows: Rows,
    study: Study,
    encoding: Encoding,
    reference: Floats | None = None,
) -> Inputs:
    """The patients in ``rows`` as the games take them."""
    names = tuple(covariate_groups(study))
    groups = np.array([names.index(group) for group in encoding.column_groups], dtype=np.intp)
    return Inputs(
        embedded, tensors.clinical[torch.from_numpy(rows)], _reference(reference, encoding), groups, len(names)
    )


def explain_columns(
    model: LinearModel, tensors: SiteTensors, encoding: Encoding, reference: Floats | None = None
) -> Explanation:
    """Exact values of every column of a linear model: coefficient x (value - reference).

    Equal to the Shapley values with the reference as background (Lundberg & Lee, NeurIPS 2017, corollary 1).
    """
    columns, n = len(encoding.columns), len(tensors)
    shown = _reference(reference, encoding).numpy().astype(np.float64)
    weights = column_weights(model, columns)
    assert weights is not None
    phi = (tensors.clinical.numpy().astype(np.float64) - shown) * weights
    base = float(model.linear.bias.detach().cpu()[0]) + float(shown @ weights)
    return Explanation(
        encoding.columns,
        phi,
        base + phi.sum(axis=1),
        np.full(n, base),
        np.ones((n, columns), np.bool_),
        additive_deletion_areas(phi),
    )


def _reference(reference: Floats | None, encoding: Encoding) -> Tensor:
    columns = len(encoding.columns)
    return torch.zeros(columns) if reference is None else torch.from_numpy(reference.astype(np.float32))


def _present(present: Tensor, groups: int) -> NDArray[np.bool_]:
    scans = np.repeat(present.numpy() > 0, len(REGIONS), axis=1)
    return np.concatenate([scans, np.ones((len(scans), groups), np.bool_)], axis=1)
