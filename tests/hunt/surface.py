"""The public surface: every name of `vitrail` and of its packages, found and not listed."""

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import vitrail

PACKAGES = (
    "vitrail", "vitrail.contract", "vitrail.data", "vitrail.deploy", "vitrail.hub",
    "vitrail.layers", "vitrail.lens", "vitrail.methods", "vitrail.models", "vitrail.ops.linear",
    "vitrail.ops.selective_scan", "vitrail.ops.causal_conv", "vitrail.train",
)  # fmt: skip

# What is not called with values of a user's, by why.
RECORDS = "fields that Vitrail fills in; what reads them checks them"
TORCH = "torch's own signature and messages"
ABSTRACT = "a base class, or without arguments"
LEFT_OUT = {
    "Check": RECORDS, "Outcome": RECORDS, "RawBatch": RECORDS, "Exported": RECORDS,
    "FastestModel": RECORDS, "MambaState": RECORDS, "Pack": RECORDS, "AttentionTrace": RECORDS,
    "ColorBasis": RECORDS, "MapNumbers": RECORDS, "SavedTrace": RECORDS, "Scale": RECORDS,
    "StageFeatures": RECORDS,
    "Panel": RECORDS, "ShapeRow": RECORDS, "Loss": RECORDS, "Paper": RECORDS, "Variant": RECORDS,
    "Datasets": RECORDS, "Evaluation": RECORDS, "PooledFeatures": RECORDS, "Prediction": RECORDS,
    "Features": RECORDS, "Scan": RECORDS, "TrainingRun": RECORDS, "ModelCase": RECORDS,
    "Batch": RECORDS, "InferenceParams": RECORDS, "Inventory": RECORDS, "FoldResults": RECORDS,
    "BatchNorm2d": TORCH, "GELU": TORCH, "LayerNorm": TORCH, "Linear": TORCH, "QuickGELU": TORCH,
    "RMSNorm": TORCH,
    "Callback": ABSTRACT, "Dataset": ABSTRACT, "RecordedMixer": ABSTRACT, "Stream": ABSTRACT,
    "Backbone": ABSTRACT, "SequenceBackbone": ABSTRACT, "PyramidBackbone": ABSTRACT,
    "VitrailError": ABSTRACT, "BrokenContractError": ABSTRACT, "Settings": ABSTRACT,
}  # fmt: skip


def public() -> dict[str, Callable[..., Any]]:
    """Every public function and class by its shortest dotted name, without `LEFT_OUT`."""
    names: dict[int, tuple[str, Callable[..., Any]]] = {}
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in sorted(module.__all__ if hasattr(module, "__all__") else vars(module)):
            value = getattr(module, name)
            origin = getattr(value, "__module__", "")
            own = origin.startswith("vitrail" if hasattr(module, "__all__") else package)
            if callable(value) and own and not inspect.ismodule(value) and name[0] != "_":
                names.setdefault(id(value), (f"{package}.{name}", value))
    return {
        name: value for name, value in names.values() if name.rpartition(".")[2] not in LEFT_OUT
    }


def is_model(value: object) -> bool:
    """Whether a public object is the class of a model that can be built."""
    base = isinstance(value, type) and issubclass(value, vitrail.Backbone)
    return base and "paper" in vars(value)
