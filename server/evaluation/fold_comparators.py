"""The comparators that the sites fit together, in one fold: fitted before the test set opens, judged on it once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from fedescc.common.analysis import FUSED_BY_DEFAULT, FUSION
from fedescc.common.errors import Refusal
from fedescc.common.tabular.covariates import Encoding
from fedescc.server.evaluation.comparators import SCREENED, Comparator, candidate_features, fit_comparator, fuse
from fedescc.server.evaluation.evaluate import NO_QUORUM, Evaluation, Evaluator
from fedescc.server.evaluation.opening import UNDECLARED

NETWORK = "federated"

EncodingWith = Callable[[Sequence[str]], Encoding]


@dataclass
class FoldComparators:
    """What was fitted, and why the rest was not.

    Attributes:
        fitted: name -> comparator.
        unavailable: name -> code.

    """

    fitted: dict[str, Comparator] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)

    def evaluators(self, network: Evaluator) -> dict[str, Evaluator]:
        """Everything that will look at the test set, the run's own model first."""
        return {NETWORK: network, **{name: one.evaluator for name, one in self.fitted.items()}}

    def entries(self, evaluations: Mapping[str, Evaluation], undeclared: Sequence[str] = ()) -> dict[str, Any]:
        """What results say of each: METRICS, the fit, and who was missing.

        One without a quorum becomes unavailable, and so does one that was ``undeclared`` when the test set was opened.
        """
        found = {}
        for name, one in self.fitted.items():
            if name not in evaluations:
                self.unavailable[name] = UNDECLARED if name in undeclared else NO_QUORUM
                continue
            judged = evaluations[name]
            found[name] = {
                "pooled": judged.pooled,
                "sites": judged.sites,
                "pooled_sites": judged.pooled_sites,
                **one.entry(),
                **self._parts(one),
                "refused_in_evaluation": one.evaluator.refused,
            }
        return found

    def models(self) -> dict[str, Any]:
        """Coefficients with what they multiply: of a regression its encoding, of a fusion the models joined."""
        return {
            name: {
                "coefficients": list(one.coefficients),
                "penalty": one.penalty,
                "encoding": None if one.encoding is None else one.encoding.model_dump(mode="json"),
                "of": self._parts(one).get("of"),
            }
            for name, one in self.fitted.items()
        }

    def _parts(self, comparator: Comparator) -> dict[str, list[str]]:
        """The models that a fusion joins: a regression that could not be fitted is not among them."""
        if comparator.encoding is not None:
            return {}
        return {"of": [NETWORK, *(name for name in self.fitted if name != FUSION)]}


def fit_comparators(
    names: Sequence[str],
    network: Evaluator,
    encoding_with: EncodingWith,
    *,
    balanced: bool,
) -> FoldComparators:
    """Fit the comparators named; one that cannot be fitted costs no other, and says why.

    A fusion joins the network with every regression that was asked for, or with ``features_clinical`` where none was.

    Args:
        names: regressions of `SCREENED`, and ``fusion``.
        network: the run's own model.
        encoding_with: the encoding of the clinical covariates and of some image features.
        balanced: both classes get the same say.

    """
    found = FoldComparators()
    wanted = [name for name in SCREENED if name in names]
    if FUSION in names:
        wanted = wanted or [FUSED_BY_DEFAULT]
    for name in wanted:
        _attempt(found, name, partial(_fit, name, network, encoding_with, balanced=balanced))
    if FUSION in names:
        _attempt(found, FUSION, lambda: fuse(FUSION, found.evaluators(network)))
    return found


def _fit(name: str, network: Evaluator, encoding_with: EncodingWith, *, balanced: bool) -> Comparator:
    return fit_comparator(name, network, encoding_with(candidate_features(name)), balanced=balanced)


def _attempt(found: FoldComparators, name: str, fit: Callable[[], Comparator]) -> None:
    try:
        found.fitted[name] = fit()
    except Refusal as refusal:
        found.unavailable[name] = refusal.code
