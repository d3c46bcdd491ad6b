"""Scores of patients under a model, in batches that do not change them."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedescc.client.learning.dataset import Batch, SiteTensors
from fedescc.client.learning.train import choose_device


def predict_logits(model: nn.Module, tensors: SiteTensors, batch_size: int = 32) -> NDArray[np.float64]:
    """Logit of every patient, (n,) float64, in evaluation mode (no dropout, no augmentation).

    The model is left in evaluation mode, on the device that `choose_device` gives.
    """
    device = choose_device()
    model.to(device).eval()
    with torch.inference_mode():
        pieces = [model(*batch.to(device).inputs).cpu().numpy() for batch in batches(tensors, batch_size)]
    return np.concatenate([np.empty(0), *pieces]).astype(np.float64)


def batches(tensors: SiteTensors, size: int) -> Iterator[Batch]:
    """All patients in order, ``size`` at a time."""
    for start in range(0, len(tensors), size):
        yield tensors.batch(np.arange(start, min(start + size, len(tensors))))
