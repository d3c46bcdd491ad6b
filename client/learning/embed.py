"""What the shared encoder makes of patients' scans, before anything clinical joins it."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedescc.client.learning.dataset import SiteTensors
from fedescc.client.learning.predict import batches
from fedescc.client.learning.train import choose_device
from fedescc.common.errors import Refusal
from fedescc.common.network.model import PairedCNN


def predict_embeddings(model: nn.Module, tensors: SiteTensors, batch_size: int = 32) -> NDArray[np.float64]:
    """Embeddings of every patient's scans, time point after time point, (n, t · embedding), in evaluation mode.

    The presence flags, which `PairedCNN.encode` appends, stay out; a missing scan's embedding is 0.

    Raises:
        Refusal: ``no-embeddings``, the model has no encoder.

    """
    if not isinstance(model, PairedCNN):
        raise Refusal("no-embeddings", "the model encodes no scans", "ask this of a study with images")
    device = choose_device()
    model.to(device).eval()
    pieces = []
    with torch.inference_mode():
        for one in batches(tensors, batch_size):
            batch = one.to(device)
            scans = model.encode(batch.images.flatten(0, 1), batch.rois.flatten(0, 1), batch.present.flatten())
            pieces.append(scans[:, :-1].reshape(len(batch.present), -1).cpu().numpy())
    return np.concatenate(pieces).astype(np.float64) if pieces else np.zeros((0, 0))
