"""MONAI's encoders and the rim: sample by sample, MONAI's own names, nothing imported that is not used."""

import subprocess
import sys
from copy import deepcopy
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from fedescc.common.arrays import flatten_parameters
from fedescc.common.network.cells import CellEncoder
from fedescc.common.network.distribution import STATISTICS
from fedescc.common.network.model import PairedCNN, build_model
from fedescc.common.network.monai_encoders import RESNET_LAYERS, MonaiEncoder, _block_out_of_place
from fedescc.common.network.rim import rim_of
from fedescc.common.study import Study, read_study

SIZES = {"cells": 16, "resnet10": 16, "resnet18": 16, "resnet34": 16, "densenet121": 32}
MONAI = ("resnet10", "densenet121")


def study(encoder: str, size: int | None = None, **model: Any) -> Study:
    shipped = read_study("escc-pcr").model_dump(mode="json")
    edge = [size or SIZES[encoder]] * 3
    shipped["imaging"]["grid"] = {"size_zyx": edge, "spacing_zyx_mm": [2.0, 2.0, 1.5], "window_hu": [-160, 340]}
    small = {"kind": "paired_cnn", "widths": [4, 8], "embedding": 6, "hidden": 5, "encoder": encoder}
    shipped["model"] = {**small, **model}
    return Study.model_validate(shipped)


@cache
def built(encoder: str, rim_mm: float = 0.0, seed: int = 1) -> PairedCNN:
    model = build_model(study(encoder, rim_mm=rim_mm), 2, seed)
    assert isinstance(model, PairedCNN)
    return model.eval()


def patients(encoder: str, n: int = 2) -> tuple[Tensor, ...]:
    draw, edge = torch.Generator().manual_seed(4), SIZES[encoder]
    images = torch.rand(n, 2, edge, edge, edge, generator=draw)
    rois = torch.zeros_like(images)
    rois[:, :, 5:11, 4:10, 6:12] = 1
    return images, rois, torch.ones(n, 2), torch.randn(n, 2, generator=draw)


@pytest.mark.parametrize("encoder", ["cells", *MONAI])
def test_every_layer_learns(encoder: str) -> None:
    model = build_model(study(encoder, rim_mm=4.0), 2, 1).encoder
    images, rois, _, _ = patients(encoder)
    model(images[:, 0], rois[:, 0]).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("encoder", MONAI)
def test_opacus_finds_nothing_to_object_to(encoder: str) -> None:
    from opacus.validators import ModuleValidator

    model = built(encoder).train()
    assert ModuleValidator.validate(model, strict=False) == []
    modules = list(model.eval().modules())
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in modules)
    assert not any(getattr(module, "inplace", False) for module in modules)
    norms = [module for module in modules if isinstance(module, nn.GroupNorm)]
    assert len(norms) >= 9
    assert all(norm.num_channels % norm.num_groups == 0 and norm.num_groups == 8 for norm in norms)


@pytest.mark.parametrize(("encoder", "rim_mm"), [("cells", 4.0), ("resnet10", 4.0), ("densenet121", 0.0)])
def test_vmapped_gradients_equal_that_of_a_single_patient(encoder: str, rim_mm: float) -> None:
    model = deepcopy(built(encoder, rim_mm)).double()
    inputs = tuple(part.double() for part in patients(encoder))
    parameters = {name: value.detach() for name, value in model.named_parameters()}

    def loss(at: dict[str, Tensor], *patient: Tensor) -> Tensor:
        return functional_call(model, at, tuple(part[None] for part in patient)).square().sum()

    each = vmap(grad(loss), in_dims=(None, 0, 0, 0, 0))(parameters, *inputs)
    model(*(part[1:] for part in inputs)).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert torch.allclose(each[name][1], parameter.grad, rtol=1e-6, atol=1e-9), name
        assert not torch.allclose(each[name][0], parameter.grad, rtol=1e-6, atol=1e-9), name


@pytest.mark.parametrize("encoder", MONAI)
def test_a_patients_logit_does_not_depend_on_the_others(encoder: str) -> None:
    model, inputs = built(encoder), patients(encoder, 3)
    with torch.inference_mode():
        together = model(*inputs)
        alone = torch.cat([model(*(part[row : row + 1] for part in inputs)) for row in range(3)])
    assert torch.allclose(alone, together, atol=1e-5)


def test_parameters_have_the_names_and_shapes_that_monais_own_network_has() -> None:
    from fedescc.common.network.monai_import import torch_jit_unmentioned

    with torch_jit_unmentioned():
        from monai.networks.nets import DenseNet121, resnet10

    theirs = {
        "resnet10": resnet10(n_input_channels=2, conv1_t_stride=2, feed_forward=False, bias_downsample=False),
        "densenet121": DenseNet121(spatial_dims=3, in_channels=2, out_channels=1),
    }
    for encoder, network in theirs.items():
        expected = {name: value.shape for name, value in network.named_parameters() if "class_layers" not in name}
        assert {name: value.shape for name, value in built(encoder).encoder.net.named_parameters()} == expected


