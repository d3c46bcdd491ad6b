"""The shared network of a study: a paired 3-D encoder with clinical fusion, or logistic regression.

Every layer works sample by sample, so that per-sample gradients exist (`fedescc.common.network.encoders`).
"""

import torch
from torch import Tensor, nn

from fedescc.common.imaging import Imaging
from fedescc.common.network.encoders import build_encoder
from fedescc.common.study import Model, Study


def build_model(study: Study, n_clinical: int, seed: int) -> nn.Module:
    """The study's network, initialised from ``seed`` alone; torch's global random state stays as it was.

    Its ``forward`` takes images and ROIs (b, t, z, y, x), presence flags (b, t) and clinical columns
    (b, n_clinical), and returns logits (b,).
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if study.imaging is None:
            return LinearModel(n_clinical)
        return PairedCNN(study.model, study.imaging, n_clinical)


class LinearModel(nn.Module):
    """Logistic regression on the clinical columns; starts at 0, where the loss is convex anyway."""

    def __init__(self, n_clinical: int) -> None:
        super().__init__()
        self.linear = nn.Linear(n_clinical, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, images: Tensor, rois: Tensor, present: Tensor, clinical: Tensor) -> Tensor:  # noqa: ARG002
        """Logits (b,); images, ROIs and presence are not used."""
        return self.head(clinical.new_zeros(len(clinical), 0, 0), clinical)

    def head(self, embeddings: Tensor, clinical: Tensor) -> Tensor:  # noqa: ARG002
        """Logits (b,) from clinical columns (b, k); there are no embeddings."""
        logits: Tensor = self.linear(clinical)[:, 0]
        return logits


class PairedCNN(nn.Module):
    """One encoder for all time points; their embeddings, the change between them and clinical columns fuse.

    `encode` and `head` are apart so that explanation can keep the embeddings of an encoder pass.
    """

    def __init__(self, settings: Model, imaging: Imaging, n_clinical: int) -> None:
        super().__init__()
        self.encoder = build_encoder(settings, imaging.grid)
        time_points = len(imaging.time_points)
        views = time_points + (time_points == 2)
        fused = views * settings.embedding + time_points + n_clinical
        self.dropout = nn.Dropout(settings.dropout)
        if settings.hidden:
            self.fusion: nn.Module = nn.Sequential(
                nn.Linear(fused, settings.hidden),
                nn.ReLU(),
                nn.Dropout(settings.dropout),
                nn.Linear(settings.hidden, 1),
            )
        else:
            self.fusion = nn.Linear(fused, 1)

    def forward(self, images: Tensor, rois: Tensor, present: Tensor, clinical: Tensor) -> Tensor:
        """Logits (b,)."""
        scans = self.encode(images.flatten(0, 1), rois.flatten(0, 1), present.flatten())
        return self.head(scans.reshape(*present.shape, -1), clinical)

    def encode(self, image: Tensor, roi: Tensor, present: Tensor) -> Tensor:
        """Scans (s, z, y, x) in [0, 1], ROIs and presence flags (s,) -> (s, embedding + 1).

        The last entry is the presence flag; a missing scan is all zeros.
        """
        if len(image) == 1:  # a batch of one 3-D sample misses oneDNN's fast convolutions
            image, roi = image.expand(2, -1, -1, -1), roi.expand(2, -1, -1, -1)
        embedding = self.encoder(image, roi)[: len(present)]
        flag = present[:, None].to(embedding.dtype)
        return torch.cat([embedding * flag, flag], dim=1)

    def head(self, embeddings: Tensor, clinical: Tensor) -> Tensor:
        """Logits (b,) from what `encode` returned, (b, t, embedding + 1), and clinical columns (b, k)."""
        scans, present = embeddings[..., :-1], embeddings[..., -1]
        views = [scans.flatten(1)]
        if scans.shape[1] == 2:
            both = present.prod(dim=1, keepdim=True)
            views.append((scans[:, 1] - scans[:, 0]) * both)
        image = self.dropout(torch.cat(views, dim=1))
        logits: Tensor = self.fusion(torch.cat([image, present, clinical], dim=1))[:, 0]
        return logits
