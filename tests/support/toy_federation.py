"""A small clinical-only federation in memory: four hospitals whose patients follow one logistic model."""

import os
import shutil

import numpy as np

from fedescc.client.app import make_client_app
from fedescc.client.cohort import SiteCohort
from fedescc.client.local_site import LocalSite
from fedescc.client.site import ReleasePolicy
from fedescc.common.errors import Refusal
from fedescc.common.federation import Federation
from fedescc.common.study import Study
from fedescc.common.yamlfile import parse_model
from fedescc.server.app import make_server_app
from fedescc.server.results import read_results
from fedescc.simulations.engines.local_grid import LocalGrid, run_in_process

STUDY = """
format: 1
name: toy-study
title: Toy
endpoint: {name: event, text: an event, positive_when: {outcome: {minimum: 1}}}
eligibility:
  inclusion: [{code: adult, text: adults, when: {age: {minimum: 18}}}]
prediction_time: baseline
covariates:
  age: {type: numeric, unit: years, range: [0, 120], required: true, available_at: baseline}
  marker: {type: numeric, unit: ng/mL, range: [0, 1000], available_at: baseline}
  sex: {type: categorical, categories: [female, male], available_at: baseline}
recorded:
  outcome: {type: numeric, unit: grade, range: [0, 4], required: true, available_at: surgery}
model: {kind: linear}
disclosure: {min_class_count: 3}
"""
SIZES = {"site-a": 160, "site-b": 120, "site-c": 90, "site-d": 60}


def make_cohort(name, patients, one_class=False):
    rng = np.random.default_rng([7, *name.encode()])
    age, marker = rng.uniform(30, 80, patients), rng.uniform(0, 900, patients)
    sex = rng.integers(0, 2, patients)
    logit = 0.08 * (age - 55) + 0.004 * (marker - 450) + 0.8 * (sex - 0.5)
    labels = rng.random(patients) < 1 / (1 + np.exp(-logit))
    marker[rng.random(patients) < 0.1] = np.nan
    split = np.array(["train", "validation", "test"])[np.repeat([0, 1, 2], patients // 3 + 1)[:patients]]
    return SiteCohort(
        keys=tuple(f"{name}-{row:04d}" for row in range(patients)),
        labels=(labels & (not one_class)).astype(np.int8),
        numeric={"age": age, "marker": marker},
        categorical={"sex": sex.astype(np.int16)},
        split=split,
        images=None,
        rois=None,
        flow={"included": patients, "adult": 4},
    )


class Toy:
    """Runs the toy federation; what goes wrong at which site is up to the test."""

    make_cohort = staticmethod(make_cohort)

    def __init__(self, out):
        self.out = out
        self.study = parse_model(STUDY, Study, "toy")
        self.cohorts = {name: make_cohort(name, n) for name, n in SIZES.items()}
        self.policies = {}
        self.failing = {}
        self.records = []

    def run(self, shuffle=None, resume=False, plan=None, **settings):
        """Results of a new run, or of one that goes on in ``out``; ``plan`` as `make_server_app` reads it."""
        if not resume:
            shutil.rmtree(self.out, ignore_errors=True)
        training = {"optimizer": "sgd", "learning_rate": 0.05, "weight_decay": 0, "class_weight": "none"}
        federation = Federation.model_validate({"rounds": 6, "training": training} | settings)
        sites = {n: LocalSite(n, self.study, self.policy(n), c) for n, c in self.cohorts.items()}

        def open_site(context):
            name = str(context.node_config["site"])
            if name in self.failing:
                raise self.failing[name]
            return sites[name]

        config = {"study": self.study.to_yaml(), "federation": federation.to_yaml(), "out": str(self.out)}
        config |= plan or {}
        grid = LocalGrid(make_client_app(open_site), [{"site": name} for name in sites], config, shuffle)
        run_in_process(make_server_app(self.records.append), grid, config)
        return read_results(self.out)

    def policy(self, name):
        return self.policies.get(name, ReleasePolicy(min_class_count=3, score_histogram="plain"))

    def empty(self, name):
        self.failing[name] = Refusal("empty-site", "none of 3 patients is eligible", "check")


def open_toy_site(name, diary, fault=None):
    """A site as another process opens it, which notes in ``diary``; ``fault`` is a refusal's code, or ``dies``."""
    with diary.open("a") as file:
        file.write(f"{name} {os.getpid()}\n")
    if fault == "dies":
        os._exit(1)
    if fault is not None:
        raise Refusal(fault, "this site cannot take part", "look at another")
    policy = ReleasePolicy(min_class_count=3, score_histogram="plain")
    return LocalSite(name, parse_model(STUDY, Study, "toy"), policy, make_cohort(name, SIZES[name]))
