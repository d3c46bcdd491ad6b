"""A hostile server: every honest request with anything in it replaced is answered or refused, and breaks nothing.

The honest ones are those of a whole run, comparators and their fusion among them, and of a study with scans. What
comes back for a broken one is a reply that may leave or a refusal of our own: never the name of an exception, which
would mean that code ran on what it does not understand.
"""

import copy
import dataclasses
import json
import random
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, Message, RecordDict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from planned import with_plan
from scan_sites import scan_cohort, scan_site, scan_study
from toy_federation import Toy

from fedescc.client import app
from fedescc.client.answers.dispatch import HANDLERS
from fedescc.client.answers.shapes import SHAPES
from fedescc.client.local_site import LocalSite
from fedescc.common import wire
from fedescc.common.arrays import flatten_parameters
from fedescc.common.federation import Federation
from fedescc.common.network.model import build_model
from fedescc.common.network.pretext import build_pretext
from fedescc.common.schema import ALLOWED
from fedescc.common.tabular.covariates import Encoding, column_sums
from fedescc.common.wire import Request, pack_request
from fedescc.simulations.engines.local_grid import LocalGrid, run_in_process

Asked = tuple[str, Request]
Path = tuple[str | int, ...]

JUNK: tuple[Any, ...] = (
    None, True, -1, 0, 1.5, 10**6, 10**300, 1e308, -1e308, float("nan"), float("inf"), "", "x", "x" * 5000, "\ud800",
    "../../etc/passwd", [], [None], [0.0] * 5000, ["x"] * 5000, [[[[[[]]]]]], [float("nan")], [1.0, 0.0], {},
    {"a": {"b": [{}]}}, {"x" * 200: 1}, dict.fromkeys(map(str, range(2000)), 0), {"n": 10**400},
)  # fmt: skip
FEW = (None, True, float("nan"), "x", [None])
FOLLOWING = wire.OF_TEST_PATIENTS - {wire.TEST}


class Hospital:
    """A site as a server reaches it, opened anew for every question, and honest questions to it."""

    def __init__(self, opener: Any, opened_by: list[Asked], requests: list[Asked]) -> None:
        self._open, self._opened_by, self.requests = opener, opened_by, requests
        self._app = app.make_client_app(lambda context: self._site)

    def ask(self, asked: Asked) -> str | None:
        """The code of the refusal, or None for a reply that may leave."""
        self._site: LocalSite = self._open()
        if asked[0] in FOLLOWING:
            for look in self._opened_by:
                assert self._answer(look) is None
        return self._answer(asked)

    def _answer(self, asked: Asked) -> str | None:
        message = Message(_records(asked[1]), 100, asked[0])
        reply = self._app(message, Context(0, 100, {}, RecordDict(), {}))
        return reply.error.reason if reply.has_error() else None


def _records(request: Request) -> RecordDict:
    """As a server would pack it that minds no rule of JSON."""
    records = pack_request(dataclasses.replace(request, task={}))
    records["task"]["task"] = json.dumps(request.task)
    return records


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Hospital:
    """A site of the toy federation, and one request of each kind that a run with every comparator asked of it."""
    toy = with_plan(Toy(tmp_path_factory.mktemp("toy")))
    seen: list[Asked] = []

    def watch(site: LocalSite, message_type: str, request: Request) -> Any:
        if site.name == "site-a":
            seen.append((message_type, request))
        return honest(site, message_type, request)

    with pytest.MonkeyPatch.context() as patch:
        honest = app.answer
        patch.setattr(app, "answer", watch)
        toy.run(rounds=1, plan={"comparators": "clinical,fusion"})
    kinds = {(kind, *sorted(request.task)): (kind, request) for kind, request in seen}
    looks = [asked for asked in seen if asked[0] == wire.TEST]

    def open_site() -> LocalSite:
        return LocalSite("site-a", toy.study, toy.policy("site-a"), toy.cohorts["site-a"])

    return Hospital(open_site, looks, list(kinds.values()))


