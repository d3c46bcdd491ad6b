"""Whose contributions are explained: image regions per time point, and groups of clinical covariates."""

from fedescc.common.study import REGIONS, Study


def player_names(study: Study) -> tuple[str, ...]:
    """Names in the order of the players' bits: ``pre_tumour``, …, ``post_rest``, then the clinical groups."""
    time_points = study.imaging.time_points if study.imaging else ()
    regions = [f"{point}_{region}" for point in time_points for region in REGIONS]
    return (*regions, *covariate_groups(study))


def covariate_groups(study: Study) -> dict[str, tuple[str, ...]]:
    """The study's explanation groups; where it declares none, every covariate is its own group."""
    return dict(study.analysis.explanation_groups) or {name: (name,) for name in study.covariates}
