"""The audit of one fold: every model's figures, how the comparators came about, the encoding, the explanation."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fedescc.client.answers.governed import classes_may_be_told
from fedescc.client.cohort import SiteCohort
from fedescc.client.site import ReleasePolicy
from fedescc.common import wire
from fedescc.common.names import POOLED
from fedescc.common.tabular.covariates import Encoding
from fedescc.server.evaluation.fold_comparators import NETWORK
from fedescc.simulations.audit.bins import Locked, audit_bins, read_locks
from fedescc.simulations.audit.calibration import audit_calibration
from fedescc.simulations.audit.classification import audit_classification
from fedescc.simulations.audit.contributions import Policies, told_columns
from fedescc.simulations.audit.covariates import audit_encoding
from fedescc.simulations.audit.curves import audit_curves, audit_roc
from fedescc.simulations.audit.derived import audit_gaps, audit_primary
from fedescc.simulations.audit.discrimination import audit_auc, audit_binned_auc
from fedescc.simulations.audit.explanations import audit_explanation
from fedescc.simulations.audit.figures import Ledger
from fedescc.simulations.audit.heterogeneity import audit_meta, audit_within
from fedescc.simulations.audit.paired import audit_difference
from fedescc.simulations.audit.regressions import audit_fusion, audit_regression
from fedescc.simulations.audit.scores import Scored, models_of, pool, regression_of, score
from fedescc.simulations.audit.subgroups import audit_subgroups
from fedescc.simulations.audit.thresholds import audit_threshold
from fedescc.simulations.comparison.comparators import Fitted, Scorer
from fedescc.simulations.comparison.fold_comparison import FoldComparison

PERSONAL = "models-stay-at-the-sites"
HERE_ALREADY = "computed-on-pooled-patients"
RESAMPLED = "sites-drawn-at-random"
GOVERNED = "sites-keep-training-scores"

Entry = Mapping[str, Any]


@dataclass
class FoldAudit:
    """The audit of one fold.

    Attributes:
        ledger: takes the figures.
        fold: its models, results and patients.
        policies: of the sites.

    """

    ledger: Ledger
    fold: FoldComparison
    policies: Policies

    def run(self, comparators: Entry) -> None:
        """Recompute everything; ``comparators`` are the fold's entries with what the simulation added to them."""
        results, models = self.fold.results, self.models
        for name in models:
            entry = results["final"] if name == NETWORK else results["comparators"].get(name)
            if entry is not None and name in self.locks:
                self._model(name, entry)
        if NETWORK in models:
            self._network(results["final"])
            self._explanation(NETWORK, results["explanation"], self.fold.federated)
        else:
            self.ledger.skip(NETWORK, PERSONAL)
        self._comparators()
        self._differences(comparators)
        audit_encoding(
            self.ledger,
            "encoding",
            self.fold.federated.encoding,
            self.fold.study,
            self._of(results["flow"]),
            self.policies,
        )

    @cached_property
    def models(self) -> dict[str, Scorer]:
        """The network and what the sites fitted together."""
        return models_of(self.fold)

    @cached_property
    def test(self) -> dict[str, dict[str, Scored]]:
        """Model -> site -> its test patients."""
        return {name: score(model, self.fold.cohorts, "test") for name, model in self.models.items()}

    @property
    def held_out(self) -> dict[str, Scored]:
        """The site that the fold held out, under its network; empty of other folds and of sites' own networks."""
        site = self.fold.results["held_out"]
        return {site: self.test[NETWORK][site]} if site is not None and NETWORK in self.models else {}

    @cached_property
    def locks(self) -> dict[str, Locked]:
        """Model -> its bins and threshold."""
        return read_locks(self.fold)

    def _model(self, name: str, entry: Entry) -> None:
        """METRICS of one model at every site and pooled."""
        test, locked = self.test[name], self.locks[name]
        self._bins(name)
        self._threshold(name, entry)
        for site, record in entry["sites"].items():
            if record["n"] is None:
                self.ledger.skip(f"{name} / {site}", record["suppressed"]["n"])
                continue
            audit_auc(self.ledger, f"{name} / {site}", record, test[site])
            self._record(f"{name} / {site}", record, test[site], locked)
        if entry["pooled"]["n"] is None:
            self.ledger.skip(f"{name} / {POOLED}", entry["pooled"]["suppressed"]["n"])
            return
        everybody = pool(test[site] for site in _pooled_sites(entry))
        if entry["pooled"]["auc"] is not None:
            audit_binned_auc(self.ledger, f"{name} / {POOLED}", entry["pooled"], everybody, locked)
        self._record(f"{name} / {POOLED}", entry["pooled"], everybody, locked)

    def _record(self, label: str, record: Entry, scored: Scored, locked: Locked) -> None:
        audit_classification(self.ledger, label, record, scored, locked.threshold)
        audit_calibration(self.ledger, label, record, scored)

    def _bins(self, name: str) -> None:
        asked = self._of(self.fold.results["flow"])
        if any(_keeps_scores(self.policies[site], cohort) for site, cohort in asked.items()):
            self.ledger.skip(f"{name} / bins", GOVERNED)
            return
        training = score(self.models[name], asked, "train").values()
        audit_bins(self.ledger, name, self.locks[name], training, self.fold.study)

    def _threshold(self, name: str, entry: Entry) -> None:
        """By the validation patients of the sites that told the histograms which the rule saw."""
        source = self.fold.results if name == NETWORK else entry
        missed = source["refused_in_evaluation"].get(wire.VALIDATION, {})
        asked = {site: one for site, one in self._of(self.fold.results["flow"]).items() if site not in missed}
        asked = {site: one for site, one in asked.items() if _tells_classes(self.policies[site], one)}
        told = score(self.models[name], asked, "validation").values()
        published, rule = entry["pooled"]["threshold"], self.fold.study.analysis.threshold
        audit_threshold(self.ledger, name, published, self.locks[name], told, rule)

    def _network(self, final: Entry) -> None:
        """What only the run's own model has: curves, subgroups, random effects."""
        test, locked, ledger = self.test[NETWORK], self.locks[NETWORK], self.ledger
        pooled = {site: test[site] for site in _pooled_sites(final)}
        for name, curve in final["roc"].items():
            audit_roc(ledger, f"{NETWORK} / {name}", curve, pool(pooled.values()) if name == POOLED else test[name])
        if POOLED in final["roc"]:
            audit_curves(ledger, f"{NETWORK} / {POOLED}", final, pool(pooled.values()), locked)
        audit_meta(ledger, NETWORK, final["meta"], test)
        audit_within(ledger, NETWORK, final["auc_within_site"], test)
        audit_primary(ledger, NETWORK, final)
        ledger.skip(f"{NETWORK} / bootstrap", RESAMPLED)
        if final.get("subgroups"):
            cohorts = self.fold.cohorts
            audit_subgroups(
                ledger, NETWORK, final["subgroups"], pooled, cohorts, self.fold.study, self.policies, locked
            )
            audit_gaps(ledger, NETWORK, final["fairness"], final["subgroups"])

    def _explanation(self, name: str, entry: Entry, fitted: Fitted) -> None:
        fold, trained = self.fold, self._of(self.fold.results["flow"])
        audit_explanation(self.ledger, name, entry, fitted, fold.cohorts, trained, fold.study, self.policies)

    def _comparators(self) -> None:
        """How the comparators that the sites fitted came about, and their explanations."""
        balanced, study = self.fold.federation.training.class_weight == "balanced", self.fold.study
        for name, entry in self.fold.results["comparators"].items():
            own, fitted_on = self.fold.results["comparator_models"][name], self._of(entry["fitted_on"])
            if own["of"] is None:
                encoding = Encoding.model_validate(own["encoding"])
                inputs = [
                    (
                        told_columns(cohort, encoding, study, self.policies[site], "train"),
                        cohort.labels[cohort.rows("train")],
                    )
                    for site, cohort in fitted_on.items()
                ]
                audit_regression(self.ledger, name, own, inputs, balanced=balanced)
                if "explanation" in entry:
                    self._explanation(name, entry["explanation"], regression_of(own))
            elif name in self.models:
                audit_fusion(self.ledger, name, own, [self.models[part] for part in own["of"]], fitted_on)

    def _differences(self, comparators: Entry) -> None:
        """Paired differences: of binned scores by the federation, of exact ones by the simulation."""
        for entry in self.fold.results["final"].get("comparisons") or ():
            self._by_bins(entry)
        wired, tested = self.fold.wired(), self._of(_pooled_sites(self.fold.results["final"]))
        for name, entry in comparators.items():
            if name not in wired:
                self.ledger.skip(name, HERE_ALREADY)
            elif "versus_federated" in entry:
                own = pool(score(wired[name], tested, "test").values())
                label = f"{name} versus {NETWORK}, exact scores"
                _audit_pair(self.ledger, label, entry["versus_federated"], [own, self._network_tested])

    @cached_property
    def _network_tested(self) -> Scored:
        """The pooled test patients under the network."""
        return pool(self.test[NETWORK][site] for site in _pooled_sites(self.fold.results["final"]))

    def _by_bins(self, entry: Entry) -> None:
        names, sites = (entry["model"], entry["versus"]), _pooled_sites(self.fold.results["final"])
        if not all(name in self.models for name in names):
            self.ledger.skip(f"{names[0]} versus {names[1]}", PERSONAL)
            return
        pair = [self.locks[name].binned(pool(self.test[name][site] for site in sites)) for name in names]
        _audit_pair(self.ledger, f"{names[0]} versus {names[1]}", entry, pair)
        for site, own in entry.get("sites", {}).items():
            exact = [self.test[name][site] for name in names]
            _audit_pair(self.ledger, f"{names[0]} versus {names[1]} / {site}", own, exact, rounded=True)

    def _of(self, names: Collection[str]) -> dict[str, SiteCohort]:
        return {site: cohort for site, cohort in self.fold.cohorts.items() if site in names}


def _audit_pair(ledger: Ledger, label: str, entry: Entry, pair: Sequence[Scored], *, rounded: bool = False) -> None:
    audit_difference(ledger, label, entry, pair[0].y, pair[0].logit, pair[1].logit, rounded=rounded)


def _keeps_scores(policy: ReleasePolicy, cohort: SiteCohort) -> bool:
    return policy.score_histogram == "never" or len(cohort.rows("train")) < policy.min_class_count


def _tells_classes(policy: ReleasePolicy, cohort: SiteCohort) -> bool:
    told = classes_may_be_told(cohort, cohort.rows("validation"), policy.min_class_count)
    return policy.score_histogram != "never" and told


def _pooled_sites(entry: Entry) -> list[str]:
    """The sites whose test patients a pooled record speaks of."""
    shown = [site for site, record in entry["sites"].items() if record["n"] is not None]
    return list(entry.get("pooled_sites", shown))
