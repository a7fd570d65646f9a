"""The documents say what PyTorch says."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch

import vitrail
from tests.explorer.conftest import tiny_clip, tiny_vim, tiny_vit
from tests.models.small import small
from vitrail.errors import ConfigError, DataError, LoadError, TierError
from vitrail.explorer.arrays import decode_array, encode_array
from vitrail.explorer.documents import Explorer
from vitrail.explorer.resources import page_files
from vitrail.lens.explanations import explain
from vitrail.lens.explanations.base import explains_classes
from vitrail.lens.explanations.similarity import patch_directions

Document = dict[str, Any]


def reasons_of(model: vitrail.Backbone) -> dict[str, str]:
    """Why explanations that are quick cannot be used, by name."""
    rows = Explorer(model, "model").model_document()["explanations"]
    return {row["name"]: row["reason"] for row in rows if not row["slow"]}


def inputs_of(explorer: Explorer, photo: Path) -> torch.Tensor:
    return explorer.model.preprocess(str(photo))


def test_arrays_come_back_within_a_part_of_their_rows_range() -> None:
    values = torch.rand(3, 5, 7) * torch.tensor([1.0, 1e-6, 1e3])[:, None, None]
    decoded = decode_array(encode_array(values))
    ranges = values.amax(-1, keepdim=True) - values.amin(-1, keepdim=True)
    assert ((decoded - values).abs() <= ranges / 131_000).all()
    assert decode_array(encode_array(torch.full((2, 3), 0.25))).eq(0.25).all()


def test_arrays_that_are_damaged_or_not_finite_are_refused() -> None:
    with pytest.raises(ConfigError, match="NaN"):
        encode_array(torch.tensor([[0.0, float("nan")]]))
    with pytest.raises(LoadError, match="damaged"):
        decode_array(encode_array(torch.zeros(2, 3)) | {"shape": [2, 4]})


def test_attention_is_that_of_the_recorder(explorer: Explorer, photo: Path) -> None:
    trace = explorer.sample(0)
    inputs = inputs_of(explorer, photo)
    with torch.no_grad(), vitrail.record(explorer.model) as maps:
        explorer.model(inputs)
    assert [layer["heads"] for layer in trace["layers"]] == [2, 2, 2]
    for layer in range(3):
        weights = decode_array(explorer.attention_document(trace["id"], layer)["array"])
        assert weights.shape == (2, 17, 17)
        assert weights.max() > 0.2  # far from uniform
        torch.testing.assert_close(weights.float(), maps[layer][0], rtol=0, atol=1e-5)


def test_predictions_and_the_logit_lens_are_the_models(explorer: Explorer, photo: Path) -> None:
    trace = explorer.sample(0)
    inputs = inputs_of(explorer, photo)
    probabilities = explorer.model(inputs).softmax(1)[0].detach()
    for prediction in trace["predictions"]:
        assert prediction["value"] == pytest.approx(probabilities[prediction["index"]].item())
        assert prediction["label"] == explorer.model.labels[prediction["index"]]
    assert trace["predictions"][0]["index"] == probabilities.argmax()
    lens = vitrail.lens.logit_lens(explorer.model, inputs)[:, 0].softmax(1)
    values = torch.tensor(trace["lens"]["values"])
    torch.testing.assert_close(values, lens[:, trace["lens"]["classes"]])


def test_similarity_and_explanations_are_those_of_lens(explorer: Explorer, photo: Path) -> None:
    key = explorer.sample(0)["id"]
    inputs = inputs_of(explorer, photo)
    (features,) = explorer.model.intermediates(inputs, [-1])
    patches = patch_directions(features.patches.detach())[0]
    cosine = decode_array(explorer.similarity_document(key)["array"]).float()
    torch.testing.assert_close(cosine, patches @ patches.T, rtol=0, atol=3e-5)
    for name, target in (("relevance", 1), ("rollout", None), ("grad_cam", 2)):
        weights = explain(explorer.model, inputs, name, target)[0]
        array = decode_array(explorer.explanation_document(key, name, target)["array"])
        torch.testing.assert_close(
            array.float(), weights, rtol=0, atol=2e-5 * weights.abs().max().item()
        )


def test_documents_fit_the_schema(explorer: Explorer) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(page_files()["trace.schema.json"])
    trace = explorer.sample(0)
    key = trace["id"]
    validator = jsonschema.Draft202012Validator(schema)
    documents = [
        explorer.model_document(), trace, explorer.attention_document(key, 1),
        explorer.similarity_document(key), explorer.explanation_document(key, "relevance", 0),
        explorer.walk_document(key, 1, 5),
    ]  # fmt: skip
    vim = Explorer(tiny_vim(), "Vim", explorer.samples)
    documents += [vim.sample(0), vim.scan_document(key, 0), vim.attention_document(key, 0)]
    swin = Explorer(small("Swin").eval(), "Swin", explorer.samples)
    documents += [swin.sample(0), swin.attention_document(key, 1)]
    clip = tiny_clip()
    reader = Explorer(clip.backbone, "CLIP", explorer.samples, clip=clip)
    documents += [reader.sample(0), reader.text_document(key, "a cat")]
    for document in documents:
        assert not list(validator.iter_errors(json.loads(json.dumps(document))))
        assert list(validator.iter_errors(document | {"version": 1}))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda e, key: e.attention_document(key, 3), "attention layers 0 to 2"),
        (lambda e, key: e.attention_document(key, -4), "attention layers 0 to 2"),
        (lambda e, key: e.attention_document("nothing", 0), "no such picture"),
        (lambda e, key: e.explanation_document(key, "relevanse"), "relevance"),
        (lambda e, key: e.explanation_document(key, "relevance", 3), "3"),
        (lambda e, key: e.sample(1), "there are 1"),
    ],
)
def test_what_does_not_exist_is_one_line(explorer: Explorer, call: Any, message: str) -> None:
    key = explorer.sample(0)["id"]
    with pytest.raises(ConfigError, match=message) as problem:
        call(explorer, key)
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize("name", ["Swin", "VisionMamba", "XCiT", "ViT"])
def test_models_of_every_kind_have_a_page(name: str, photo: Path) -> None:
    """Maps where attention is between cells, also in windows and of a Mamba; else the reason."""
    explorer = Explorer(small(name).eval(), name, [photo])
    trace = explorer.sample(0)
    patches = trace["grid"][0] * trace["grid"][1]
    assert bool(trace["layers"]) == (name != "XCiT")
    assert bool(trace["reason"]) != bool(trace["layers"])
    for layer, row in enumerate(trace["layers"]):
        attention = explorer.attention_document(trace["id"], layer)
        assert attention["grid"] == row["grid"]
        assert (attention["cells"] is not None) == row["windows"] == (name == "Swin")
        tokens = row["prefix"] + row["grid"][0] * row["grid"][1]
        assert row["windows"] or attention["array"]["shape"] == [row["heads"], tokens, tokens]
    if name == "Swin":
        assert "the stages of a Swin have widths of their own" in trace["lens"]["reason"]
    if name == "XCiT":
        assert "class token" in trace["lens"]["reason"]
        with pytest.raises(TierError, match="no maps"):
            explorer.attention_document(trace["id"], 0)
    assert explorer.similarity_document(trace["id"])["array"]["shape"] == [patches, patches]


def test_explanations_that_need_something_say_so() -> None:
    model = tiny_vit()
    for block in model.blocks:
        block.mixer.attend = torch.nn.Identity()
    reasons = reasons_of(model)
    assert "no attention" in reasons["rollout"]
    assert not reasons["grad_cam"]
    assert set(reasons_of(tiny_vit()).values()) == {""}


@pytest.mark.parametrize("name", ["Swin", "PVT", "MaxViT", "CaiT", "VisionMamba", "ViT"])
def test_what_the_page_offers_can_be_computed(name: str) -> None:
    """An explanation has a reason exactly where it raises."""
    model = small(name).eval()
    images = torch.rand(1, 3, *model.image_size)
    for explanation, reason in reasons_of(model).items():
        target = 0 if explains_classes(explanation) else None
        try:
            explain(model, images, explanation, target)
            assert not reason
        except TierError:
            assert reason


def test_outputs_that_are_not_finite_are_one_line(explorer: Explorer) -> None:
    with torch.no_grad():
        explorer.model.head.bias[1] = float("nan")
    with pytest.raises(DataError, match=r"noise\.png: the model's output is NaN or infinite"):
        explorer.sample(0)


def test_models_of_signals_are_refused() -> None:
    model = vitrail.ViT((64,), (8,), num_classes=2, dim=8, depth=1, heads=1, mlp_dim=8)
    with pytest.raises(TierError, match="shows images"):
        Explorer(model, "signals")


def test_nothing_of_the_page_comes_from_elsewhere() -> None:
    for path in (files("vitrail.explorer") / "static").iterdir():
        if path.name != "trace.schema.json":
            text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
            assert "http:" not in text
            assert "https:" not in text
    assert sum(map(len, page_files().values())) < 600_000


@pytest.mark.parametrize("kind", ["bfloat16", "half", "double", "compiled"])
def test_models_of_other_types_and_compiled_ones_are_shown(photo: Path, kind: str) -> None:
    model = tiny_vit()
    shown = torch.compile(model, backend="eager") if kind == "compiled" else getattr(model, kind)()
    explorer = Explorer(shown, kind, [photo])
    trace = explorer.sample(0)
    assert [row["key"] for row in trace["layers"]] == ["0", "1", "2"]
    explorer.attention_document(trace["id"], 1)
    explorer.similarity_document(trace["id"])
    explorer.explanation_document(trace["id"], "relevance", 1)


def test_wrong_arguments_are_one_line(explorer: Explorer) -> None:
    key = explorer.sample(0)["id"]
    with pytest.raises(ConfigError, match="layer='0' is not a whole number"):
        explorer.attention_document(key, "0")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="is not a Backbone"):
        Explorer(torch.nn.Linear(2, 2), "linear")  # type: ignore[arg-type]
