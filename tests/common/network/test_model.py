"""The network: deterministic, per-sample, blind to missing scans, and fit for DP-SGD."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.nn.functional import binary_cross_entropy_with_logits

from fedescc.common.arrays import flatten_parameters
from fedescc.common.network.model import LinearModel, PairedCNN, build_model
from fedescc.common.study import Study, read_study

N_CLINICAL = 3
FIRST_EMBEDDING = [1.3454, 0.55035, 0.06358, 0.80899, 1.55483, 0.25565, 1.0]


def study(points: tuple[str, ...] = ("pre", "post"), size: tuple[int, ...] = (16, 16, 16), **model: Any) -> Study:
    shipped = read_study("escc-pcr").model_dump(mode="json")
    shipped["eligibility"] = {}
    shipped["imaging"]["time_points"] = points
    shipped["imaging"]["grid"] = {"size_zyx": size, "spacing_zyx_mm": [2.0] * 3, "window_hu": [-160, 340]}
    shipped["model"] = {"kind": "paired_cnn", "widths": [4, 8], "embedding": 6, "hidden": 5, **model}
    return Study.model_validate(shipped)


def patients(n: int, points: int = 2, size: tuple[int, ...] = (16, 16, 16)) -> tuple[Tensor, ...]:
    draw = torch.Generator().manual_seed(4)
    images = torch.rand(n, points, *size, generator=draw)
    rois = torch.zeros_like(images)
    rois[:, :, 5:11, 4:10, 6:12] = 1
    return images, rois, torch.ones(n, points), torch.randn(n, N_CLINICAL, generator=draw)


def built(seed: int = 0, **options: Any) -> PairedCNN:
    model = build_model(study(**options), N_CLINICAL, seed)
    assert isinstance(model, PairedCNN)
    return model.eval()


def test_initialisation_depends_on_the_seed_alone_and_leaves_the_global_state() -> None:
    state = torch.get_rng_state()
    first = flatten_parameters(built(1))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(123)
    assert np.array_equal(flatten_parameters(built(1)), first)
    assert not np.array_equal(flatten_parameters(built(2)), first)


def test_the_default_network_starts_from_known_numbers() -> None:
    """A change here means that seeds have another meaning and that older weights no longer fit."""
    model, (images, rois, present, _) = built(1), patients(3)
    flat = flatten_parameters(model).astype(np.float64)
    assert len(flat) == 1650
    assert flat[:3].tolist() == pytest.approx([0.05725147, -0.04904203, -0.02154016], abs=1e-7)
    assert [flat.sum(), flat @ flat] == pytest.approx([14.592700446548406, 20.061003129963083], abs=1e-5)
    with torch.inference_mode():
        embedding = model.encode(images[:, 0], rois[:, 0], present[:, 0])[0]
    assert embedding.tolist() == pytest.approx(FIRST_EMBEDDING, abs=1e-4)


def test_a_study_without_images_gets_logistic_regression_at_zero() -> None:
    model = build_model(read_study("heart-disease"), N_CLINICAL, 0)
    assert isinstance(model, LinearModel)
    assert flatten_parameters(model).tolist() == [0] * (N_CLINICAL + 1)
    assert model(torch.zeros(2, 0, 0, 0, 0), None, None, torch.ones(2, N_CLINICAL)).tolist() == [0, 0]


@pytest.mark.parametrize("points", [("pre",), ("pre", "post")])
@pytest.mark.parametrize("size", [(8, 8, 8), (15, 18, 21)])
@pytest.mark.parametrize("hidden", [0, 5])
def test_any_grid_and_number_of_time_points(points: tuple[str, ...], size: tuple[int, ...], hidden: int) -> None:
    model = built(points=points, size=size, hidden=hidden, widths=[4, 6, 9])
    logits = model(*patients(3, len(points), size))
    assert logits.shape == (3,)
    assert torch.isfinite(logits).all()
    assert logits.std() > 0


def test_a_patients_logit_does_not_depend_on_the_others() -> None:
    model, inputs = built(), patients(5)
    together = model(*inputs)
    alone = torch.cat([model(*(part[row : row + 1] for part in inputs)) for row in range(5)])
    assert torch.allclose(alone, together, atol=1e-5)


@pytest.mark.parametrize("points", [("pre",), ("pre", "post")])
def test_the_encoder_never_sees_a_single_volume(points: tuple[str, ...]) -> None:
    model, seen = built(points=points), []
    model.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    model(*patients(1, len(points)))
    assert seen == [2]


def test_encode_and_head_make_the_forward_pass() -> None:
    model, (images, rois, present, clinical) = built(), patients(3)
    scans = [model.encode(images[:, t], rois[:, t], present[:, t]) for t in range(2)]
    assert scans[0].shape == (3, 7)
    logits = model.head(torch.stack(scans, dim=1), clinical)
    assert torch.allclose(logits, model(images, rois, present, clinical), atol=1e-6)


def test_a_missing_scan_is_not_looked_at_but_known_to_be_missing() -> None:
    model, (images, rois, present, clinical) = built(), patients(3)
    present[1, 1] = 0
    logits = model(images, rois, present, clinical)
    images[1, 1], rois[1, 1] = torch.rand(16, 16, 16), 0
    assert torch.equal(model(images, rois, present, clinical), logits)
    present[1, 1] = 1
    assert not torch.isclose(model(images, rois, present, clinical)[1], logits[1])


def test_time_points_share_the_encoder() -> None:
    model, (images, rois, present, _) = built(), patients(2)
    once, twice = (model.encode(images[:, 0], rois[:, 0], present[:, 0]) for _ in range(2))
    assert torch.equal(once, twice)
    names = {name.split(".")[0] for name, _ in model.named_parameters()}
    assert names == {"encoder", "fusion"}


@pytest.mark.parametrize("roi", [0.0, 1.0], ids=["empty", "everywhere"])
def test_odd_rois_stay_finite_with_finite_gradients(roi: float) -> None:
    model, (images, rois, present, clinical) = built(), patients(2)
    logits = model(torch.zeros_like(images), torch.full_like(rois, roi), present, clinical)
    logits.sum().backward()
    assert torch.isfinite(logits).all()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())  # type: ignore[arg-type]


def test_tissue_far_from_the_roi_hardly_matters_and_the_roi_does() -> None:
    model, (images, rois, present, clinical) = built(), patients(2)
    logits = model(images, rois, present, clinical)
    inside, outside = images.clone(), images.clone()
    inside[:, :, 5:11, 4:10, 6:12] += 0.3
    outside[:, :, :2, :2, :2] -= 0.3  # brighter would be the blood that the tumour is compared with
    moved = [(model(edited, rois, present, clinical) - logits).abs().min() for edited in (inside, outside)]
    assert moved[0] > 10 * moved[1]


def test_opacus_finds_nothing_to_object_to() -> None:
    from opacus.validators import ModuleValidator

    assert ModuleValidator.validate(built().train(), strict=False) == []


def test_vmapped_gradients_equal_those_of_single_patients() -> None:
    model, inputs, labels = built(), patients(4), torch.tensor([1.0, 0, 0, 1])
    parameters = {name: value.detach() for name, value in model.named_parameters()}

    def loss(at: dict[str, Tensor], label: Tensor, *patient: Tensor) -> Tensor:
        logit = functional_call(model, at, tuple(part[None] for part in patient))
        return binary_cross_entropy_with_logits(logit, label[None])

    each = vmap(grad(loss), in_dims=(None, 0, 0, 0, 0, 0))(parameters, labels, *inputs)
    for row in range(4):
        single = grad(loss)(parameters, labels[row], *(part[row] for part in inputs))
        for name, value in single.items():
            assert torch.allclose(each[name][row], value, atol=1e-5), name


def test_per_sample_gradients_run_in_training_mode_with_dropout() -> None:
    model = built().train()
    parameters = {name: value.detach() for name, value in model.named_parameters()}
    gradients = vmap(
        grad(lambda at, *patient: functional_call(model, at, tuple(part[None] for part in patient)).sum()),
        in_dims=(None, 0, 0, 0, 0),
        randomness="different",
    )(parameters, *patients(3))
    assert all(value.shape[0] == 3 and torch.isfinite(value).all() for value in gradients.values())
