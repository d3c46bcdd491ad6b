"""Leave-one-site-out gains: equal to models trained and tested by hand, and a site that harms shows it."""

import dataclasses
import json

import numpy as np
import pytest
from toy_federation import Toy

from fedescc.client.app import make_client_app
from fedescc.client.local_site import LocalSite
from fedescc.client.site import ReleasePolicy
from fedescc.common.errors import Refusal
from fedescc.common.federation import Federation
from fedescc.common.fold import Loso
from fedescc.common.network.model import build_model
from fedescc.common.statistics.roc import ClassHistogram, auc, histogram_auc, paired_delong
from fedescc.common.wire import Request
from fedescc.server.evaluation.contribution import Without, contributions, train_without
from fedescc.server.evaluation.evaluate import Evaluator, evaluate_all
from fedescc.server.evaluation.fold_comparators import NETWORK
from fedescc.server.exchange import Roster
from fedescc.server.statistics import collect_statistics
from fedescc.server.training.rounds import Rounds
from fedescc.simulations.engines.local_grid import LocalGrid, run_in_process

RUN = "fedcba9876543210"
TRAINING = {"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 0, "class_weight": "none"}


class Federated:
    """The toy federation's sites, and how a model is trained and evaluated on them under a fold."""

    def __init__(self, toy, **settings):
        self.study = toy.study
        self.federation = Federation.model_validate({"rounds": 3, "training": TRAINING} | settings)
        self.sites = {
            name: LocalSite(name, toy.study, toy.policy(name), cohort) for name, cohort in toy.cohorts.items()
        }
        self.roster, self.grid = Roster(), None

    def train(self, fold=None):
        """A model trained under the fold; its evaluator is that of the fixed split."""
        task = {"run": RUN} | ({} if fold is None else {"fold": fold.model_dump(mode="json")})
        statistics = collect_statistics(self.grid, self.roster, self.study, self.federation, task)
        encoding, settings = statistics.encoding.model_dump(mode="json"), self.federation.model_dump(mode="json")
        more = {"federation": settings, "encoding": encoding}
        request = Request(self.study.sha256, {**task, **more, "edges": [0.0], "threshold": 0.0})
        rounds = Rounds(self.grid, self.roster, self.federation, request, statistics.patients)
        model = build_model(self.study, len(statistics.encoding.columns), seed=0)
        start = np.concatenate([p.detach().numpy().ravel() for p in model.parameters()])
        trained = rounds.run(start, lambda record, state: None)
        quorum = self.federation.min_sites
        return Evaluator(self.grid, self.roster, self.study, trained.weights, {"run": RUN, **more}, 60.0, quorum)

    def run(self, work, shuffle=None):
        found = []
        grid = LocalGrid(
            make_client_app(lambda context: self.sites[str(context.node_config["site"])]),
            [{"site": name} for name in self.sites],
            {},
            shuffle,
        )

        def serve(grid, context):
            self.grid = grid
            found.append(work(self))

        run_in_process(serve, grid, {})
        return found[0]


def whole(federated, room=15):
    """Network, models without a site, evaluations of all, and contributions."""
    network = federated.train()
    without = train_without(list(federated.sites), federated.train, network, room)
    evaluations = evaluate_all({NETWORK: network, **without.evaluators})
    entry = contributions((NETWORK, network), without, evaluations)
    return network, without, evaluations, entry


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The toy federation with what `whole` made of it."""
    federated = Federated(Toy(tmp_path_factory.mktemp("toy") / "out"))
    return federated, *federated.run(whole)


def test_the_gain_is_the_difference_of_the_pooled_aucs(finished):
    federated, _, _, evaluations, entry = finished
    json.dumps(entry, allow_nan=False)
    assert entry["unavailable"] == {}
    assert list(entry["sites"]) == sorted(federated.sites)
    for site, gains in entry["sites"].items():
        areas = [evaluations[name].pooled["auc"] for name in (NETWORK, f"without_{site}")]
        gain = gains["all_sites"]
        assert gain["gain"] == pytest.approx(areas[0] - areas[1], abs=1e-12)
        assert gain["ci95"][0] < gain["gain"] < gain["ci95"][1]
        shares = [evaluations[name].roc for name in (NETWORK, f"without_{site}")]
        rest = [[one for name, one in share.items() if name != site] for share in shares]
        pools = [
            ClassHistogram(sum(one.negatives for one in part), sum(one.positives for one in part)) for part in rest
        ]
        expected = histogram_auc(pools[0]).value - histogram_auc(pools[1]).value
        assert gains["other_sites"]["gain"] == pytest.approx(expected, abs=1e-12)


def test_the_interval_is_that_of_a_paired_test_on_the_patients_themselves(finished):
    """Binned scores differ from plain ones by little: intervals agree to a tenth of their width."""
    federated, network, without, _, entry = finished
    site = "site-b"
    model = without.evaluators[f"without_{site}"]
    labels, scores = [], []
    for place in federated.sites.values():
        rows = place.cohort.rows("test")
        labels.append(place.cohort.labels[rows])
        scores.append([place.logits(one.request(), "test") for one in (network, model)])
    y, (ours, theirs) = np.concatenate(labels), np.concatenate(scores, axis=1)
    expected = paired_delong(y, ours, theirs).value
    found = entry["sites"][site]["all_sites"]
    assert found["gain"] == pytest.approx(auc(y, ours).value - auc(y, theirs).value, abs=0.005)
    assert found["standard_error"] == pytest.approx(expected.standard_error, rel=0.35, abs=0.001)


def test_a_site_with_turned_labels_harms_the_model_and_shows_it(toy):
    cohort = toy.cohorts["site-a"]
    learns = cohort.split != "test"
    turned = np.where(learns, 1 - cohort.labels, cohort.labels).astype(np.int8)
    toy.cohorts["site-a"] = dataclasses.replace(cohort, labels=turned)
    entry = Federated(toy, rounds=6).run(whole)[3]
    bad = entry["sites"]["site-a"]["all_sites"]
    assert bad["gain"] < 0
    assert bad["ci95"][1] < 0
    assert all(entry["sites"][name]["all_sites"]["gain"] > bad["gain"] for name in ("site-b", "site-c", "site-d"))


def test_the_model_without_a_site_has_seen_nothing_of_it(toy):
    """Whatever the site's patients are, the model trained without it is the same bit for bit."""

    def without_a(federated):
        return train_without(["site-a", "site-b"], federated.train, federated.train(), 9)

    one = Federated(toy).run(without_a).evaluators["without_site-a"]
    cohort = toy.cohorts["site-a"]
    toy.cohorts["site-a"] = dataclasses.replace(cohort, numeric={n: v[::-1] for n, v in cohort.numeric.items()})
    two = Federated(toy).run(without_a).evaluators["without_site-a"]
    assert np.array_equal(one.weights, two.weights)
    assert one.task["encoding"] == two.task["encoding"]


def test_sites_evaluate_it_under_the_fixed_split_where_the_site_left_out_is_tested_too(finished):
    federated, _, without, evaluations, _ = finished
    assert all("fold" not in one.task for one in without.evaluators.values())
    for name in without.evaluators:
        assert set(evaluations[name].sites) == set(federated.sites)
        assert evaluations[name].pooled["n"] == evaluations[NETWORK].pooled["n"]


def test_the_order_of_answers_changes_nothing(toy, finished):
    assert json.dumps(Federated(toy).run(whole, shuffle=1)[3]) == json.dumps(finished[-1])


def test_a_model_that_cannot_be_trained_costs_no_other(toy):
    def work(federated):
        network = federated.train()

        def train(fold):
            if fold.held_out == "site-b":
                raise Refusal("no-quorum", "too few", "mend")
            return network

        return train_without(["site-c", "site-b"], train, network, 5)

    found = Federated(toy).run(work)
    assert found.unavailable == {"site-b": "no-quorum"}
    assert list(found.evaluators) == ["without_site-c"]


def test_a_quorum_of_all_sites_leaves_no_model_without_one(toy):
    found = Federated(toy, min_sites=4).run(lambda one: train_without(list(one.sites), one.train, one.train(), 9))
    assert found.evaluators == {}
    assert set(found.unavailable.values()) == {"no-quorum"}


@pytest.mark.parametrize(
    ("sites", "room", "kind", "reason"),
    [
        (["a", "b", "c"], 2, "none", "too-many-models"),
        (["a"], 9, "none", "fewer-than-two-sites"),
        (["a", "b"], 9, "ditto", "personalised"),
    ],
)
def test_nothing_is_trained_where_the_question_cannot_be_answered(toy, sites, room, kind, reason):
    task = {"federation": {"personalisation": {"kind": kind}}}
    network = Evaluator(None, Roster(), toy.study, None, task, 1.0, 1)

    def train(fold):
        pytest.fail("trained")

    found = train_without(sites, train, network, room)
    assert found.unavailable == dict.fromkeys(sites, reason)
    assert found.evaluators == {}


def test_models_that_did_not_look_say_why(toy):
    def work(federated):
        network = federated.train()
        without = Without({"without_site-a": network, "without_site-b": network}, {"site-c": "no-quorum"})
        evaluations = evaluate_all({NETWORK: network})
        return contributions((NETWORK, network), without, evaluations, undeclared=["without_site-a"])

    found = Federated(toy).run(work)
    assert found["sites"] == {}
    assert found["unavailable"] == {"site-a": "not-declared", "site-b": "no-quorum", "site-c": "no-quorum"}


def test_a_site_that_keeps_its_histogram_leaves_the_gain_null_with_its_reason(toy):
    toy.policies["site-d"] = ReleasePolicy(min_class_count=3)
    entry = Federated(toy).run(whole)[3]
    assert entry["sites"]["site-a"]["all_sites"]["gain"] is None
    assert entry["sites"]["site-a"]["all_sites"]["suppressed"]
    # Without the patients of the site that keeps it, the others can be compared.
    assert entry["sites"]["site-d"]["other_sites"]["gain"] is not None


def test_the_site_left_out_of_a_comparison_is_not_taken_for_lost(finished):
    network = finished[1]
    assert "evaluate.comparison" not in network.refused


def test_a_held_out_site_trains_nothing(toy):
    federated = Federated(toy)
    seen = []
    answer = LocalSite.view

    def view(self, request):
        if request.task.get("fold"):
            seen.append(self.name)
        return answer(self, request)

    def work(one):
        one.train()
        LocalSite.view = view
        try:
            return one.train(Loso(held_out="site-a"))
        finally:
            LocalSite.view = answer

    federated.run(work)
    assert set(seen) == {"site-b", "site-c", "site-d"}
