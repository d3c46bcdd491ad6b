"""MONAI's 3-D encoders, made to work sample by sample and pooled over the ROI.

MONAI builds their inner layers with batch norm, ReLU in place and ``out += residual`` whatever norm it is asked
for; none of these has per-sample gradients. They are exchanged after construction, so that the parameters keep
MONAI's names and shapes and published weights fit by name (`fedescc.common.network.warm_start`).

ResNet: He et al., CVPR 2016, with the stem of MedicalNet (Chen et al. 2019, arXiv:1904.00625). DenseNet: Huang et al.,
CVPR 2017. Importing MONAI takes seconds, so it happens where one of these is built.
"""

import math
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedescc.common.imaging import Grid
from fedescc.common.network.monai_import import torch_jit_unmentioned
from fedescc.common.network.pooling import FLOOR, mean_and_sd
from fedescc.common.network.rim import rim_of
from fedescc.common.study import Model

if TYPE_CHECKING:
    from monai.networks.nets.resnet import ResNetBlock

MOST_GROUPS = 8
RESNET_LAYERS = {"resnet10": (1, 1, 1, 1), "resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}
RESNET_WIDTHS = (64, 128, 256, 512)
DENSENET_WIDTHS = (256, 512, 1024, 1024)  # after each dense block of densenet121
# About the mean of soft tissue in a mediastinal window: the image channel is centred there and of order 1.
CENTRE, SCALE = 0.35, 3.0


class MonaiEncoder(nn.Module):
    """One scan and its ROI -> embedding, by one of MONAI's networks.

    Image, ROI and, with ``rim_mm``, rim are input channels. In place of MONAI's global average over the last maps,
    the maps of all four depths are pooled over the ROI, mean and SD: on a grid cut around the ROI the last maps
    have 2 or 3 voxels an axis.
    """

    def __init__(self, settings: Model, grid: Grid) -> None:
        super().__init__()
        self.rim_mm, self.spacing_zyx_mm = settings.rim_mm, grid.spacing_zyx_mm
        self.is_resnet = settings.encoder in RESNET_LAYERS
        channels = 2 + (settings.rim_mm > 0)
        self.net: Any = _resnet(settings.encoder, channels) if self.is_resnet else _densenet(channels)
        _make_per_sample(self.net)
        widths = RESNET_WIDTHS if self.is_resnet else DENSENET_WIDTHS
        self.norms = nn.ModuleList(nn.LayerNorm(2 * width) for width in widths)
        self.project = nn.Linear(2 * sum(widths), settings.embedding)

    def forward(self, image: Tensor, roi: Tensor) -> Tensor:
        """(s, z, y, x) twice -> (s, embedding)."""
        with torch.no_grad():
            channels = [(image - CENTRE) * SCALE, roi]
            if self.rim_mm > 0:
                channels.append(rim_of(roi, self.spacing_zyx_mm, self.rim_mm))
            inputs, region = torch.stack(channels, dim=1), roi[:, None] + FLOOR
        depths = _resnet_maps(self.net, inputs) if self.is_resnet else _densenet_maps(self.net, inputs)
        pooled = [
            norm(mean_and_sd(maps, _reduced(region, maps))) for norm, maps in zip(self.norms, depths, strict=True)
        ]
        embedding: Tensor = self.project(torch.cat(pooled, dim=1))
        return embedding


def _reduced(region: Tensor, maps: Tensor) -> Tensor:
    z, y, x = maps.shape[2:]
    return functional.adaptive_avg_pool3d(region, (z, y, x))


def _resnet_maps(net: Any, inputs: Tensor) -> list[Tensor]:
    """Maps after each of the four groups of blocks."""
    maps, depths = net.maxpool(net.act(net.bn1(net.conv1(inputs)))), []
    for layer in (net.layer1, net.layer2, net.layer3, net.layer4):
        maps = layer(maps)
        depths.append(maps)
    return depths


def _densenet_maps(net: Any, inputs: Tensor) -> list[Tensor]:
    """Maps after each of the four dense blocks, the last normalised."""
    maps, depths = inputs, []
    for name, layer in net.features.named_children():
        maps = layer(maps)
        if name in {"denseblock1", "denseblock2", "denseblock3", "norm5"}:
            depths.append(maps)
    return depths


def _resnet(name: str, channels: int) -> nn.Module:
    with torch_jit_unmentioned():
        from monai.networks.nets.resnet import ResNet

    net: nn.Module = ResNet(
        _block_out_of_place(),
        list(RESNET_LAYERS[name]),
        list(RESNET_WIDTHS),
        n_input_channels=channels,
        conv1_t_stride=2,
        bias_downsample=False,
        feed_forward=False,
    )
    return net


def _densenet(channels: int) -> nn.Module:
    with torch_jit_unmentioned():
        from monai.networks.nets.densenet import DenseNet121

    net: nn.Module = DenseNet121(spatial_dims=3, in_channels=channels, out_channels=1)
    del net.class_layers  # global pooling and a classifier
    return net


@cache
def _block_out_of_place() -> "type[ResNetBlock]":
    """MONAI's basic residual block with the residual added out of place."""
    from monai.networks.nets.resnet import ResNetBlock

    class Block(ResNetBlock):
        def forward(self, x: Tensor) -> Tensor:
            residual = x if self.downsample is None else self.downsample(x)
            out: Tensor = self.bn2(self.conv2(self.act(self.bn1(self.conv1(x)))))
            activated: Tensor = self.act(out + residual)
            return activated

    return Block


def _make_per_sample(module: nn.Module) -> None:
    """Group norm for batch norm, and ReLU out of place, at every depth of the module."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm3d):
            setattr(module, name, nn.GroupNorm(math.gcd(child.num_features, MOST_GROUPS), child.num_features))
        elif isinstance(child, nn.ReLU):
            setattr(module, name, nn.ReLU())
        else:
            _make_per_sample(child)
