"""Means of Shapley values: of a linear model by the ``shap`` library, of a network by our explainer on pooled patients.

A network's means would take hours by ``shap``; `fedescc.simulations.audit.shapley_patients` holds our explainer against
it on a few patients.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedescc.common.disclosure.rounding import DECIMALS
from fedescc.common.network.model import LinearModel
from fedescc.common.players import covariate_groups
from fedescc.common.study import Study
from fedescc.common.tabular.covariates import Encoding
from fedescc.simulations.audit.figures import EXACT, Ledger
from fedescc.simulations.audit.library import shap_library
from fedescc.simulations.audit.pairs import Floats

GROUP = "explanation"
SINGLE_PRECISION = 1e-5  # of logits, as the additivity that is asked of them
HIDDEN = "player-of-too-few"

Players = tuple[Floats, NDArray[np.bool_]]
"""Shapley values (n, players), and which patients have the player."""


def linear_values(model: LinearModel, columns: Floats, reference: Floats) -> Floats:
    """Values (n, columns) by `shap.LinearExplainer` against one reference (columns,)."""
    shap = shap_library()
    weights = model.linear.weight.detach().cpu().numpy()[0].astype(np.float64)
    background = shap.maskers.Independent(reference[None])
    explainer = shap.LinearExplainer((weights, model.linear.bias.item()), background)
    return np.asarray(explainer.shap_values(columns), dtype=np.float64)


def by_group(values: Floats, encoding: Encoding, study: Study) -> Floats:
    """Values of columns, summed by the study's clinical groups: (n, groups)."""
    of_column = np.array(encoding.column_groups)
    return np.stack([values[:, of_column == group].sum(axis=1) for group in covariate_groups(study)], axis=1)


def everybody(values: Floats) -> Players:
    """Players whom every patient has."""
    return values, np.ones(values.shape, np.bool_)


def audit_means(
    ledger: Ledger, name: str, entry: Mapping[str, Any], names: Sequence[str], values: Mapping[str, Players]
) -> None:
    """Patients, mean |φ|, mean φ and SD of every player, at every site and pooled over those that show it.

    Args:
        ledger: takes the figures.
        name: of the explanation.
        entry: ``pooled`` and ``sites``.
        names: of the players.
        values: site -> its values.

    """
    for site, players in entry["sites"].items():
        for place, player in enumerate(names):
            if players[player]["n"] == 0:
                ledger.skip(f"{name} / {site} / {player}", HIDDEN)
            else:
                _check(ledger, f"{name} / {site} / {player}", players[player], _of(values[site], place), sites=1)
    for place, player in enumerate(names) if entry["pooled"] else ():
        shown = [site for site, players in entry["sites"].items() if players[player]["n"]]
        parts = [np.zeros(0), *(_of(values[site], place) for site in shown)]
        label = f"{name} / pooled / {player}"
        _check(ledger, label, entry["pooled"][player], np.concatenate(parts), sites=len(shown))


def audit_reference(ledger: Ledger, name: str, published: Mapping[str, Any], columns: Sequence[Floats]) -> None:
    """What a removed clinical input shows: the columns' means over the sites' training patients."""
    X = np.concatenate(columns)
    ledger.check(GROUP, f"{name} / reference, patients", published["patients"], len(X))
    largest = float(np.abs(np.array(published["values"]) - X.mean(axis=0)).max(initial=0.0))
    ledger.check(GROUP, f"{name} / reference, largest difference", largest, 0.0)


def _of(values: Players, place: int) -> Floats:
    phi, present = values
    own: Floats = phi[present[:, place], place]
    return own


def _check(ledger: Ledger, label: str, row: Mapping[str, Any], phi: Floats, *, sites: int) -> None:
    """Sites send sums in six decimals, and compute in single precision."""
    n = len(phi)
    ledger.check(GROUP, f"{label} n", row["n"], n)
    if not n:
        return
    rounding = sites * 10.0**-DECIMALS / n + SINGLE_PRECISION
    ledger.check(GROUP, f"{label} mean_abs", row["mean_abs"], float(np.abs(phi).mean()), rounding)
    ledger.check(GROUP, f"{label} mean", row["mean"], float(phi.mean()), rounding)
    if n > 1:
        spread = float(phi.std(ddof=1))
        ledger.check(GROUP, f"{label} sd", row["sd"], spread, _of_spread(spread, float(phi.mean()), n, sites))


def _of_spread(spread: float, mean: float, n: int, sites: int) -> float:
    """How far an SD moves when sums and sums of squares are rounded: a small one moves by the root of it."""
    of_variance = sites * 10.0**-DECIMALS * (1 + 2 * abs(mean)) / (n - 1)
    narrower = math.sqrt(max(spread**2 - of_variance, 0.0))
    return max(math.sqrt(spread**2 + of_variance) - spread, spread - narrower) + SINGLE_PRECISION + EXACT
