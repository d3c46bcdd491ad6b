"""What a site tells of a logistic regression and of screening, and what it keeps."""

import dataclasses

import numpy as np
import pytest
from scan_sites import scan_cohort, scan_site, scan_study

from fedescc.client.answers.dispatch import answer
from fedescc.client.answers.logistic import merge_rare
from fedescc.client.learning.dataset import SiteTensors
from fedescc.client.learning.predict import predict_logits
from fedescc.client.local_site import LocalSite
from fedescc.client.site import ReleasePolicy
from fedescc.common import wire
from fedescc.common.arrays import flatten_parameters
from fedescc.common.errors import Refusal
from fedescc.common.identity import MAX_DECLARED
from fedescc.common.network.fusion import join_models
from fedescc.common.network.model import build_model
from fedescc.common.statistics.logistic import MAX_QUESTIONS, terms
from fedescc.common.statistics.relevance import class_moments
from fedescc.common.tabular.columns import CategoricalColumns, NumericColumn
from fedescc.common.tabular.covariates import Encoding, column_sums
from fedescc.common.tabular.features import RADIOMIC_FEATURES
from fedescc.common.wire import Request

ENCODING = Encoding(
    covariates=(
        NumericColumn(name="age", group="age", mean=50, sd=10),
        CategoricalColumns(name="sex", group="sex", categories=("female", "male"), kept=("female", "male")),
    )
)


@pytest.fixture
def site(toy):
    """A site that tells everything but small classes."""
    policy = ReleasePolicy(min_class_count=3, score_histogram="plain", small_newton="plain")
    return LocalSite("site-a", toy.study, policy, toy.cohorts["site-a"])


@pytest.fixture
def careful(toy):
    """A site with the default policy about Newton sums."""
    return LocalSite("site-a", toy.study, ReleasePolicy(min_class_count=3), toy.cohorts["site-a"])


def encoding_of(site):
    cohort = site.cohort
    rows = cohort.rows("train")
    return Encoding.from_sums(site.study, column_sums(site.study, cohort.numeric, rows, categorical=cohort.categorical))


def question(site, coefficients=None, **task):
    encoding = encoding_of(site)
    zero = [0.0] * (len(encoding.columns) + 1)
    full = {"run": "r1", "encoding": encoding.model_dump(mode="json"), "model": "linear"}
    return Request(site.study.sha256, full | {"coefficients": coefficients or zero} | task)


def ask(site, request):
    return answer(site, wire.LOGISTIC, request)


def keep_training(site, rows):
    """Leave only some training patients in training."""
    split = site.cohort.split.copy()
    split[np.setdiff1d(site.cohort.rows("train"), rows)] = "test"
    site.cohort = dataclasses.replace(site.cohort, split=split)


def test_the_terms_are_those_of_the_training_patients_columns(site):
    encoding, rows = encoding_of(site), site.cohort.rows("train")
    at = np.linspace(-0.4, 0.4, len(encoding.columns) + 1)
    found = ask(site, question(site, at.tolist(), class_weights=[0.5, 2.0])).sums
    X = encoding.encode(site.cohort.numeric, site.cohort.categorical, rows).astype(float)
    expected = terms(X, site.cohort.labels[rows], at, (0.5, 2.0))
    assert (found["n"], found["n_pos"], found["loss"]) == (expected.n, expected.n_pos, expected.loss)
    assert found["gradient"] == expected.gradient.tolist()
    assert found["hessian"] == expected.hessian.tolist()


def test_no_other_patients_count(site):
    before = ask(site, question(site)).sums
    labels = site.cohort.labels.copy()
    others = np.flatnonzero(site.cohort.split != "train")
    labels[others] = 1 - labels[others]
    numeric = {name: np.where(site.cohort.split == "train", v, 1.0) for name, v in site.cohort.numeric.items()}
    site.cohort = dataclasses.replace(site.cohort, labels=labels, numeric=numeric)
    assert ask(site, question(site)).sums == before


