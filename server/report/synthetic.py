"""A synthetic cohort's large extra test set: what could have been reached, and cues that must not tell the outcome."""

from collections.abc import Mapping

from fedescc.server.report import svg
from fedescc.server.report.charts import Row, auc_figure
from fedescc.server.report.formats import method_label, plural, sentence, whole
from fedescc.server.report.markup import Html, el
from fedescc.server.report.parts import Area, SyntheticTest
from fedescc.server.report.svg import Look

_CEILINGS = (
    "Ceilings: a regression on the true causes, fitted to as many patients as the models, and the true probability."
)
_METHODS = (
    "centralised",
    "ensemble",
    "fusion",
    "features_clinical",
    "radiomics_clinical",
    "clinical",
    "centralised_clinical",
)


def synthetic_parts(test: SyntheticTest | None, looks: Mapping[str, Look]) -> list[Html]:
    """Figures of the extra test set and of trivial cues; none without one."""
    if test is None:
        return []
    events = f", {whole(test.n_pos)} with the outcome" if test.n_pos is not None else ""
    who = f"{plural(test.n, 'further synthetic patient')}{events}, that no model was trained on."
    figures = []
    if rows := _synthetic_rows(test, looks):
        caption = f"{who} {_CEILINGS}"
        figures.append(auc_figure("synthetic-auc", "Large synthetic test set", caption, rows))
    if cues := _cue_rows(test):
        caption = (
            "AUC of scores that need no learning; far from 0.5, the cohort could be solved without reading the CT."
        )
        figures.append(auc_figure("cues-auc", "Trivial cues", caption, cues))
    return [el("h3", "Synthetic cohort: what could be reached"), el("div", *figures, class_="columns")]


def _synthetic_rows(test: SyntheticTest, looks: Mapping[str, Look]) -> list[Row]:
    areas = test.auc
    mean = None if areas.local_only_mean is None else Area(auc=areas.local_only_mean)
    named: list[tuple[str, Area | None, Look, bool]] = [
        ("Federated", areas.federated, svg.ACCENT, True),
        *(
            (method_label(name), getattr(areas, name), svg.look(place + 1), False)
            for place, name in enumerate(_METHODS)
        ),
        ("Local only, mean", mean, svg.look(3), False),
        *((f"Local: {site}", area, looks[site], False) for site, area in sorted(areas.local_only.items())),
        ("Ceiling: true causes", areas.ceiling_latent_regression, svg.POOLED, False),
        ("Ceiling: Bayes", areas.ceiling_bayes, svg.POOLED, False),
    ]
    return [Row(label, seen, area.auc, area.auc_ci95, strong) for label, area, seen, strong in named if area]


def _cue_rows(test: SyntheticTest) -> list[Row]:
    return [Row(sentence(name), svg.look(0), area) for name, area in test.trivial_cues.items()]
