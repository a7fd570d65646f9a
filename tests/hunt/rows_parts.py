"""Valid calls of layers, kernels, lenses and parts of training."""

import functools
from typing import Any

import numpy as np
import torch
from torch import nn

import vitrail
from tests.hunt.rows import CHANNELS, HEADS, MAP, Row, X, on
from vitrail.layers import Attend, Pack, rotation
from vitrail.lens import load_trace, shapes

GRID = {"grid": (2, 2), "dim": 8}

LAYERS: dict[str, Row] = {
    "Attend": Row(
        lambda kit: {
            "dropout": 0.1,
            "scale": 0.5,
            "before": nn.Identity(),
            "after": nn.Identity(),
        },
        on(HEADS, HEADS, HEADS),
    ),
    "Attention": Row(
        lambda kit: {
            "dim": 8,
            "heads": 2,
            "dropout": 0.1,
            "qk_norm": True,
            "norm_eps": 1e-6,
            "bias": True,
            "attend": Attend(),
        },
        on(X),
    ),
    "Block": Row(
        lambda kit: {
            "dim": 8,
            "mixer": kit.attention(),
            "mlp": nn.Linear(8, 8),
            "drop_path": 0.1,
            "layer_scale": 0.1,
            "norm_eps": 1e-6,
            "norm": nn.LayerNorm,
        },
        on(X),
    ),
    "ConditionalPosition": Row(
        lambda kit: {"dim": 8, "kernel": 3, "stride": 1, "dim_out": 8, "bias": True}, on(MAP)
    ),
    "ConvNorm": Row(
        lambda kit: {
            "dim_in": 4,
            "dim": 8,
            "kernel": 3,
            "stride": 1,
            "groups": 1,
            "padding": 1,
            "activation": nn.ReLU(),
            "norm_eps": 1e-5,
            "bias": False,
        },
        on(CHANNELS),
    ),
    "CrossAttention": Row(
        lambda kit: {
            "dim": 8,
            "heads": 2,
            "context_dim": 8,
            "dropout": 0.1,
            "bias": True,
            "attend": Attend(),
        },
        on(X, X),
    ),
    "DepthwiseConv": Row(
        lambda kit: {"dim": 8, "kernel": 3, "stride": 1, "dim_out": 8, "bias": True}, on(MAP)
    ),
    "DistillationHeads": Row(
        lambda kit: {"cls": nn.Linear(8, 2), "dist": nn.Linear(8, 2)}, on(X[0])
    ),
    "DropPath": Row(lambda kit: {"rate": 0.5}, on(X)),
    "LayerScale": Row(lambda kit: {"dim": 8, "initial": 0.1}, on(X)),
    "LinearNorm": Row(
        lambda kit: {"dim_in": 8, "dim": 4, "activation": nn.ReLU(), "norm_eps": 1e-5}, on(X)
    ),
    "Linformer": Row(
        lambda kit: {
            "dim": 8,
            "heads": 2,
            "grid": (2, 2),
            "prefix": 1,
            "rank": 3,
            "dropout": 0.1,
        },
        on(X, (2, 2)),
    ),
    "MBConv": Row(
        lambda kit: {
            "dim_in": 4,
            "dim": 4,
            "stride": 1,
            "activation": nn.GELU(),
            "drop_path": 0.1,
            "norm_eps": 1e-3,
        },
        on(CHANNELS),
    ),
    "Mamba": Row(
        lambda kit: {
            "dim": 8,
            "scan": "v2",
            "d_state": 4,
            "d_conv": 4,
            "expand": 2,
            "dt_rank": 2,
            "fusion": "mean",
            "bias": True,
            "layer_idx": 0,
        },
        on(X),
    ),
    "MambaBlock": Row(
        lambda kit: {
            "norm": nn.LayerNorm(8),
            "mixer": vitrail.layers.Mamba(8),
            "scale": nn.Identity(),
            "drop_path": 0.1,
            "rope": "none",
        },
        on(X),
    ),
    "MambaBranch": Row(
        lambda kit: {
            "norm": nn.LayerNorm(8),
            "mixer": vitrail.layers.Mamba(8),
            "scale": nn.Identity(),
            "drop_path": 0.1,
            "rope": "none",
        },
        on(X),
    ),
    "MambaPair": Row(
        lambda kit: {"first": kit.branch(), "second": kit.branch(), "fusion": "sum"}, on(X)
    ),
    "Mlp": Row(
        lambda kit: {"dim": 8, "hidden_dim": 4, "dropout": 0.1, "activation": nn.ReLU()}, on(X)
    ),
    "Nystrom": Row(
        lambda kit: {"heads": 2, "landmarks": 4, "iterations": 2, "kernel": 3},
        on(HEADS, HEADS, HEADS),
    ),
    "PatchEmbed": Row(
        lambda kit: {
            "patch": (4, 4),
            "channels": 3,
            "dim": 8,
            "stride": (4, 4),
            "bias": True,
            "init": "lecun",
        },
        lambda kit, embed: embed(kit.images),
    ),
    "Performer": Row(
        lambda kit: {"head_dim": 8, "features": 4, "seed": 0, "epsilon": 1e-4},
        on(HEADS, HEADS, HEADS),
    ),
    "PositionTable": Row(
        lambda kit: {**GRID, "prefix": 1, "antialias": True, "std": 0.02, "decayed": True},
        on((3, 3)),
    ),
    "ReducedAttention": Row(
        lambda kit: {"dim": 8, "heads": 2, "reduce": nn.Identity(), "dropout": 0.1}, on(MAP)
    ),
    "RelativeBias": Row(lambda kit: {"window": (2, 2), "heads": 2, "std": 0.02}, on()),
    "RotatedBlock": Row(
        lambda kit: {
            "dim": 8,
            "mixer": nn.Identity(),
            "mlp": nn.Identity(),
            "drop_path": 0.1,
            "layer_scale": 0.1,
            "norm_eps": 1e-6,
            "norm": nn.LayerNorm,
        },
        lambda kit, block: block(kit.tokens[:, :4], rotation((2, 2), (2, 2), 8)),
    ),
    "SequenceAugment": Row(
        lambda kit: {"flip": 0.5, "shuffle": 0.5, "class_token": True},
        lambda kit, augment: augment(torch.arange(4), prefix=1),
    ),
    "SqueezeExcite": Row(lambda kit: {"dim": 8, "hidden_dim": 2}, on(MAP)),
    "StridedConvNorm": Row(
        lambda kit: {
            "dim_in": 8,
            "dim": 4,
            "kernel": 3,
            "stride": 2,
            "padding": 1,
            "norm_eps": 1e-5,
        },
        on(MAP),
    ),
    "Token": Row(lambda kit: {"count": 1, "dim": 8, "std": 0.02, "decayed": False}, on(2)),
    "TokenDistillationHeads": Row(
        lambda kit: {"cls": nn.Linear(4, 2), "dist": nn.Linear(4, 2)}, on(X[0])
    ),
    "WindowAttention": Row(
        lambda kit: {
            "attention": kit.attention(),
            "window": (2, 2),
            "spread": True,
            "bias": None,
        },
        on(MAP),
    ),
    "attend_within": Row(lambda kit: _packed()),
    "check_images": Row(lambda kit: {"images": kit.images, "channels": 3, "axes": 2}),
    "check_input": Row(lambda kit: {"images": kit.images, "like": torch.zeros(1)}),
    "check_stages": Row(lambda kit: {"dim": (8, 16), "depth": (1, 2)}),
    "compute_buffers": Row(lambda kit: {"module": nn.Linear(2, 2)}),
    "divide": Row(lambda kit: {"dim": 8, "heads": 2}),
    "draw_or_zero": Row(lambda kit: {"parameter": torch.empty(2), "std": 0.02}),
    "drop_path_rates": Row(lambda kit: {"highest": 0.5, "depth": 3}),
    "evaluation": Row(
        lambda kit: {"model": nn.Dropout(0.5)}, lambda kit, context: context.__enter__()
    ),
    "make_mixer": Row(lambda kit: {"mixer": nn.Identity(), "dim": 8, "others": ["attention"]}),
    "pad_same": Row(lambda kit: {"x": CHANNELS, "kernel": 3, "stride": 2}),
    "pad_to": Row(lambda kit: {"x": MAP, "multiple": (3, 3)}),
    "partition": Row(lambda kit: {"x": MAP, "window": (2, 2), "spread": False}),
    "patch_grid": Row(lambda kit: {"size": (8, 8), "patch": (4, 4), "stride": (2, 2)}),
    "patchify": Row(lambda kit: {"images": kit.images, "patch": (4, 4)}),
    "register_computed": Row(
        lambda kit: {
            "module": nn.Linear(2, 2),
            "name": "index",
            "compute": functools.partial(torch.arange, 2),
        }
    ),
    "register_mixer": Row(
        lambda kit: {"name": "hunted"}, lambda kit, add: add(lambda dim: nn.Linear(dim, dim))
    ),
    "relative_index": Row(lambda kit: {"window": (2, 2)}),
    "resize_positions": Row(
        lambda kit: {
            "table": torch.ones(1, 4, 8),
            "old": (2, 2),
            "new": (3, 3),
            "antialias": True,
            "mode": "bicubic",
        }
    ),
    "rotate": Row(
        lambda kit: {"x": torch.ones(1, 1, 4, 8), "rotation": rotation((2, 2), (2, 2), 8)}
    ),
    "rotation": Row(
        lambda kit: {
            "grid": (2, 2),
            "reference": (2, 2),
            "head_dim": 8,
            "prefix": 1,
            "theta": 100.0,
        }
    ),
    "scale_outputs": Row(lambda kit: {"layer": nn.Linear(2, 2), "factors": torch.ones(2)}),
    "select_rotation": Row(
        lambda kit: {
            "tables": rotation((2, 2), (2, 2), 8, prefix=1),
            "keep_indices": torch.tensor([[0, 3]]),
            "prefix": 1,
        }
    ),
    "sequence_positions": Row(lambda kit: {"length": 2, "dim": 4}),
    "shift_mask": Row(lambda kit: {"size": (4, 4), "window": (2, 2), "shift": (1, 1)}),
    "sincos_positions": Row(lambda kit: {"grid": (2, 3), "dim": 8, "temperature": 100.0}),
    "spatial_reduction": Row(lambda kit: {"dim": 8, "ratio": 2, "norm_eps": 1e-5}, on(MAP)),
    "take": Row(lambda kit: {"tokens": kit.tokens, "index": torch.tensor([[2, 0]])}),
    "to_tuple": Row(lambda kit: {"value": 16, "axes": 2}),
    "unpartition": Row(
        lambda kit: {
            "windows": vitrail.layers.partition(MAP, (2, 2)),
            "window": (2, 2),
            "size": (4, 4),
            "spread": False,
        }
    ),
    "unpatchify": Row(
        lambda kit: {
            "patches": vitrail.layers.patchify(kit.images, (4, 4)),
            "patch": (4, 4),
            "grid": (2, 2),
        }
    ),
}