@pytest.mark.parametrize(("policy", "answers"), [("never", False), ("plain", True)])
def test_as_many_columns_as_patients_are_refused_unless_the_policy_says_plain(site, policy, answers):
    """Age, marker and sex make 7 columns, 8 with the intercept."""
    labels, train = site.cohort.labels, site.cohort.rows("train")
    rows = np.r_[train[labels[train] == 1][:4], train[labels[train] == 0][:4]]
    keep_training(site, rows)
    site.policy = site.policy.model_copy(update={"small_newton": policy})
    encoding = Encoding.model_validate(question(site).task["encoding"])
    assert len(encoding.columns) + 1 >= 8 == len(rows)
    if answers:
        assert ask(site, question(site)).sums["n"] == 8
    else:
        with pytest.raises(Refusal) as caught:
            ask(site, question(site))
        assert caught.value.code == "more-columns-than-patients"


@pytest.mark.parametrize(("positives", "answers"), [(2, False), (3, True)])
@pytest.mark.parametrize("message_type", [wire.LOGISTIC, wire.SCREENING])
def test_below_the_minimum_of_a_class_a_site_stays_out(site, positives, answers, message_type):
    train = site.cohort.rows("train")
    positive, negative = (train[site.cohort.labels[train] == label] for label in (1, 0))
    keep_training(site, np.r_[positive[:positives], negative])
    of_features = Request(site.study.sha256, {"run": "r1", "features": ["age"]})
    request = question(site) if message_type == wire.LOGISTIC else of_features
    if answers:
        assert answer(site, message_type, request).sums["n"] == positives + len(negative)
    else:
        with pytest.raises(Refusal, match="class-count-below-minimum"):
            answer(site, message_type, request)


def test_questions_about_one_model_are_bounded(site):
    for _ in range(MAX_QUESTIONS):
        ask(site, question(site))
    with pytest.raises(Refusal, match="too-many-questions"):
        ask(site, question(site))
    assert ask(site, question(site, run="r2")).sums["n"] > 0
    assert ask(site, question(site, fold={"mode": "loso", "held_out": "site-b"})).sums["n"] > 0


def test_the_number_of_models_is_bounded_too(site):
    request = question(site)

    def with_mean(mean):
        encoding = {**request.task["encoding"]}
        encoding["covariates"] = [dict(c) for c in encoding["covariates"]]
        encoding["covariates"][0]["mean"] = mean
        return dataclasses.replace(request, task=request.task | {"encoding": encoding})

    for mean in range(MAX_DECLARED):
        ask(site, with_mean(mean))
    with pytest.raises(Refusal, match="too-many-questions"):
        ask(site, with_mean(99))


@pytest.mark.parametrize(
    ("task", "code"),
    [
        ({"coefficients": [0.0]}, "bad-coefficients"),
        ({"coefficients": "0"}, "malformed-message"),
        ({"coefficients": [None] * 8}, "malformed-message"),
        ({"class_weights": [1.0]}, "malformed-message"),
        ({"class_weights": [0.0, 1.0]}, "malformed-message"),
        ({"class_weights": [1.0, 1e9]}, "malformed-message"),
        ({"encoding": {"covariates": [{"type": "numeric"}]}}, "invalid-settings"),
    ],
)
def test_a_malformed_question_is_refused_by_code(site, task, code):
    with pytest.raises(Refusal) as caught:
        ask(site, question(site, **task))
    assert caught.value.code == code


def test_too_many_columns_are_refused():
    study = scan_study()
    columns = [NumericColumn(name=name, group="image_features", mean=0, sd=1) for name in list(RADIOMIC_FEATURES)[:81]]
    encoding = Encoding(covariates=tuple(columns)).model_dump(mode="json")
    task = {"run": "r1", "encoding": encoding, "coefficients": [0.0] * 161}
    with pytest.raises(Refusal, match="too-many-columns"):
        ask(scan_site("site-a", study, scan_cohort(0, 60)), Request(study.sha256, task))


def test_image_features_of_a_study_without_images_are_refused(site):
    encoding = Encoding(covariates=(NumericColumn(name="tumour_volume_pre", group="f", mean=0, sd=1),))
    with pytest.raises(Refusal, match="wrong-encoding"):
        ask(site, question(site, encoding=encoding.model_dump(mode="json"), coefficients=[0.0, 0.0, 0.0]))