@pytest.fixture(scope="module")
def scans() -> Hospital:
    """A site with scans, and the requests that only such a one answers."""
    run_in_process(lambda grid, context: None, LocalGrid(app.make_client_app(lambda context: None), [{}], {}), {})
    study, cohort = scan_study(), scan_cohort(1, 24)
    encoding = Encoding.from_sums(study, column_sums(study, cohort.numeric, cohort.rows("train")))
    run_settings = Federation.model_validate(
        {"rounds": 1, "pretraining": {"rounds": 1, "local_epochs": 1}, "training": {"local_epochs": 1}}
    )
    model = flatten_parameters(build_model(study, len(encoding.columns), seed=0))
    task = {
        "run": "ab" * 8,
        "federation": run_settings.model_dump(mode="json"),
        "encoding": encoding.model_dump(mode="json"),
    }
    projection = {"centre": [0.0] * 12, "scale": [1.0] * 12, "axes": [[1.0] * 12]}
    rule = {"names": ["site-a", "site-b"], "weights": [[1.0], [0.0]], "intercepts": [0.0, 0.1]}
    asked = [
        (wire.STATISTICS, {"run": "ab" * 8, "features": ["tumour_volume_pre"]}, None),
        (wire.PRETRAIN, {**task, "round": 1}, flatten_parameters(build_pretext(study, seed=0))),
        (wire.ACQUISITION, task, model),
        (wire.SHORTCUT, task, model),
        (wire.SHORTCUT, {**task, "projection": projection, "rules": {"site": rule}}, model),
        (wire.TRAIN, {**task, "round": 1, "counted": {}, "edges": [-1.0, 0.0], "threshold": 0.0}, model),
    ]
    requests = [(kind, Request(study.sha256, content, weights)) for kind, content, weights in asked]
    return Hospital(lambda: scan_site("site-a", study, cohort), [], requests)


def test_every_message_type_is_handled_has_a_shape_a_schema_and_a_registration() -> None:
    assert set(HANDLERS) == set(SHAPES) == set(ALLOWED)
    run_in_process(lambda grid, context: None, LocalGrid(app.make_client_app(lambda context: None), [{}], {}), {})
    client = app.make_client_app(lambda context: None)  # type: ignore[arg-type, return-value]
    for kind in HANDLERS:
        reply = client(Message(RecordDict(), 100, kind), Context(0, 100, {}, RecordDict(), {}))
        assert reply.error.reason == "malformed-message", kind


def test_honest_requests_are_answered(federation: Hospital, scans: Hospital) -> None:
    for hospital in (federation, scans):
        for asked in hospital.requests:
            assert hospital.ask(asked) is None, (asked[0], sorted(asked[1].task))
    asked_of = {kind for hospital in (federation, scans) for kind, _ in hospital.requests}
    assert asked_of >= {
        wire.STATISTICS, wire.LOGISTIC, wire.TRAIN, wire.PRETRAIN, wire.TRAINING_SCORES, wire.VALIDATION, wire.TEST,
        wire.RECALIBRATION, wire.EXPLANATION, wire.COMPARISON, wire.ACQUISITION, wire.SHORTCUT, wire.SUBGROUPS,
        wire.COUNTS, wire.REFERENCE,
    }  # fmt: skip


def test_a_request_without_a_key_or_with_another_is_no_accident(federation: Hospital, scans: Hospital) -> None:
    for hospital in (federation, scans):
        for kind, request in hospital.requests:
            for key in request.task:
                task = {name: value for name, value in request.task.items() if name != key}
                _is_safe(hospital.ask((kind, dataclasses.replace(request, task=task))), (kind, "without", key))
            more = dataclasses.replace(request, task=request.task | {"patients": ["x"]})
            assert hospital.ask((kind, more)) == "malformed-message"


def test_junk_in_place_of_any_key_is_no_accident(federation: Hospital, scans: Hospital) -> None:
    for hospital in (federation, scans):
        for kind, request in hospital.requests:
            for key in request.task:
                for junk in FEW:
                    task = request.task | {key: junk}
                    code = hospital.ask((kind, dataclasses.replace(request, task=task)))
                    _is_safe(code, (kind, key, junk))


