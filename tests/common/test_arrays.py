"""A model's parameters survive the trip through one flat vector and through a file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors import SafetensorError
from torch import nn

from fedescc.common.arrays import (
    flatten_parameters,
    join_parameters,
    layout_size,
    load_parameters,
    load_safetensors,
    parameter_layout,
    save_safetensors,
    split_parameters,
)
from fedescc.common.errors import Refusal

LAYOUT = (("a.bias", (3,)), ("a.weight", (3, 2)), ("b", ()))
SIZE = 10


class Pair(nn.Module):
    """Modules created against the order of their names."""

    def __init__(self) -> None:
        super().__init__()
        self.second = nn.Linear(2, 1)
        self.first = nn.Linear(1, 2)


def test_order_is_by_name_and_c_order_within() -> None:
    model = Pair()
    with torch.no_grad():
        model.first.bias.copy_(torch.tensor([1.0, 2]))
        model.first.weight.copy_(torch.tensor([[3.0], [4]]))
        model.second.bias.fill_(5)
        model.second.weight.copy_(torch.tensor([[6.0, 7]]))
    assert flatten_parameters(model).tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert flatten_parameters(model).dtype == np.float32
    layout = parameter_layout(model)
    assert layout == (
        ("first.bias", (2,)), ("first.weight", (2, 1)), ("second.bias", (1,)), ("second.weight", (1, 2)),
    )  # fmt: skip
    assert layout_size(layout) == 7


def test_loading_gives_the_same_vector_back_and_drops_gradients() -> None:
    model = Pair()
    model.second(model.first(torch.ones(1, 1))).sum().backward()
    flat = np.linspace(-1, 1, 7, dtype=np.float32)
    load_parameters(model, flat)
    assert np.array_equal(flatten_parameters(model), flat)
    assert all(parameter.grad is None for parameter in model.parameters())
    flat[0] = 9
    assert flatten_parameters(model)[0] == -1


def test_the_flat_vector_is_a_copy() -> None:
    model = Pair()
    flat = flatten_parameters(model)
    flat += 1
    assert not np.array_equal(flatten_parameters(model), flat)


@given(arrays(np.float32, SIZE, elements=st.floats(-1e6, 1e6, width=32)))
def test_join_undoes_split(flat: np.ndarray) -> None:
    named = split_parameters(LAYOUT, flat)
    assert {name: array.shape for name, array in named.items()} == dict(LAYOUT)
    assert np.array_equal(join_parameters(LAYOUT, named), flat)


@pytest.mark.parametrize("shape", [(6,), (8,), (7, 1), (0,)])
def test_another_size_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(Refusal, match=r"model has \(7,\)") as refusal:
        load_parameters(Pair(), np.zeros(shape, np.float32))
    assert refusal.value.code == "wrong-parameters"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_before_anything_changes(value: float) -> None:
    model = Pair()
    before = flatten_parameters(model)
    flat = np.zeros(7, np.float32)
    flat[5] = value
    with pytest.raises(Refusal, match="1 of 7"):
        load_parameters(model, flat)
    assert np.array_equal(flatten_parameters(model), before)


@pytest.mark.parametrize(
    "change",
    [{"a.bias": np.zeros(4)}, {"c": np.zeros(1)}, {"b": np.array(np.nan)}],
    ids=["shape", "name", "nan"],
)
def test_joining_other_arrays_is_refused(change: dict[str, np.ndarray]) -> None:
    named = split_parameters(LAYOUT, np.zeros(SIZE, np.float32)) | change
    with pytest.raises(Refusal) as refusal:
        join_parameters(LAYOUT, named)
    assert refusal.value.code == "wrong-parameters"


def test_a_file_holds_arrays_and_metadata_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    named = split_parameters(LAYOUT, np.arange(SIZE, dtype=np.float32))
    save_safetensors(path, {"a.bias": np.ones(3)}, {})
    save_safetensors(path, named, {"study_sha256": "ab", "round": "3"})
    arrays_read, metadata = load_safetensors(path)
    assert metadata == {"study_sha256": "ab", "round": "3"}
    assert np.array_equal(join_parameters(LAYOUT, arrays_read), np.arange(SIZE))
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


def test_arrays_with_strides_are_written_in_c_order(tmp_path: Path) -> None:
    path, array = tmp_path / "m.safetensors", np.arange(6, dtype=np.float32).reshape(2, 3).T
    save_safetensors(path, {"x": array}, {})
    assert np.array_equal(load_safetensors(path)[0]["x"], array)


def test_a_failed_save_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_safetensors(path, {"a": np.ones(3)}, {})
    with pytest.raises(SafetensorError):
        save_safetensors(path, {"a": np.array([object()])}, {})
    assert load_safetensors(path)[0]["a"].tolist() == [1, 1, 1]
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("content", [None, b"", b"\x80\x04}q\x00.", b"\x10" + b"\x00" * 7 + b"{not json here!}"])
def test_unreadable_files_are_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "weights.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Refusal) as refusal:
        load_safetensors(path)
    assert refusal.value.code == "unreadable-weights"


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_safetensors(path, {"a": np.ones(300)}, {})
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(Refusal):
        load_safetensors(path)