def test_the_residual_block_computes_what_monais_does() -> None:
    from monai.networks.nets.resnet import ResNetBlock

    norm = ("group", {"num_groups": 2})
    theirs, ours = (kind(4, 4, norm=norm) for kind in (ResNetBlock, _block_out_of_place()))
    ours.load_state_dict(theirs.state_dict())
    maps = torch.randn(2, 4, 5, 6, 7)
    assert torch.equal(ours(maps), theirs(maps.clone()))


@pytest.mark.parametrize(("encoder", "blocks"), [("resnet10", 4), ("resnet18", 8), ("resnet34", 16)])
def test_resnets_have_their_depth(encoder: str, blocks: int) -> None:
    assert sum(RESNET_LAYERS[encoder]) == blocks
    found = MonaiEncoder(study(encoder).model, study(encoder).imaging.grid).modules()  # type: ignore[union-attr]
    assert sum(isinstance(module, _block_out_of_place()) for module in found) == blocks


@pytest.mark.parametrize("encoder", MONAI)
def test_initialisation_depends_on_the_seed_alone_and_leaves_the_global_state(encoder: str) -> None:
    state = torch.get_rng_state()
    first = flatten_parameters(built(encoder))
    torch.manual_seed(99)
    again = flatten_parameters(build_model(study(encoder), 2, 1))
    torch.set_rng_state(state)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, flatten_parameters(build_model(study(encoder), 2, 2)))


@pytest.mark.parametrize("encoder", MONAI)
def test_maps_are_pooled_over_the_roi(encoder: str) -> None:
    """Where the network itself does not see the ROI, its outline still decides what is pooled."""
    model, (images, rois, _, _) = built(encoder).encoder, patients(encoder)
    kernel = next(module for module in model.modules() if isinstance(module, nn.Conv3d)).weight
    kept = kernel.detach().clone()
    with torch.no_grad():
        kernel[:, 1] = 0
        here, elsewhere = model(images[:, 0], rois[:, 0]), model(images[:, 0], rois[:, 0].flip(1, 2, 3))
        kernel.copy_(kept)
    assert (here - elsewhere).abs().max() > 1e-3


@pytest.mark.parametrize("encoder", ["cells", "resnet10"])
def test_without_a_roi_there_is_no_rim_to_see(encoder: str) -> None:
    """What takes the tumour away takes the rim channel with it: its kernels get no gradient."""
    model, (images, rois, _, _) = build_model(study(encoder, rim_mm=4.0), 2, 1).encoder, patients(encoder)
    kernel = next(module for module in model.modules() if isinstance(module, nn.Conv3d)).weight
    for roi, seen in ((torch.zeros_like(rois[:, 0]), False), (rois[:, 0], True)):
        kernel.grad = None
        model(images[:, 0], roi).sum().backward()
        assert bool(kernel.grad[:, -1].abs().sum() > 0) is seen
    assert kernel.shape[1] == 3 + (encoder == "cells")


def test_the_cells_encoder_looks_into_the_rim_if_it_is_asked_to() -> None:
    """Brighter tissue in the rim moves the statistics branch of the rim, and the ROI's own does not see it."""
    settings = study("cells", rim_mm=4.0)
    assert settings.imaging is not None
    encoder = CellEncoder(settings.model, settings.imaging.grid)
    images, rois, _, _ = patients("cells")
    image, roi = images[:, 0] / 2, torch.zeros_like(rois[:, 0])
    roi[:, 4:12, 4:12, 4:12] = 1  # whole cells
    brighter = image + 0.3 * rim_of(roi, settings.imaging.grid.spacing_zyx_mm, 4.0)
    seen: list[Tensor] = []
    encoder.project.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    with torch.no_grad():
        encoder(image, roi), encoder(brighter, roi)
    moved = (seen[0] - seen[1]).abs()
    assert float(moved[:, STATISTICS : 2 * STATISTICS].max()) > 0.5
    assert float(moved[:, :STATISTICS].max()) < 0.05


@pytest.mark.parametrize("size", [(8, 8, 8), (15, 18, 21)])
@pytest.mark.parametrize("encoder", ["cells", "resnet10"])
def test_any_grid_with_a_rim(encoder: str, size: tuple[int, ...]) -> None:
    settings = study(encoder, rim_mm=5.0)
    model = build_model(settings, 2, 1).encoder.eval()
    draw = torch.Generator().manual_seed(1)
    image, roi = torch.rand(2, *size, generator=draw), torch.zeros(2, *size)
    roi[:, 2:5, 3:6, 2:6] = 1
    assert model(image, roi).shape == (2, 6)
    assert torch.isfinite(model(image, roi)).all()


def test_a_densenet_needs_a_grid_that_can_be_halved_five_times() -> None:
    with pytest.raises(ValidationError, match="densenet121 halves the grid five times: give at least 32"):
        study("densenet121", size=31)


def test_monai_is_imported_by_those_who_use_it() -> None:
    """It takes seconds, and a study with fedescc's own encoder never needs it for its network."""
    code = (
        "import sys; from fedescc.common.network.model import build_model; from fedescc.common.study import read_study;"
        "build_model(read_study('escc-pcr'), 2, 0); sys.exit('monai' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
