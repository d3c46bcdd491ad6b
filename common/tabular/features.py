"""Names, units and bounds of what a site measures in its own images: named and radiomic features.

A study lists those it uses under ``model.image_features``. They are measured at the hospital
(``fedescc.client.features``) and never leave it but in sums; the bounds are what the exact sums rest on.
A name is the measure and when: ``_pre``, ``_post`` or ``_change``.
"""

from typing import NamedTuple

from fedescc.common.protocol import Moment, NumericVariable


class Measure(NamedTuple):
    """What is measured in one scan, and how its change is told.

    Attributes:
        unit: of the value in one scan.
        range: bounds of that value; what lies outside counts as the bound.
        change_unit: of the change, post less pre; ``log ratio`` is the natural logarithm of post by pre.
        change_range: bounds of the change.

    """

    unit: str
    range: tuple[float, float]
    change_unit: str
    change_range: tuple[float, float]


# Of the soft tissue in the tumour bed, unless said otherwise; client/features/measures.py says how.
NAMED_MEASURES: dict[str, Measure] = {
    "tumour_volume": Measure("ml", (0, 2000), "log ratio", (-10, 10)),
    "tumour_area_max": Measure("cm2", (0, 200), "log ratio", (-10, 10)),
    "bed_tissue_share": Measure("share of the bed", (0, 1), "share of the bed", (-1, 1)),
    "wall_thickness_max": Measure("mm", (0, 200), "mm", (-200, 200)),
    "wall_thickness_mean": Measure("mm", (0, 200), "mm", (-200, 200)),
    "tumour_hu": Measure("HU", (-200, 400), "HU", (-600, 600)),
    "tumour_enhancement": Measure("ratio to blood", (-5, 8), "ratio to blood", (-13, 13)),
    "tumour_heterogeneity": Measure("HU", (0, 500), "HU", (-500, 500)),
    "tumour_heterogeneity_coarse": Measure("HU", (0, 500), "HU", (-500, 500)),
    "tumour_hypodensity": Measure("HU", (0, 500), "HU", (-500, 500)),
    "edge_sharpness": Measure("HU/mm", (0, 500), "HU/mm", (-500, 500)),
    "fat_stranding": Measure("HU", (0, 200), "HU", (-200, 200)),
}

# Of the same soft tissue, by the tags of IBSI's tables and of mirp, merged over the directions in 3D (Zwanenburg et
# al., Radiology 2020;295:328); left out are those that follow from others and spatial autocorrelation, which is slow.
RADIOMIC_MEASURES: tuple[str, ...] = (
    "stat_mean", "stat_var", "stat_skew", "stat_kurt", "stat_median", "stat_p10", "stat_p90", "stat_iqr", "stat_mad",
    "stat_rmad", "stat_qcod", "stat_energy", "stat_rms",
    "morph_volume", "morph_area_mesh", "morph_sphericity", "morph_diam", "morph_pca_maj_axis", "morph_pca_min_axis",
    "morph_pca_least_axis",
    "cm_joint_max", "cm_joint_entr", "cm_contrast", "cm_dissimilarity", "cm_inv_diff", "cm_corr", "cm_auto_corr",
    "cm_clust_shade", "cm_clust_prom", "cm_info_corr1", "cm_info_corr2",
    "rlm_sre", "rlm_lre", "rlm_glnu_norm", "rlm_rlnu_norm", "rlm_r_perc", "rlm_gl_var", "rlm_rl_entr",
    "szm_sze", "szm_lze", "szm_glnu_norm", "szm_zsnu_norm", "szm_z_perc", "szm_gl_var", "szm_zs_entr",
)  # fmt: skip
_ASINH_RANGE = (-60.0, 60.0)  # sinh(60) is 5.7e25: no measure of a scan is larger


def _named() -> dict[str, NumericVariable]:
    named = {}
    for name, one in NAMED_MEASURES.items():
        named[f"{name}_pre"] = _variable(one.unit, one.range, "baseline")
        named[f"{name}_post"] = _variable(one.unit, one.range, "second_ct")
        named[f"{name}_change"] = _variable(one.change_unit, one.change_range, "second_ct")
    return named


def _radiomic() -> dict[str, NumericVariable]:
    names = [f"{name}_{when}" for name in RADIOMIC_MEASURES for when in ("post", "change")]
    return {name: _variable("asinh", _ASINH_RANGE, "second_ct") for name in names}


def _variable(unit: str, bounds: tuple[float, float], when: Moment) -> NumericVariable:
    return NumericVariable(type="numeric", unit=unit, range=bounds, available_at=when)


NAMED_FEATURES: dict[str, NumericVariable] = _named()
RADIOMIC_FEATURES: dict[str, NumericVariable] = _radiomic()
