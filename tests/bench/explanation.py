"""Evaluation and SHAP of a site's test patients beside one epoch of training on them (goal: at most three epochs).

The study is escc-pcr on its grid of 48³ voxels, the patients random tensors in a memory-mapped float16 cache. SHAP is
everything that the site does for one explanation: exact values, and every gate with its encoder passes. Times are the
process' CPU time at one thread, of several turns of all three the median. ``shap.ExactExplainer``, driven by the same
cached encoder passes, is timed on one patient's game.
Run: python tests/bench/explanation.py
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from fedescc.client.explanation.games import coalition_logits
from fedescc.client.explanation.release import released_sums
from fedescc.client.explanation.survey import Subject, survey_players
from fedescc.client.explanation.values import explain_embedded, inputs_of, region_embeddings
from fedescc.client.learning.dataset import SiteTensors
from fedescc.client.learning.evaluate import site_estimates, split_sums
from fedescc.client.learning.predict import predict_logits
from fedescc.client.learning.schedule import Turn
from fedescc.client.learning.train import train_round
from fedescc.client.site import ReleasePolicy
from fedescc.common.federation import Training
from fedescc.common.network.model import PairedCNN, build_model
from fedescc.common.players import covariate_groups
from fedescc.common.study import Study, read_study
from fedescc.common.tabular.columns import NumericColumn
from fedescc.common.tabular.covariates import Encoding

PATIENTS, REPEATS = 100, 5
STUDY = Path(__file__).parents[2] / "configs/studies/escc-pcr.yaml"


def main() -> None:
    """Print the table of medians and the ratio."""
    torch.set_num_threads(1)
    study = read_study(str(STUDY))
    groups = covariate_groups(study).items()
    columns = [NumericColumn(name=name, group=group, mean=0, sd=1) for group, names in groups for name in names]
    encoding = Encoding(covariates=tuple(columns))
    model = build_model(study, len(encoding.columns), seed=0)
    assert isinstance(model, PairedCNN)
    policy = ReleasePolicy(score_histogram="plain")
    with tempfile.TemporaryDirectory() as folder:
        tensors = patients(Path(folder), study, len(encoding.columns))
        labels = tensors.labels.numpy().astype(np.int8)
        logits = predict_logits(model, tensors)
        reference = np.zeros(len(encoding.columns))
        clinical = tensors.clinical.numpy().astype(np.float64)

        def evaluate() -> None:
            scores = predict_logits(model, tensors)
            split_sums(labels, scores, edges=list(np.linspace(-3, 3, 50)), threshold=0.0, policy=policy)
            site_estimates(labels, scores, policy)

        def explain() -> None:
            subject = Subject(model, tensors, clinical, logits, encoding, reference, study, policy.min_class_count)
            released_sums(survey_players(subject), policy.min_class_count, policy.dominance_percent)

        def epoch() -> None:
            trained = build_model(study, len(encoding.columns), seed=0)
            train_round(trained, tensors, Training(local_epochs=1), Turn(0, 1, 1, "bench"))

        turns = [[_seconds(work) for work in (evaluate, explain, epoch)] for _ in range(REPEATS + 1)][1:]
        _print_table(turns)
        _print_solvers(model, tensors, study, encoding)


def patients(folder: Path, study: Study, columns: int) -> SiteTensors:
    """A cache as intake leaves it, filled with noise and a cube as ROI."""
    assert study.imaging is not None
    rng = np.random.default_rng(0)
    shape = (PATIENTS, len(study.imaging.time_points), *study.imaging.grid.size_zyx)
    images = np.lib.format.open_memmap(folder / "images.npy", mode="w+", dtype=np.float16, shape=shape)
    rois = np.lib.format.open_memmap(folder / "rois.npy", mode="w+", dtype=np.uint8, shape=shape)
    for row in range(PATIENTS):
        images[row] = rng.random(shape[1:], dtype=np.float32)
    rois[..., 14:34, 14:34, 14:34] = 1
    labels = torch.from_numpy((np.arange(PATIENTS) % 3 == 0).astype(np.float32))
    clinical = torch.from_numpy(rng.normal(size=(PATIENTS, columns)).astype(np.float32))
    return SiteTensors(np.arange(PATIENTS), images, rois, torch.ones(shape[:2]), clinical, labels)


def _print_table(turns: list[list[float]]) -> None:
    names = ("evaluation", "SHAP with gates", "one epoch")
    for name, column in zip(names, zip(*turns, strict=True), strict=True):
        print(f"{name:<16} {statistics.median(column):7.2f} s")  # noqa: T201
    ratio = statistics.median((evaluation + shap) / (3 * epoch) for evaluation, shap, epoch in turns)
    print(f"(evaluation + SHAP) / 3 epochs of {PATIENTS} patients: {ratio:.2f} (goal <= 1)")  # noqa: T201


def _print_solvers(model: PairedCNN, tensors: SiteTensors, study: Study, encoding: Encoding) -> None:
    """Our solver and shap's on one patient's game of all players, with the same cached passes."""
    import shap

    rows = np.arange(1)
    embedded = region_embeddings([model], tensors, study, rows)[0]
    game = next(coalition_logits(model, inputs_of(embedded, tensors, rows, study, encoding)))[0]
    m = int(game.size).bit_length() - 1
    explainer = shap.ExactExplainer(lambda masks: game[masks.astype(bool) @ (1 << np.arange(m))], np.zeros((1, m)))
    ours = _seconds(lambda: explain_embedded(model, embedded, tensors, rows, study, encoding))
    theirs = _seconds(lambda: explainer(np.ones((1, m)), max_evals=2 ** (m + 1)))
    print(f"one game of {m} players: ours {ours:.4f} s, shap.ExactExplainer {theirs:.4f} s")  # noqa: T201


def _seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.process_time() - start


if __name__ == "__main__":
    main()
