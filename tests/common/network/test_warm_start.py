"""A warm start takes what fits by name and shape, keeps the rest, and says which is which."""

import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedescc.common.arrays import flatten_parameters, parameter_layout, save_safetensors, split_parameters
from fedescc.common.errors import Refusal
from fedescc.common.network.model import build_model
from fedescc.common.network.warm_start import warm_start, warm_start_from
from fedescc.common.study import read_study

LAYOUT = (("a.weight", (2, 3)), ("b.bias", (4,)), ("c", (1,)))
OWN = np.arange(11, dtype=np.float32)


def test_equal_names_and_shapes_are_taken_and_all_else_is_told() -> None:
    found = {"z": np.zeros((5, 2)), "b.bias": np.ones((2, 2)), "a.weight": np.full((2, 3), 7.0)}
    weights, report = warm_start(LAYOUT, OWN, found)
    assert weights.tolist() == [7] * 6 + [6, 7, 8, 9, 10]
    assert weights.dtype == np.float32
    assert report.loaded == {"a.weight": (2, 3)}
    assert report.mismatched == {"b.bias": ((4,), (2, 2))}
    assert report.missing == {"c": (1,)}
    assert report.unused == {"z": (5, 2)}
    assert OWN.tolist() == list(range(11))


def test_one_line_tells_a_person() -> None:
    _, report = warm_start(LAYOUT, OWN, {"a.weight": np.zeros((2, 3)), "c": np.zeros(2), "y": np.zeros(1)})
    assert report.summary() == (
        "warm start: 1 of 3 tensors taken from the file (6 of 11 parameters); 1 of another shape, 1 not in the file, "
        "1 of the file unused"
    )


def test_the_entry_for_the_results_is_json_with_counts() -> None:
    found = {"a.weight": np.zeros((2, 3)), "b.bias": np.zeros(9), "y": np.zeros((2, 2))}
    entry = warm_start(LAYOUT, OWN, found)[1].entry()
    assert json.loads(json.dumps(entry)) == {
        "file_sha256": None,
        "loaded": ["a.weight"],
        "mismatched": [{"name": "b.bias", "model": [4], "file": [9]}],
        "missing": ["c"],
        "unused": ["y"],
        "parameters": {"loaded": 6, "mismatched": 4, "missing": 1, "unused": 4},
    }


@given(st.dictionaries(st.sampled_from(["a.weight", "b.bias", "c", "d"]), st.sampled_from([(2, 3), (4,), (1,), ()])))
def test_every_tensor_is_reported_once(shapes: dict[str, tuple[int, ...]]) -> None:
    found = {name: np.full(shape, -1.0) for name, shape in shapes.items()}
    fitting = {name for name, shape in LAYOUT if shapes.get(name) == shape}
    if not fitting:
        with pytest.raises(Refusal, match="warm-start-nothing-fits"):
            warm_start(LAYOUT, OWN, found)
        return
    weights, report = warm_start(LAYOUT, OWN, found)
    own = [*report.loaded, *report.mismatched, *report.missing]
    assert sorted(own) == ["a.weight", "b.bias", "c"]
    assert sorted([*report.loaded, *report.mismatched, *report.unused]) == sorted(shapes)
    arrays = split_parameters(LAYOUT, weights)
    kept = split_parameters(LAYOUT, OWN)
    for name in own:
        assert np.array_equal(arrays[name], found[name] if name in fitting else kept[name])


@pytest.mark.parametrize("kind", [np.float16, np.float64, np.int32, np.uint8])
def test_any_real_number_type_is_taken_as_float32(kind: type) -> None:
    weights, _ = warm_start(LAYOUT, OWN, {"c": np.array([3], kind)})
    assert weights[-1] == 3


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e39, 1j], ids=["nan", "infinity", "beyond-float32", "complex"])
def test_a_value_that_is_no_finite_float32_is_refused(bad: complex) -> None:
    with pytest.raises(Refusal, match="warm-start-not-finite"):
        warm_start(LAYOUT, OWN, {"c": np.array([bad])})
    assert warm_start(LAYOUT, OWN, {"c": np.ones(1), "unused": np.array([bad])})[1].unused == {"unused": (1,)}


def test_a_file_is_named_by_its_hash_and_never_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "secret-folder.safetensors"
    save_safetensors(path, {"c": np.array([5.0], np.float32)}, {})
    weights, report = warm_start_from(path, LAYOUT, OWN)
    assert weights[-1] == 5
    assert report.file_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert "secret" not in json.dumps(report.entry()) + report.summary()


def test_a_model_of_this_study_fits_whole_and_one_with_another_encoder_in_part(tmp_path: Path) -> None:
    study = read_study("escc-pcr")
    old, new = build_model(study, 5, 1), build_model(study, 5, 2)
    layout, path = parameter_layout(new), tmp_path / "old.safetensors"
    save_safetensors(path, split_parameters(layout, flatten_parameters(old)), {"study": "escc-pcr"})
    weights, report = warm_start_from(path, layout, flatten_parameters(new))
    assert np.array_equal(weights, flatten_parameters(old))
    assert len(report.loaded) == len(layout)
    rim = study.model_copy(update={"model": study.model.model_copy(update={"rim_mm": 6.0})})
    wider = build_model(rim, 9, 2)
    _, report = warm_start_from(path, parameter_layout(wider), flatten_parameters(wider))
    assert sorted(report.mismatched) == ["encoder.blocks.0.0.weight", "encoder.project.weight", "fusion.weight"]
    assert not report.missing
    assert not report.unused


class Hostile:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


@pytest.mark.parametrize("content", [b"", b"not weights", pickle.dumps(Hostile())], ids=["empty", "text", "pickle"])
def test_anything_but_safetensors_is_refused_and_never_executed(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    with pytest.raises(Refusal, match="unreadable-weights"):
        warm_start_from(path, LAYOUT, OWN)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="unreadable-weights"):
        warm_start_from(tmp_path / "none.safetensors", LAYOUT, OWN)


def test_number_types_that_numpy_lacks_are_refused_with_the_way_out(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    path = tmp_path / "bf16.safetensors"
    save_file({"c": torch.ones(1, dtype=torch.bfloat16)}, path)
    with pytest.raises(Refusal, match="convert the weights to float32"):
        warm_start_from(path, LAYOUT, OWN)


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fedescc.common.network import warm_start as module

    path = tmp_path / "w.safetensors"
    save_safetensors(path, {"c": np.ones(1, np.float32)}, {})
    load = module.load_safetensors

    def load_and_replace(given: Path):
        found = load(given)
        save_safetensors(path, {"c": np.zeros(1, np.float32)}, {})
        return found

    monkeypatch.setattr(module, "load_safetensors", load_and_replace)
    with pytest.raises(Refusal, match="changed while it was read"):
        warm_start_from(path, LAYOUT, OWN)
