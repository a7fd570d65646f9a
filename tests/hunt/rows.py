"""A valid call of every public function: what the wrong inputs are put into."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

import vitrail
from tests.hunt.kit import Kit
from vitrail.methods import Batch

Use = Callable[[Kit, Any], Any]


def _leave(kit: Kit, result: Any) -> Any:
    return result


def _consume(kit: Kit, result: Any) -> Any:
    return list(result)


class Row(NamedTuple):
    """A valid call.

    Args:
        arguments: function of the kit that returns the arguments by name.
        use: what a user does with the result, where a wrong value would show only then.
        patient: arguments whose values may mean hours, such as {} for all defaults.
    """

    arguments: Callable[[Kit], dict[str, Any]]
    use: Use = _leave
    patient: tuple[str, ...] = ()


def on(*inputs: Any) -> Use:
    """Calls the result with inputs."""
    return lambda kit, result: result(*inputs)


def trains(**fields: Any) -> Use:
    """Calls a method with a batch."""
    return lambda kit, method: method(Batch(**{"images": kit.images, **fields}))


X = torch.zeros(1, 5, 8)
MAP = torch.zeros(1, 4, 4, 8)
CHANNELS = torch.zeros(2, 4, 4, 4)
LABELS = torch.tensor([0, 1])
HEADS = torch.zeros(1, 2, 9, 8)

FRONT: dict[str, Row] = {
    "vitrail.Extractor": Row(
        lambda kit: {"model": kit.vit(), "layer": 0, "detach": True},
        lambda kit, extractor: extractor(kit.images),
    ),
    "vitrail.Recorder": Row(
        lambda kit: {"model": kit.vit()}, lambda kit, recorder: recorder(kit.images)
    ),
    "vitrail.create_model": Row(
        lambda kit: {
            "name": "vit_tiny_patch16_224",
            "pretrained": False,
            "num_classes": 2,
            "image_size": 32,
            "depth": 1,
            "dim": 8,
            "heads": 2,
            "mlp_dim": 8,
        }
    ),
    "vitrail.evaluate": Row(
        lambda kit: {
            "model": kit.gray,
            "data": (kit.digits, kit.digits),
            "split": "test",
            "probe": "knn",
            "layer": 1,
            "limit": 10,
            "train_limit": 10,
            "image_size": 8,
            "precision": "fp32",
            "bad_images": "raise",
            "batch_size": 8,
            "workers": 0,
        }
    ),
    "vitrail.features": Row(
        lambda kit: {
            "model": kit.gray,
            "images_or_data": kit.digits,
            "split": "train",
            "layer": 1,
            "limit": 10,
            "image_size": 8,
            "bad_images": "raise",
            "batch_size": 8,
            "workers": 0,
        }
    ),
    "vitrail.fit": Row(
        lambda kit: {
            "model": kit.vit(),
            "data": kit.memory,
            "method": "supervised",
            "out": kit.new(),
            "resume": False,
            "callbacks": (),
            "crop": "none",
            "epochs": 1,
        },
        patient=("model", "data", "method", "epochs"),
    ),
    "vitrail.list_models": Row(
        lambda kit: {"pattern": "vit*", "pretrained": False, "purpose": None}
    ),
    "vitrail.load": Row(
        lambda kit: {
            "ref": kit.folder,
            "weights": None,
            "num_classes": 3,
            "image_size": 16,
            "channels": 3,
            "architecture": None,
        }
    ),
    "vitrail.load_method": Row(lambda kit: {"ref": kit.method_folder}),
    "vitrail.load_plugin": Row(lambda kit: {"source": kit.plugin}),
    "vitrail.predict": Row(
        lambda kit: {
            "model": kit.model,
            "images": kit.photo,
            "labels": None,
            "top": 1,
            "image_size": 8,
            "precision": "fp32",
            "bad_images": "raise",
            "batch_size": 8,
        }
    ),
    "vitrail.record": Row(
        lambda kit: {"model": kit.vit(), "layers": [0], "heads": [0]},
        lambda kit, context: context.__enter__(),
    ),
    "vitrail.register_model": Row(lambda kit: {"model": _new_model_class()}),
    "vitrail.save": Row(
        lambda kit: {"model": kit.model, "folder": kit.new(), "metrics": {"top1": 0.5}}
    ),
    "vitrail.contract.check_part": Row(
        lambda kit: {"kind": "explanation", "name": "attention"}, _consume
    ),
    "vitrail.contract.parts_of": Row(lambda kit: {"what": "mae"}),
    "vitrail.contract.run_checks": Row(
        lambda kit: {"checks": [vitrail.contract.Check("is a number", "", int)], "subject": "1"},
        _consume,
    ),
    "vitrail.deploy.ImageEncoder": Row(
        lambda kit: {"clip": kit.clip()}, lambda kit, encoder: encoder(kit.images)
    ),
    "vitrail.deploy.TextEncoder": Row(
        lambda kit: {"clip": kit.clip()}, on(torch.tensor([[1, 15]]))
    ),
    "vitrail.deploy.Stepper": Row(
        lambda kit: _stepper(kit),
        on(torch.zeros(1, 3, 8)),
    ),
    "vitrail.deploy.export_onnx": Row(
        lambda kit: {
            "model": kit.vit(),
            "path": kit.new(".onnx"),
            "image_size": 8,
            "dynamic_size": False,
            "opset": 20,
        }
    ),
    "vitrail.deploy.export_program": Row(
        lambda kit: {
            "model": kit.vit(),
            "path": kit.new(".pt2"),
            "image_size": 8,
            "dynamic_size": False,
        }
    ),
    "vitrail.deploy.fastest": Row(
        lambda kit: {"model": kit.vit(), "images": kit.images, "rounds": 1}
    ),
    "vitrail.deploy.fuse": Row(lambda kit: {"model": kit.vit()}),
    "vitrail.deploy.halve": Row(lambda kit: {"model": kit.vit()}),
    "vitrail.deploy.plain_layers": Row(lambda kit: {"model": kit.vit()}),
    "vitrail.hub.ForImageClassification": Row(
        lambda kit: {"model": kit.vit(), "label_smoothing": 0.1},
        lambda kit, model: model(kit.images, LABELS),
    ),
    "vitrail.hub.convert": Row(
        lambda kit: {"source": kit.folder, "destination": kit.new(), "architecture": None}
    ),
    "vitrail.hub.from_official": Row(lambda kit: _official()),
    "vitrail.hub.official_state_dict": Row(
        lambda kit: {"model": vitrail.VisionMamba(32, 16, num_classes=2, dim=8, depth=1)}
    ),
    "vitrail.hub.save_method": Row(
        lambda kit: {"method": kit.method("simmim"), "name": "simmim", "folder": kit.new()}
    ),
    "vitrail.models.resized": Row(lambda kit: {"model": kit.vit(), "image_size": 16}),
    "vitrail.models.with_options": Row(
        lambda kit: {"model": kit.vit(), "options": {"pool": "mean"}}
    ),
}


def _new_model_class() -> type:
    return type("Hunted", (vitrail.ViT,), {})


def _stepper(kit: Kit) -> dict[str, Any]:
    model = kit.vim()
    features = model.embed(torch.zeros(1, 3, 16, 16))
    return {"model": model, "features": features, "forward_only": True}


def _official() -> dict[str, Any]:
    model = vitrail.VisionMamba(32, 16, num_classes=2, dim=8, depth=2)
    shape = {"img_size": 32, "num_classes": 2, "embed_dim": 8, "depth": 2}
    return {"state_dict": vitrail.hub.official_state_dict(model), **shape}


DATA: dict[str, Row] = {
    "vitrail.data.AugmentConfig": Row(
        lambda kit: {
            "crop": "resized",
            "scale": (0.5, 1.0),
            "ratio": (0.75, 1.3),
            "padding": 2,
            "flip": 0.5,
            "randaugment": 1,
            "magnitude": 5,
            "jitter": 0.1,
            "saturation": 0.1,
            "hue": 0.1,
            "jitter_probability": 0.5,
            "grayscale": 0.1,
            "blur": 0.1,
            "solarize": 0.1,
            "erasing": 0.1,
            "mixup": 0.1,
            "cutmix": 0.1,
        },
        lambda kit, config: _transform(kit, config),
    ),
    "vitrail.data.FolderDataset": Row(
        lambda kit: {
            "root": kit.photos,
            "files": [kit.photo, kit.photo],
            "targets": [0, 1],
            "labels": ["cat", "dog"],
        },
        lambda kit, dataset: (dataset.read(0), dataset.key(1), dataset.targets()),
    ),
    "vitrail.data.HubDataset": Row(
        lambda kit: {"rows": kit.rows, "name": "pets"},
        lambda kit, dataset: (dataset.read(0), dataset.targets()),
    ),
    "vitrail.data.InMemoryDataset": Row(
        lambda kit: {
            "images": kit.pixels,
            "targets": torch.arange(4) % 2,
            "labels": ["cat", "dog"],
            "statistics": ((0.5,) * 3, (0.5,) * 3),
            "name": "memory",
        },
        lambda kit, dataset: (dataset.read(0), dataset.targets(), dataset.subset([1])),
    ),
    "vitrail.data.JoinedDataset": Row(
        lambda kit: {
            "parts": {"train": kit.memory, "test": kit.memory.subset([1])},
            "labels": ["dog", "cat", "fox"],
        },
        lambda kit, dataset: (dataset.read(0), dataset.targets(), dataset.key(2)),
    ),
    "vitrail.data.find_layout": Row(
        lambda kit: {
            "root": kit.photos,
            "is_sample": lambda path: path.suffix == ".png",
            "is_folder_sample": lambda path: False,
        }
    ),
    "vitrail.data.register_image_transform": Row(
        lambda kit: {"name": "hunted"}, lambda kit, add: add(lambda image, seed: image)
    ),
    "vitrail.data.sample_images": Row(lambda kit: {}),
    "vitrail.data.Loader": Row(
        lambda kit: {
            "dataset": kit.digits,
            "batch_size": 8,
            "fit": lambda image: image,
            "seed": 0,
            "workers": 0,
            "drop_last": True,
            "repeats": 1,
            "shard": (0, 1),
        },
        lambda kit, loader: list(loader.epoch()),
    ),
    "vitrail.data.MultiCrop": Row(
        lambda kit: {
            "augment": kit.augment,
            "crops": vitrail.data.MultiCropConfig(local=1, blur=(0, 0, 0), solarize=(0, 0, 0)),
            "preprocess": kit.preprocess,
            "cell": (2, 2),
            "own": (),
        },
        lambda kit, transform: transform(kit.pixels, torch.full((4, 2), 8), seed=0),
    ),
    "vitrail.data.MultiCropConfig": Row(
        lambda kit: {
            "local": 1,
            "local_size": 4,
            "global_scale": (0.4, 1.0),
            "local_scale": (0.05, 0.4),
            "blur": (0.5, 0.5, 0.5),
            "solarize": (0.5, 0.5, 0.5),
        },
        lambda kit, crops: vitrail.data.MultiCrop(kit.augment, crops, kit.preprocess)(
            kit.pixels, torch.full((4, 2), 8), seed=0
        ),
    ),
    "vitrail.data.PairDataset": Row(
        lambda kit: {
            "pairs": [(kit.pixels[0], "cat"), (kit.pixels[1], "dog")],
            "labels": ["cat", "dog"],
            "name": "memory",
        },
        lambda kit, dataset: (dataset.read(0), dataset.targets()),
    ),
    "vitrail.data.StreamedDataset": Row(
        lambda kit: {"rows": kit.rows.to_iterable_dataset(), "name": "pets", "length": 4},
        lambda kit, dataset: list(dataset.samples(None, 0, 1)),
    ),
    "vitrail.data.Tokenizer": Row(
        lambda kit: {
            "core": vitrail.data.Tokenizer.train(["a cat"], 300, context=8)._core,
            "context": 8,
            "pad": 0,
        },
        lambda kit, tokenizer: tokenizer(["a cat"]),
    ),
    "vitrail.data.TrainTransform": Row(
        lambda kit: {
            "config": kit.augment,
            "preprocess": kit.preprocess,
            "num_classes": 2,
            "own": (),
        },
        lambda kit, transform: _apply(kit, transform),
    ),
    "vitrail.data.balanced": Row(lambda kit: {"dataset": kit.digits, "limit": 10}),
    "vitrail.data.decode": Row(lambda kit: {"data": kit.png, "channels": 3, "name": "black"}),
    "vitrail.data.find_images": Row(lambda kit: {"paths": [kit.photos]}),
    "vitrail.data.open_dataset": Row(
        lambda kit: {
            "name": f"folder:{kit.photos}",
            "split": "train",
            "bad_images": "raise",
            "limit": 4,
            "stream_limit": 4,
            "progress": lambda done, total: None,
        }
    ),
    "vitrail.data.open_tokenizer": Row(
        lambda kit: {"name": "train:300", "texts": ["a cat", "a dog"]}
    ),
    "vitrail.data.read_image": Row(lambda kit: {"path": kit.photo, "channels": 3}),
    "vitrail.data.register_dataset": Row(
        lambda kit: {"name": "hunted"}, lambda kit, add: add(lambda path, split: kit.memory)
    ),
    "vitrail.data.register_transform": Row(
        lambda kit: {"name": "hunted"}, lambda kit, add: add(lambda images, generator: images)
    ),
    "vitrail.data.split_off": Row(lambda kit: {"dataset": kit.digits, "fraction": 0.5}),
}


def _transform(kit: Kit, config: Any) -> Any:
    return _apply(kit, vitrail.data.TrainTransform(config, kit.preprocess, 2))


def _apply(kit: Kit, transform: Any) -> Any:
    return transform(kit.pixels, torch.arange(4) % 2, torch.full((4, 2), 8), seed=0)


METHODS: dict[str, Row] = {
    "vitrail.methods.AttentiveProbe": Row(
        lambda kit: {
            "backbone": kit.vit(),
            "heads": 2,
            "mlp_ratio": 2.0,
            "label_smoothing": 0.1,
        },
        trains(labels=LABELS),
    ),
    "vitrail.methods.BEiTPretraining": Row(
        lambda kit: {
            "backbone": kit.vit(patch_size=2),
            "tokenizer": lambda images: torch.zeros(len(images), 16, dtype=torch.long),
            "vocabulary": 4,
            "mask_ratio": 0.4,
            "mask": "random",
        },
        trains(),
    ),
    "vitrail.methods.CLIP": Row(
        lambda kit: {
            "backbone": kit.vit(0),
            "tokenizer": kit.tokenizer,
            "loss": "softmax",
            "embed_dim": 4,
            "text_dim": 8,
            "text_depth": 1,
            "text_heads": 2,
            "text_mlp_dim": 8,
            "text_pool": "end",
            "text_activation": "gelu",
            "share": True,
            "templates": ("a {}",),
        },
        trains(captions=torch.tensor([[1, 15], [2, 15]])),
    ),
    "vitrail.methods.DINO": Row(
        lambda kit: {
            "backbone": kit.vit(0),
            "out_dim": 8,
            "head_dims": (8, 4),
            "student_temperature": 0.1,
            "teacher_temperature": (0.04, 0.07),
            "warmup_temperature": 0.3,
            "temperature_levels": 0,
            "momentum": 0.99,
        },
        lambda kit, dino: dino(Batch(crops=(kit.images, kit.images, kit.images[..., :4, :4]))),
    ),
    "vitrail.methods.DVAE": Row(
        lambda kit: {
            "backbone": kit.vit(0),
            "vocabulary": 8,
            "code_dim": 4,
            "kl_weight": 1.0,
            "kl_warmup": 0.1,
        },
        trains(),
    ),
    "vitrail.methods.Distill": Row(
        lambda kit: {
            "backbone": kit.vit(),
            "teacher": kit.vit(),
            "kind": "hard",
            "alpha": 0.5,
            "temperature": 3.0,
            "label_smoothing": 0.1,
        },
        trains(labels=LABELS),
    ),
    "vitrail.methods.EMATeacher": Row(lambda kit: {"modules": {"head": nn.Linear(2, 2)}}),
    "vitrail.methods.LinearProbe": Row(lambda kit: {"backbone": kit.vit(), "label_smoothing": 0.1}),
    "vitrail.methods.MAE": Row(
        lambda kit: {
            "backbone": kit.vit(patch_size=2),
            "mask_ratio": 0.75,
            "decoder_dim": 8,
            "decoder_depth": 1,
            "decoder_heads": 2,
            "decoder_mlp_ratio": 2.0,
            "norm_pixels": True,
            "mask": "random",
            "norm_eps": 1e-6,
        },
        trains(),
    ),
    "vitrail.methods.LearnableMemory": Row(
        lambda kit: {
            "backbone": kit.vit(),
            "memories": 2,
            "num_classes": 2,
            "label_smoothing": 0.1,
        },
        trains(labels=LABELS),
    ),
    "vitrail.methods.MP3": Row(
        lambda kit: {"backbone": kit.vit(patch_size=2), "mask_ratio": 0.5}, trains()
    ),
    "vitrail.methods.MPP": Row(
        lambda kit: {
            "backbone": kit.vit(patch_size=2),
            "mask_ratio": 0.5,
            "token_ratio": 0.8,
            "swap_ratio": 0.1,
            "bits": 3,
        },
        trains(),
    ),
    "vitrail.methods.Masked": Row(lambda kit: {"backbone": kit.vit(), "reads": "patches"}),
    "vitrail.methods.Method": Row(lambda kit: {"backbone": kit.vit()}),
    "vitrail.methods.MultiLabel": Row(
        lambda kit: {"backbone": kit.vit(), "label_smoothing": 0.1}, trains(labels=torch.eye(2))
    ),
    "vitrail.methods.Regression": Row(
        lambda kit: {"backbone": kit.vit(), "loss": "huber"}, trains(labels=torch.eye(2))
    ),
    "vitrail.methods.Pretraining": Row(lambda kit: {"backbone": kit.vit(), "reads": "patches"}),
    "vitrail.methods.SimMIM": Row(
        lambda kit: {"backbone": kit.vit(patch_size=2), "mask_ratio": 0.6, "mask_unit": 1},
        trains(),
    ),
    "vitrail.methods.Supervised": Row(
        lambda kit: {"backbone": kit.vit(), "label_smoothing": 0.1}, trains(labels=LABELS)
    ),
    "vitrail.methods.TextTower": Row(
        lambda kit: {
            "vocabulary": 16,
            "context": 4,
            "end": 15,
            "dim": 8,
            "depth": 1,
            "heads": 2,
            "mlp_dim": 8,
            "dim_out": 6,
            "activation": nn.GELU,
        },
        on(torch.tensor([[1, 2, 15, 0]])),
    ),
    "vitrail.methods.create_method": Row(
        lambda kit: {"name": "supervised", "backbone": kit.vit(), "label_smoothing": 0.1}
    ),
    "vitrail.methods.get_method": Row(lambda kit: {"name": "mae"}),
    "vitrail.methods.list_methods": Row(lambda kit: {"purpose": None}),
    "vitrail.methods.register_method": Row(
        lambda kit: {"name": "hunted"},
        lambda kit, add: add(type("Hunted", (vitrail.methods.Supervised,), {})),
    ),
}