def test_junk_in_place_of_the_weights_is_no_accident(federation: Hospital, scans: Hospital) -> None:
    for hospital in (federation, scans):
        for kind, request in hospital.requests:
            size = 0 if request.weights is None else len(request.weights)
            for weights in (
                None, *(np.zeros(n, np.float32) for n in {0, 1, size + 1, 2 * size}),
                *(np.full(size, value, np.float32) for value in (np.nan, np.inf, 3e38, -3e38, 1e-45, 1e10)),
            ):  # fmt: skip
                code = hospital.ask((kind, dataclasses.replace(request, weights=weights)))
                _is_safe(code, (kind, None if weights is None else weights[:1]))


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(seed=st.integers(0, 2**64))
def test_junk_anywhere_inside_a_request_is_no_accident(federation: Hospital, scans: Hospital, seed: int) -> None:
    rng = random.Random(seed)
    hospital = rng.choice([federation, scans])
    kind, request = rng.choice(hospital.requests)
    path, junk = rng.choice(list(_paths(request.task))), rng.choice(JUNK)
    task = copy.deepcopy(request.task)
    _put(task, path, junk)
    _is_safe(hospital.ask((kind, dataclasses.replace(request, task=task))), (kind, path, str(junk)[:60]))


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (wire.TRAINING_SCORES, {"edges": np.linspace(-1, 1, 10**6).tolist()}),
        (wire.VALIDATION, {"edges": np.linspace(-1, 1, 1001).tolist()}),
        (wire.LOGISTIC, {"coefficients": [0.0] * 10**6}),
        (wire.STATISTICS, {"features": [f"f{i}" for i in range(10**6)]}),
        (wire.TEST, {"declared": ["0" * 64] * 10**5}),
        (wire.TRAIN, {"round": 10**6}),
        (wire.TRAIN, {"counted": {f"s{i}": 1 for i in range(10**5)}}),
        (wire.TRAIN, {"encoding": {"covariates": [{}] * 10**6}}),
        (wire.TRAIN, {"encoding": {"covariates": [dict.fromkeys(map(str, range(1000)), 0)] * 100}}),
        (wire.TRAIN, {"federation": {"training": dict.fromkeys(map(str, range(10**5)), 0)}}),
        (wire.EXPLANATION, {"reference": [0.0] * 10**6}),
        (wire.SUBGROUPS, {"edges": np.linspace(-1, 1, 10**6).tolist()}),
        (wire.COMPARISON, {"pooled": [{"negatives": [0] * 10**6, "positives": [0] * 10**6}]}),
        (wire.COMPARISON, {"looks": [{}] * 10**5}),
        (wire.RECALIBRATION, {"slope": [0.0] * 10**6}),
        (wire.REFERENCE, {"encoding": {"covariates": [{}] * 10**6}}),
        (wire.VALIDATION, {"fold": {"mode": "kfold", "index": 0, "of": 10**6}}),
    ],
)
def test_what_asks_for_a_million_of_anything_is_refused_at_once(federation: Hospital, kind: str, change: Any) -> None:
    request = next(request for name, request in federation.requests if name == kind)
    start = time.process_time()
    code = federation.ask((kind, dataclasses.replace(request, task=request.task | change)))
    assert time.process_time() - start < 5
    assert code in ("malformed-message", "unknown-fold")


def test_a_refusal_says_nothing_but_a_code(federation: Hospital) -> None:
    kind, request = federation.requests[0]
    for secret in ("Jane Doe", "/data/doe", "MRN12345"):
        code = federation.ask((kind, dataclasses.replace(request, task={secret: secret})))
        assert code == "malformed-message"


def _is_safe(code: str | None, what: Any) -> None:
    """Egress may stop a number that hostile weights blew up; a key or a count that it must stop is a fault of ours."""
    assert code is None or not code.startswith("site-error"), (code, what)
    assert code is None or not code.startswith("egress-denied") or code == "egress-denied-range", (code, what)


def _paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """Every place in a task, the first and the last of a list only."""
    if path:
        yield path
    items: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list) and value:
        items = [(place, value[place]) for place in sorted({0, len(value) - 1})]
    for key, inner in items:
        yield from _paths(inner, (*path, key))


def _put(task: Any, path: Path, junk: Any) -> None:
    *parents, last = path
    for key in parents:
        task = task[key]
    task[last] = junk
