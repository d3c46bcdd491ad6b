"""A round of local training beside a bare PyTorch loop with the same model, batches and optimiser.

The bare loop has every patient as float32 in memory; ours reads a memory-mapped float16 cache, weighs classes, follows
a schedule and checks what it did. Augmentation is off. Both run by turns in one process.
With MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 in the environment glibc keeps memory instead of faulting
pages in again at every allocation, which is up to a third of either loop and none of the difference meant here.
Run: python tests/bench/local_training.py
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from fedescc.client.learning.dataset import SiteTensors
from fedescc.client.learning.plan import batch_plan
from fedescc.client.learning.schedule import Turn
from fedescc.client.learning.train import choose_device, train_round
from fedescc.common.federation import Training
from fedescc.common.network.model import build_model
from fedescc.common.study import read_study

PATIENTS, CLINICAL, REPEATS = 48, 30, 15
OFF = {"flips": False, "shift_voxels": 0, "intensity": 0}
SETTINGS = {"augmentation": OFF, "local_epochs": 1, "schedule": "constant", "mixed_precision": False}
STUDY = Path(__file__).parents[2] / "configs/studies/escc-pcr.yaml"


def main() -> None:
    """Print the median seconds of both loops and of their ratio."""
    torch.set_num_threads(1)  # threads that wait for each other on a busy machine would hide the difference
    study = read_study(str(STUDY))
    assert study.imaging is not None
    model = build_model(study, CLINICAL, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        tensors = _patients(Path(folder), study.imaging.grid.size_zyx)
        for name, more in (("whole batches (goal <= 1.05)", {}), ("pieces of 4", {"micro_batch": 4})):
            settings = Training.model_validate({**SETTINGS, **more})
            ours = _timer(lambda chosen=settings: train_round(model, tensors, chosen, Turn(0, 1, 1, "bench")))
            bare = _timer(_bare_loop(model, tensors, Training.model_validate(SETTINGS)))
            pairs = [(ours(), bare()) if repeat % 2 else (bare(), ours())[::-1] for repeat in range(REPEATS + 1)][1:]
            for clock, kind in enumerate(("wall", "CPU")):
                seconds = [(mine[clock], theirs[clock]) for mine, theirs in pairs]
                ratio = statistics.median(mine / theirs for mine, theirs in seconds)
                mine, theirs = (statistics.median(column) for column in zip(*seconds, strict=True))
                print(  # noqa: T201
                    f"{name}, {kind} time: ours {mine:.3f} s, bare loop {theirs:.3f} s, median ratio {ratio:.3f}"
                )


def _patients(folder: Path, size: tuple[int, ...]) -> SiteTensors:
    """A memory-mapped cache as intake leaves it, filled with noise and a cube as ROI."""
    rng = np.random.default_rng(0)
    images = rng.random((PATIENTS, 2, *size), dtype=np.float32).astype(np.float16)
    rois = np.zeros(images.shape, np.uint8)
    rois[..., 16:30, 16:30, 16:30] = 1
    for name, array in (("images", images), ("rois", rois)):
        np.save(folder / f"{name}.npy", array)
    mapped = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("images", "rois")]
    labels = torch.from_numpy((np.arange(PATIENTS) % 3 == 0).astype(np.float32))
    clinical = torch.from_numpy(rng.normal(size=(PATIENTS, CLINICAL)).astype(np.float32))
    return SiteTensors(np.arange(PATIENTS), mapped[0], mapped[1], torch.ones(PATIENTS, 2), clinical, labels)


def _bare_loop(model: torch.nn.Module, tensors: SiteTensors, settings: Training) -> Callable[[], object]:
    device = choose_device()
    whole = tensors.batch(np.arange(PATIENTS)).to(device)
    plan = batch_plan(PATIENTS, settings, np.random.default_rng(0))
    indices = [torch.from_numpy(index).to(device) for index, _ in plan]

    def loop() -> None:
        model.to(device).train()
        optimizer = torch.optim.AdamW(model.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
        for index in indices:
            optimizer.zero_grad()
            logits = model(*(tensor[index] for tensor in whole.inputs))
            loss = functional.binary_cross_entropy_with_logits(logits, whole.labels[index])
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

    return loop


def _timer(work: Callable[[], object]) -> Callable[[], tuple[float, float]]:
    """Wall and CPU seconds of one call."""

    def seconds() -> tuple[float, float]:
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - wall, time.process_time() - cpu

    return seconds


if __name__ == "__main__":
    main()
