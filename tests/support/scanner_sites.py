"""Hospitals with CTs in memory whose scanners differ as a test says, and a way to ask them about a model."""

import dataclasses

import numpy as np
from scan_sites import scan_cohort, scan_site, scan_study

from fedescc.client.app import make_client_app
from fedescc.common.acquisition import KERNELS, PHASES, VENDORS
from fedescc.common.arrays import flatten_parameters
from fedescc.common.federation import Federation
from fedescc.common.network.model import build_model
from fedescc.common.tabular.covariates import Encoding
from fedescc.server.evaluation.evaluate import Evaluator
from fedescc.server.exchange import Roster
from fedescc.simulations.engines.local_grid import LocalGrid, run_in_process

RUN = "0123456789abcdef"


def scanner_cohort(seed, patients, brightness=0.0, vendor="siemens", noise_hu=12.0):
    """Scans brighter by that part of the window; ``vendor``: one for all, or one a patient."""
    cohort = scan_cohort(seed, patients)
    images = (cohort.images.astype(np.float32) + brightness).clip(0, 1).astype(np.float16)
    vendors = np.broadcast_to(np.atleast_1d(vendor), (patients,))
    codes = np.array([VENDORS.index(name) for name in vendors], np.int8)
    rng = np.random.default_rng(seed + 1000)
    facts = {
        "vendor": np.stack([codes, codes], axis=1),
        "kernel": np.full((patients, 2), KERNELS.index("smooth"), np.int8),
        "phase": np.full((patients, 2), PHASES.index("enhanced"), np.int8),
        "blood_hu": rng.normal(200, 20, (patients, 2)),
        "noise_hu": rng.normal(noise_hu, 2, (patients, 2)),
        "slice_mm": np.full((patients, 2), 2.0),
    }
    return dataclasses.replace(cohort, images=images, acquisition=facts)


def task_of(encoding=None, **more):
    encoding = encoding or Encoding(covariates=())
    federation = Federation.model_validate(more).model_dump(mode="json")
    return {"run": RUN, "federation": federation, "encoding": encoding.model_dump(mode="json")}


def ask_sites(cohorts, work, *, study=None, weights=None, minimum=3, task=None, sites=None, shuffle=None):
    """What ``work`` makes of an evaluator of a freshly drawn model, or one of the weights given."""
    study = study or scan_study()
    known = sites or {name: scan_site(name, study, cohort, minimum) for name, cohort in cohorts.items()}
    model = build_model(study, 0, seed=3)
    flat = flatten_parameters(model) if weights is None else weights(model)
    grid = LocalGrid(
        make_client_app(lambda context: known[str(context.node_config["site"])]),
        [{"site": name} for name in known],
        {},
        shuffle,
    )
    found = []

    def serve(grid, context):
        names = dict(zip(sorted(grid.get_node_ids()), known, strict=True))
        evaluator = Evaluator(grid, Roster(names), study, flat, task or task_of(), 60.0, 1)
        found.append(work(evaluator))

    run_in_process(serve, grid, {})
    return found[0]