def columns(ages, sexes):
    numeric = {"age": np.array(ages, float)}
    return ENCODING.encode(numeric, {"sex": np.array(sexes, np.int16)}).astype(float)


def test_patients_of_a_rare_category_are_merged_into_the_usual_one():
    """Age is missing twice, sex is male twice and unknown once; three are the fewest that may be told."""
    X = columns([60, 40, np.nan, np.nan, 50, 70], [0, 0, 0, 1, 1, -1])
    merged = merge_rare(ENCODING, X, 3)
    assert merged[:, 0].tolist() == X[:, 0].tolist()
    assert merged[:, 1].tolist() == [0] * 6
    assert merged[:, 2:].tolist() == [[1, 0, 0]] * 6
    assert (
        merge_rare(ENCODING, X, 2)[:, 1:].tolist()
        == columns([60, 40, np.nan, np.nan, 50, 70], [0, 0, 0, 1, 1, 0])[:, 1:].tolist()
    )
    assert merge_rare(ENCODING, X, 1).tolist() == X.tolist()


def test_a_number_that_few_have_counts_as_missing():
    merged = merge_rare(ENCODING, columns([60, np.nan, np.nan, np.nan], [0, 0, 0, 0]), 3)
    assert merged[:, :2].tolist() == [[0, 1]] * 4


def test_after_merging_no_flag_and_no_complement_is_of_few(careful):
    """At coefficient 0 the Hessian's row of the intercept is a quarter of the patients with each flag."""
    sex = careful.cohort.categorical["sex"].copy()
    train = careful.cohort.rows("train")
    sex[train[:2]] = -1
    careful.cohort = dataclasses.replace(careful.cohort, categorical={"sex": sex})
    encoding = encoding_of(careful)
    raw = encoding.encode(careful.cohort.numeric, careful.cohort.categorical, train)
    assert 0 < raw.sum(axis=0)[list(encoding.columns).index("sex_missing")] < 3
    hessian = ask(careful, question(careful)).sums["hessian"][: len(encoding.columns) + 1]
    counts = dict(zip(("n", *encoding.columns), np.array(hessian) / 2**26, strict=True))
    for column, count in counts.items():
        if column not in ("age", "marker"):
            assert count == 0 or count >= 3, column
            assert count in (0, counts["n"]) or counts["n"] - count >= 3, column


def test_the_scores_of_a_fusion_are_those_of_validation_patients(site):
    encoding = encoding_of(site)
    size = len(encoding.columns)
    rng = np.random.default_rng(1)
    requests = [
        dataclasses.replace(question(site), weights=rng.normal(size=size + 1).astype(np.float32)) for _ in range(2)
    ]
    joined = join_models(requests)
    request = dataclasses.replace(joined, task=joined.task | {"coefficients": [0.1, 0.2, 0.3]})
    rows = site.cohort.rows("validation")
    X = encoding.encode(site.cohort.numeric, site.cohort.categorical, rows)
    scores = np.stack([r.weights[0] + X @ r.weights[1:] for r in requests], axis=1)
    expected = terms(scores, site.cohort.labels[rows], [0.1, 0.2, 0.3])
    found = ask(site, request).sums
    assert (found["n"], found["n_pos"]) == (expected.n, expected.n_pos)
    assert np.array(found["gradient"]) / 2**38 == pytest.approx(expected.gradient / 2**38, abs=1e-4)
    fused = dataclasses.replace(joined, task=joined.task | {"fusion": [0.5, 1.0, -2.0]})
    assert site.logits(fused, "validation") == pytest.approx(0.5 + scores @ [1.0, -2.0], abs=1e-4)


