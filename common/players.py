"""Whose contributions are explained: image regions per time point, groups of clinical covariates, image features."""

from fedescc.common.study import FEATURE_GROUP, REGIONS, Study

MAX_REFERENCE = 1000  # columns of a model whose clinical inputs are explained


def player_names(study: Study) -> tuple[str, ...]:
    """Names in the order of the players' bits: ``pre_tumour``, …, ``post_rest``, then `covariate_groups`."""
    time_points = study.imaging.time_points if study.imaging else ()
    regions = [f"{point}_{region}" for point in time_points for region in REGIONS]
    return (*regions, *covariate_groups(study))


def covariate_groups(study: Study) -> dict[str, tuple[str, ...]]:
    """The study's explanation groups; where it declares none, every covariate is its own group.

    The image features that join the fusion are one more group, the last.
    """
    groups = dict(study.analysis.explanation_groups) or {name: (name,) for name in study.covariates}
    features = study.model.image_features
    return groups | {FEATURE_GROUP: features} if features else groups