def _packed() -> dict[str, Any]:
    pack = Pack.of([4, 9], (0, 1), torch.device("cpu"))
    return {"attend": Attend(), "parts": [(pack, torch.zeros(13, 2, 8))] * 3, "nested": False}


LENS: dict[str, Row] = {
    "assert_shapes": Row(
        lambda kit: {"model": kit.vit(), "expected": {"blocks.*": "B N 8 -> B N 8"}},
        lambda kit, context: context.__enter__(),
    ),
    "attention_figure": Row(
        lambda kit: {
            "image": kit.pixels[0],
            "trace": kit.trace,
            "index": 0,
            "layers": [0],
            "heads": [0],
            "title": "cat",
            "origin": "here",
        }
    ),
    "attention_sheet": Row(
        lambda kit: {
            "trace": kit.trace,
            "index": 0,
            "scale": "head",
            "title": "cat",
            "origin": "here",
            "dark": False,
        }
    ),
    "attention_grid": Row(lambda kit: {"images": kit.pixels[:2], "trace": kit.trace}),
    "compare_explanations": Row(
        lambda kit: {
            "model": kit.model,
            "images": kit.images,
            "explanations": ["rollout"],
            "target": 1,
            "steps": 2,
        }
    ),
    "mass_inside": Row(lambda kit: {"maps": torch.ones(1, 2, 2), "boxes": [(0.0, 0.0, 0.5, 1.0)]}),
    "perturbation_curve": Row(
        lambda kit: {
            "model": kit.model,
            "images": kit.images,
            "maps": torch.rand(len(kit.images), 2, 2),
            "target": 1,
            "kind": "insertion",
            "steps": 2,
        }
    ),
    "pointing_game": Row(
        lambda kit: {"maps": torch.ones(1, 2, 2), "boxes": [(0.0, 0.0, 0.5, 1.0)]}
    ),
    "randomization_check": Row(
        lambda kit: {"model": kit.model, "images": kit.images, "explanation": "rollout"}
    ),
    "rank_correlation": Row(
        lambda kit: {"maps": torch.rand(1, 2, 2), "others": torch.rand(1, 2, 2)}
    ),
    "explain": Row(
        lambda kit: {
            "model": kit.model,
            "images": kit.images,
            "explanation": "relevance",
            "target": 1,
        }
    ),
    "explained_by_position": Row(lambda kit: {"weights": torch.eye(2), "baseline": torch.eye(2)}),
    "heat_map": Row(
        lambda kit: {
            "image": kit.pixels[0],
            "weights": torch.eye(2),
            "scale": (0.0, 1.0),
            "smooth": False,
        }
    ),
    "load_trace": Row(lambda kit: {"path": kit.trace_file}),
    "logit_lens": Row(lambda kit: {"model": kit.model, "images": kit.images, "layers": [0]}),
    "map_numbers": Row(lambda kit: {"weights": torch.eye(2)}),
    "observe": Row(
        lambda kit: {
            "model": kit.model,
            "images": kit.images,
            "query": (0, 1),
            "incoming": False,
        }
    ),
    "panels": Row(
        lambda kit: {
            "image": kit.pixels[0],
            "trace": kit.trace,
            "index": 0,
            "layers": [0],
            "heads": [0],
            "scale": "head",
            "smooth": False,
        }
    ),
    "patch_at": Row(
        lambda kit: {
            "point": (1, 2),
            "size": (8, 8),
            "preprocess": kit.model.preprocess,
            "grid": (2, 2),
        }
    ),
    "patch_maps": Row(
        lambda kit: {
            "weights": torch.eye(5),
            "grid": (2, 2),
            "prefix": 1,
            "query": (0, 1),
            "incoming": False,
        }
    ),
    "pca_colors": Row(lambda kit: {"features": kit.stages[0], "foreground": 0.5, "across": True}),
    "position_baseline": Row(
        lambda kit: {
            "model": kit.model,
            "images": kit.images,
            "trace": kit.trace,
            "repeats": 1,
        }
    ),
    "read_colors": Row(lambda kit: {"colors": np.zeros((2, 3)), "scale": (0.0, 1.0)}),
    "reconstruction_grid": Row(
        lambda kit: {"images": torch.zeros(3, 2, 1, 8, 8, dtype=torch.uint8)}
    ),
    "register_explanation": Row(
        lambda kit: {"name": "hunted"}, lambda kit, add: add(lambda model, images: images[:, 0])
    ),
    "rollout": Row(
        lambda kit: {
            "maps": [torch.full((1, 2, 3, 3), 1 / 3)] * 2,
            "fusion": "mean",
            "residual": 0.5,
        }
    ),
    "save_trace": Row(lambda kit: {"path": kit.new(".trace"), "saved": load_trace(kit.trace_file)}),
    "shapes": Row(lambda kit: {"model": kit.model, "image_size": (8, 8), "depth": 2, "batch": 2}),
    "shapes_svg": Row(lambda kit: {"rows": shapes(kit.model), "title": "ViT"}),
    "similarity_matrix": Row(
        lambda kit: {
            "images": kit.pixels[:2],
            "captions": ["a cat", "a dog"],
            "cosines": torch.eye(2),
        }
    ),
    "stage_panels": Row(lambda kit: {"image": kit.pixels[0], "stages": kit.stages, "index": 0}),
    "text_similarity": Row(
        lambda kit: {"clip": kit.clip(), "images": kit.images, "texts": ["a cat", "a dog"]}
    ),
    "symmetry": Row(lambda kit: {"model": kit.model, "images": kit.images}),
    "to_picture": Row(lambda kit: {"image": kit.pixels[0]}),
    "trace_attention": Row(
        lambda kit: {
            "model": kit.model,
            "images": kit.images,
            "query": "mean",
            "incoming": True,
        }
    ),
    "training_curves": Row(
        lambda kit: {"metrics": [{"step": 1, "epoch": 1.0, "split": "train", "loss": 2.0}]}
    ),
    "write_report": Row(lambda kit: {"run": kit.run.folder}),
}

