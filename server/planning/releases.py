"""What can be shown of sites and subgroups: expected from counts, by the rules that a site releases by.

A hash draws the test patients. So test sets are drawn that are as likely, given the training patients' levels and
outcomes (Dirichlet-multinomial; a level that nobody has stays empty), and each is governed as the site would govern it,
levels that are hidden only to protect another among them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fedescc.common.analysis import subgroup_levels
from fedescc.common.counts import Cell, SiteCounts
from fedescc.common.study import Study
from fedescc.common.subgroups import hidden_levels

Role = Literal["own_results", "sums_only", "not_told"]
_LIKELY = 0.5
_DRAWS, _SEED = 200, 0


@dataclass(frozen=True)
class Level:
    """What to expect of one level of a subgroup.

    Attributes:
        patients: training patients of the sites that told them.
        positives: those with the outcome.
        tested: expected test patients at the sites likely to show them.
        likely_sites: sites more likely than not to show the level.
        expected_sites: mean number of sites that show it.
        kept_by: sites that kept the count, which show the level hardly.

    """

    patients: int
    positives: int
    tested: float
    likely_sites: tuple[str, ...]
    expected_sites: float
    kept_by: tuple[str, ...]


def patients_tested(counts: SiteCounts, mode: str) -> Cell:
    """A site's patients who will be tested: of the fixed split the test set, with every patient tested once all."""
    return counts.whole if mode in {"kfold", "loso"} else counts.splits["test"]


def role_of(counts: SiteCounts, mode: str, folds: int, minimum: int) -> Role:
    """Whether a site's own results can be shown: both classes of each fold's test patients reach the minimum.

    ``not_told``: it kept the counts for another reason, such as a run mode that divides patients otherwise.
    """
    cell = patients_tested(counts, mode)
    if cell.classes is None:
        told = counts.whole.positives is not None or any(one.positives is not None for one in counts.splits.values())
        return "sums_only" if told or counts.whole.patients is None else "not_told"
    shares = folds if mode == "kfold" else 1
    return "own_results" if min(cell.classes) / shares >= minimum else "sums_only"


def expected_levels(
    study: Study, sites: Mapping[str, SiteCounts], mode: str, folds: int
) -> dict[str, dict[str, Level]]:
    """Every subgroup's levels, in the study's order."""
    minimum = study.disclosure.min_class_count
    number = {site: _tested_patients(study, counts, mode, folds) for site, counts in sites.items()}
    found = {}
    for name, levels in subgroup_levels(study).items():
        cells = {site: counts.levels[name] for site, counts in sites.items()}
        training = {site: counts.splits["train"].classes for site, counts in sites.items()}
        chance = {site: _chances(cells[site], training[site], number[site], minimum) for site in sites}
        found[name] = {level: _level(level, cells, chance, _scale(sites, number, mode, folds)) for level in levels}
    return found


def _level(
    level: str,
    cells: Mapping[str, Mapping[str, Cell]],
    chance: Mapping[str, Mapping[str, float]],
    scale: Mapping[str, float],
) -> Level:
    told = {site: one[level] for site, one in cells.items() if one[level].classes is not None}
    likely = tuple(site for site in sorted(told) if chance[site].get(level, 0.0) >= _LIKELY)
    return Level(
        patients=sum(cell.patients or 0 for cell in told.values()),
        positives=sum(cell.positives or 0 for cell in told.values()),
        tested=sum((told[site].patients or 0) * scale[site] for site in likely),
        likely_sites=likely,
        expected_sites=sum(one.get(level, 0.0) for one in chance.values()),
        kept_by=tuple(sorted(cells.keys() - told.keys())),
    )


def _tested_patients(study: Study, counts: SiteCounts, mode: str, folds: int) -> int:
    """Patients in a fold's test set; by the study's shares of the training patients where they are not told."""
    split = study.analysis.split
    training = counts.splits["train"].patients or 0
    if mode in {"kfold", "loso"}:
        whole = counts.whole.patients
        everybody = training / split.train if whole is None else whole
        return round(everybody / folds if mode == "kfold" else everybody)
    tested = counts.splits["test"].patients
    return round(training * (1 - split.train - split.validation) / split.train) if tested is None else tested


def _scale(sites: Mapping[str, SiteCounts], number: Mapping[str, int], mode: str, folds: int) -> dict[str, float]:
    """Tested patients of all folds for each training patient."""
    a_fold = folds if mode == "kfold" else 1
    return {site: a_fold * number[site] / (counts.splits["train"].patients or 1) for site, counts in sites.items()}


def _chances(
    cells: Mapping[str, Cell], training: tuple[int, int] | None, tested: int, minimum: int
) -> dict[str, float]:
    """Level -> share of drawn test sets in which the site shows it; levels that it keeps are missing.

    What it keeps is hidden in the test set too, as two levels of half the patients.
    """
    told = {level: cell.classes for level, cell in cells.items() if cell.classes is not None}
    if training is None or not told:
        return {}
    shown = np.array(list(told.values()), dtype=np.int64)
    rest = (np.array(training) - shown.sum(axis=0)) / 2
    everyone = np.vstack([shown, rest, rest])
    kept = np.array([False] * len(told) + [True, True])
    patients = _drawn(everyone, tested)
    hidden = [hidden_levels(draw[:, 0], draw[:, 1], minimum, kept) for draw in patients]
    visible = ~np.array(hidden) & patients.any(axis=2)
    return dict(zip(told, visible.mean(axis=0)[: len(told)].tolist(), strict=True))


def _drawn(cells: NDArray[np.float64], tested: int) -> NDArray[np.int64]:
    """Test patients by level and class, (draws, levels, 2): Dirichlet-multinomial, given training patients."""
    rng = np.random.default_rng(_SEED)
    shares = rng.standard_gamma(cells.ravel(), size=(_DRAWS, cells.size))
    shares /= shares.sum(axis=1, keepdims=True)
    return rng.multinomial(tested, shares).reshape(_DRAWS, *cells.shape)
