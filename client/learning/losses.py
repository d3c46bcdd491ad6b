"""The training loss of every patient, weighted so that the rarer class counts as much as the other."""

from torch import Tensor, where
from torch.nn import functional

from fedescc.client.learning.monai_parts import focal_loss
from fedescc.common.federation import Training


def patient_losses(logits: Tensor, labels: Tensor, loss: str) -> Tensor:
    """Loss of every patient, (b,).

    ``cross_entropy`` is binary cross-entropy; ``focal`` is MONAI's focal loss with gamma 2 (Lin et al.,
    ICCV 2017).
    """
    if loss == "focal":
        focal: Tensor = focal_loss()(gamma=2.0, reduction="none")(logits[:, None], labels[:, None])
        return focal[:, 0]
    return functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")


def patient_weights(labels: Tensor, settings: Training) -> Tensor:
    """Weight of every training patient, (n,), mean 1; all 1 where a site has one class only."""
    positive = float(labels.mean()) if len(labels) else 0.0
    if settings.class_weight == "none" or not 0 < positive < 1:
        return labels.new_ones(labels.shape)
    return where(labels > 0, 0.5 / positive, 0.5 / (1 - positive))