OPS: dict[str, Row] = {
    "vitrail.ops.linear.linear": Row(
        lambda kit: {
            "x": torch.ones(2, 3),
            "weight": torch.ones(4, 3),
            "bias": torch.ones(4),
            "backend": "auto",
        }
    ),
    "vitrail.ops.linear.mkl_is_slow": Row(lambda kit: {}),
    "vitrail.ops.selective_scan.resolve": Row(lambda kit: {"backend": "auto", "u": torch.zeros(1)}),
    "vitrail.ops.selective_scan.resume": Row(
        lambda kit: {"scan": kit.scan, "state": torch.zeros(2, 4, 3)}
    ),
    "vitrail.ops.selective_scan.selective_scan": Row(
        lambda kit: {"scan": kit.scan, "reverse": [False], "backend": "torch"}
    ),
    "vitrail.ops.causal_conv.causal_conv": Row(
        lambda kit: {
            "x": torch.ones(1, 5, 2),
            "weight": torch.zeros(2, 2, 4),
            "bias": torch.zeros(2, 2),
            "reverse": [False, True],
            "backend": "torch",
        }
    ),
}

TRAIN: dict[str, Row] = {
    "Evaluator": Row(
        lambda kit: {
            "train": kit.digits,
            "validation": kit.loader,
            "preprocess": kit.gray.preprocess,
            "stream": kit.stream,
            "loss_stream": None,
            "knn_images": 10,
        },
        lambda kit, evaluator: evaluator.figures(vitrail.methods.Supervised(kit.gray), kit.gray),
    ),
    "FeatureStream": Row(
        lambda kit: {
            "features": torch.zeros(10, 4),
            "labels": torch.zeros(10).long(),
            "batch_size": 4,
            "seed": 0,
            "shard": (0, 1),
            "indices": torch.arange(10),
        },
        lambda kit, stream: list(stream.epoch(0, 0, "cpu")),
    ),
    "ImageStream": Row(
        lambda kit: {"loader": kit.loader, "transform": kit.stream.transform, "seed": 0},
        lambda kit, stream: list(stream.epoch(0, 0, "cpu")),
    ),
    "ParameterOptim": Row(lambda kit: {"lr_scale": 0.5, "weight_decay_scale": 0.5}),
    "Predictor": Row(
        lambda kit: {
            "model": kit.model,
            "weights": None,
            "labels": None,
            "image_size": 8,
            "precision": "fp32",
        },
        lambda kit, predictor: list(predictor(kit.photo, top=1)),
    ),
    "RunConfig": Row(lambda kit: {}),
    "Schedule": Row(
        lambda kit: {
            "total": 10,
            "warmup": 0.2,
            "min_lr": 0.01,
            "shape": "cosine",
            "drop_at": 0.9,
            "weight_decay": 0.1,
            "weight_decay_end": 0.2,
        },
        lambda kit, schedule: [schedule.factor(step) for step in range(10)],
    ),
    "Trainer": Row(
        lambda kit: kit.trainer(
            run_folder=None,
            ema=None,
            accumulate=1,
            clip=1.0,
            clip_by="all",
            seed=0,
            precision="fp32",
            callbacks=(),
        ),
        lambda kit, trainer: trainer.fit(),
    ),
    "adapt": Row(lambda kit: {"backbone": kit.vit(), "rank": 2, "alpha": 2.0}),
    "build_method": Row(
        lambda kit: {"config": kit.config, "model": kit.gray, "dataset": kit.digits}
    ),
    "build_model": Row(lambda kit: {"config": kit.config, "dataset": kit.digits, "initial": None}),
    "build_trainer": Row(
        lambda kit: {
            "config": kit.config,
            "run": vitrail.run_folder.RunFolder(kit.new()),
            "datasets": kit.datasets,
            "callbacks": (),
            "model": None,
        }
    ),
    "make_config": Row(
        lambda kit: {"values": {"optim": {"lr": 0.1}}, "overrides": ["optim.clip=2"]}
    ),
    "make_ema": Row(lambda kit: {"method": kit.method(), "decay": 0.9}),
    "merge": Row(lambda kit: {"backbone": vitrail.train.adapt(kit.vit(), 2)}),
    "open_datasets": Row(
        lambda kit: {
            "config": kit.config,
            "progress": lambda done, total: None,
            "parts": None,
        }
    ),
    "parameter_groups": Row(
        lambda kit: {
            "method": kit.method(),
            "lr": 0.1,
            "weight_decay": 0.05,
            "layer_decay": 0.9,
            "per_module": {},
        }
    ),
    "read_config": Row(lambda kit: {"path": kit.recipe, "overrides": ["optim.clip=2"]}),
    "register_optimizer": Row(
        lambda kit: {"name": "hunted"},
        lambda kit, add: add(lambda groups: torch.optim.SGD(groups)),
    ),
    "save_checkpoint_model": Row(
        lambda kit: {"source": kit.digits_run, "folder": kit.new(), "trust": False}
    ),
    "train_folds": Row(
        lambda kit: {
            "config": kit.config,
            "folder": kit.new(),
            "folds": 2,
            "resume": False,
            "command": "mine",
        }
    ),
    "train_and_report": Row(
        lambda kit: {
            "config": kit.config,
            "folder": kit.new(),
            "resume": False,
            "command": "mine",
            "callbacks": (),
            "model": None,
            "parts": None,
        }
    ),
}

PARTS = {
    **{f"vitrail.layers.{name}": row for name, row in LAYERS.items()},
    **{f"vitrail.lens.{name}": row for name, row in LENS.items()},
    **{f"vitrail.train.{name}": row for name, row in TRAIN.items()},
    **OPS,
}