def test_a_fusion_joins_the_studys_network_and_a_regression():
    """Scored apart and added here; images go to the network alone."""
    study, cohort = scan_study(), scan_cohort(1, 12)
    site = scan_site("site-a", study, cohort)
    encoding = Encoding.from_sums(study, column_sums(study, cohort.numeric, np.arange(12)))
    task = {"run": "r1", "encoding": encoding.model_dump(mode="json")}
    network = build_model(study, len(encoding.columns), seed=1)
    rng = np.random.default_rng(0)
    flat = rng.normal(size=len(encoding.columns) + 1).astype(np.float32)
    deep = Request(study.sha256, task, flatten_parameters(network))
    linear = Request(study.sha256, {**task, "model": "linear"}, flat)
    joined = join_models([deep, linear])
    fused = dataclasses.replace(joined, task=joined.task | {"fusion": [0.25, 2.0, -1.0]})
    X = encoding.encode(cohort.numeric, cohort.categorical, cohort.rows("test"))
    tensors = SiteTensors.from_cohort(cohort, encoding, cohort.rows("test"))
    expected = 0.25 + 2 * predict_logits(network, tensors) - (flat[0] + X @ flat[1:])
    assert site.logits(fused, "test") == pytest.approx(expected, abs=1e-4)


def test_an_unknown_kind_of_model_is_refused(site):
    request = dataclasses.replace(question(site, model="forest"), weights=np.zeros(8, np.float32))
    with pytest.raises(Refusal, match="unknown-model"):
        site.logits(request, "test")


def screening(site, **task):
    return answer(site, wire.SCREENING, Request(site.study.sha256, {"run": "r1", **task}))


def test_screening_tells_moments_by_class_of_training_patients(site):
    rows = site.cohort.rows("train")
    variables = {name: site.study.covariates[name] for name in ("marker", "age")}
    expected = class_moments(variables, site.cohort.numeric, site.cohort.labels, rows).table
    found = screening(site, features=["marker", "age"]).sums
    assert found["counts"] == expected[0].ravel().tolist()
    assert found["totals"] == expected[1].ravel().tolist()
    assert found["squares"] == expected[2].ravel().tolist()


def test_screening_hides_a_feature_that_few_of_a_class_have(site):
    train, labels = site.cohort.rows("train"), site.cohort.labels
    marker = site.cohort.numeric["marker"].copy()
    marker[train[labels[train] == 1][2:]] = np.nan
    site.cohort = dataclasses.replace(site.cohort, numeric={**site.cohort.numeric, "marker": marker})
    found = screening(site, features=["marker", "age"]).sums
    assert found["counts"][0] == found["counts"][2] == 0
    assert found["totals"][2] == found["squares"][0] == 0
    assert found["counts"][1] > 3


def test_products_of_as_many_features_as_patients_are_refused(careful):
    train, labels = careful.cohort.rows("train"), careful.cohort.labels
    careful.policy = careful.policy.model_copy(update={"min_class_count": 1})
    keep_training(careful, [train[labels[train] == 1][0], train[labels[train] == 0][0]])
    with pytest.raises(Refusal, match="more-columns-than-patients"):
        screening(careful, features=["age", "marker"], centres=[0, 0])
    assert len(screening(careful, features=["age"], centres=[0]).sums["products"]) == 1


@pytest.mark.parametrize(
    ("task", "code"),
    [
        ({"features": []}, "malformed-message"),
        ({"features": "age"}, "malformed-message"),
        ({"features": ["age", "age"]}, "malformed-message"),
        ({"features": [["age"]]}, "malformed-message"),
        ({"features": ["sex"]}, "unknown-feature"),
        ({"features": ["outcome"]}, "unknown-feature"),
        ({"features": ["tumour_volume_pre"]}, "no-images"),
        ({"features": ["age"], "centres": [0.5]}, "malformed-message"),
        ({"features": ["age"], "centres": [2**21]}, "malformed-message"),
        ({"features": ["age"], "centres": [1, 2]}, "malformed-message"),
        ({"features": [f"f{i}" for i in range(61)], "centres": [0] * 61}, "malformed-message"),
    ],
)
def test_a_malformed_screening_is_refused_by_code(site, task, code):
    with pytest.raises(Refusal) as caught:
        screening(site, **task)
    assert caught.value.code == code
