"""Learnable memory: "Fine-tuning Image Transformers using Learnable Memory" (Sandler et al. 2022,
https://arxiv.org/abs/2203.15243).

    [task token, M memory tokens of block l, frozen tokens] ─ block l ─ [task token, frozen tokens]
                                                     after the last: task token ─ norm ─ head

All weights of the backbone stay frozen. A task learns a class token, M tokens per block and a head.
The task's token attends to everything; the frozen tokens attend to each other only, so that they
are what they were without the task. A backbone thus keeps its own classifier, and serves any number
of tasks.

Memory tokens enter before the block's norm, as the paper's equation has it, and are dropped after
the block. In vit-pytorch they enter after the norm.
"""

from typing import cast

import torch
from torch import Tensor, nn

from vitrail.errors import ConfigError
from vitrail.layers.tokens import Token
from vitrail.methods.base import Batch, Loss, Method
from vitrail.methods.class_loss import ClassLoss, ClassWeights
from vitrail.models.base import Backbone
from vitrail.models.paper import Paper
from vitrail.models.parameters import initialize
from vitrail.models.vit import ViT
from vitrail.values import NonNegativeFloat, PositiveInt, Rate


class LearnableMemory(Method):
    """Trains a class token, memory tokens and a head for a frozen ViT.

    Without `num_classes`, the backbone's classes become those of the task, and it loses its head.
    With it, the backbone stays as it is: several tasks may share it.

    Args:
        backbone: a ViT, which is frozen.
        memories: number M of memory tokens per block.
        num_classes: number of classes of the task; None for that of the backbone.
        label_smoothing: probability that is spread evenly over all classes.
        class_weights: what an error of each class costs: "equal"; "balanced" for the inverse of how
            often the class occurs in training; or one number per class.
        focal: exponent of the focal loss (Lin et al. 2017); 0 for none.

    Raises:
        TierError: the backbone is no ViT.
        ConfigError: there are no classes.

    Example:
        >>> model = vitrail.create_model("ViT", image_size=8, patch_size=4, num_classes=2, dim=8,
        ...                              depth=1, heads=1, mlp_dim=8)
        >>> cars = LearnableMemory(model, num_classes=4)
        >>> images = torch.zeros(2, 3, 8, 8)
        >>> cars.classifier(model)(images).shape, model(images).shape
        (torch.Size([2, 4]), torch.Size([2, 2]))
    """

    paper = Paper(
        "Fine-tuning Image Transformers using Learnable Memory",
        "Sandler et al.",
        2022,
        "https://arxiv.org/abs/2203.15243",
        change="Tasks add memory tokens to each block of one frozen network.",
    )
    tier = (ViT,)
    weighs_samples = True
    backbone: ViT

    def __init__(
        self,
        backbone: Backbone,
        memories: PositiveInt = 10,
        num_classes: PositiveInt | None = None,
        label_smoothing: Rate = 0.0,
        class_weights: ClassWeights = "equal",
        focal: NonNegativeFloat = 0.0,
    ) -> None:
        super().__init__(backbone)
        classes = num_classes or backbone.num_classes or len(backbone.labels or ())
        if not classes:
            raise ConfigError("LearnableMemory needs classes: give num_classes.")
        if num_classes is None:
            backbone.reset_head(0)
        backbone.requires_grad_(False).eval()
        self.adapter = MemoryAdapter(self.backbone.dim, len(backbone.blocks), memories, classes)
        initialize(self.adapter.to(next(backbone.parameters())))
        self.class_loss = ClassLoss(classes, label_smoothing, class_weights, focal)

    def train(self, mode: bool = True) -> "LearnableMemory":
        """Sets the mode of the adapter; the frozen backbone stays in evaluation mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    def fit_targets(self, targets: Tensor) -> None:
        """targets (N,) of all training samples → weights of the classes, if they are balanced."""
        self.class_loss.fit_targets(targets)

    def forward(self, batch: Batch) -> Loss:
        """Batch with images (B, C, *size) and labels (B,) or (B, classes) → Loss."""
        return self.class_loss(self.adapter(self.backbone, batch["images"]), batch)

    def classifier(self, backbone: Backbone) -> nn.Module:
        """backbone → images (B, C, *size) → logits of the task, by the adapter of this backbone."""
        return AdaptedViT(cast(ViT, backbone), self.adapter)


class MemoryAdapter(nn.Module):
    """What a task learns: a class token, memory tokens of each block, and a head.

    Args:
        dim: width of a token.
        depth: number of blocks.
        memories: number M of memory tokens per block.
        num_classes: width of the logits.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=0, dim=8, depth=2, heads=1, mlp_dim=8)
        >>> MemoryAdapter(8, 2, memories=3, num_classes=5)(model, torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 5])
    """

    def __init__(self, dim: int, depth: int, memories: int, num_classes: int) -> None:
        super().__init__()
        self.class_token = Token(1, dim)
        self.memories = nn.ModuleList(Token(memories, dim) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, num_classes)

    def forward(self, backbone: ViT, images: Tensor) -> Tensor:
        """backbone, images (B, C, *size) → logits (B, classes)."""
        features = backbone.embed(images)
        frozen, batch = torch.cat([features.prefix, features.patches], dim=1), len(images)
        task, memories = self.class_token(batch), [memory(batch) for memory in self.memories]
        own = 1 + memories[0].shape[1]  # tokens of the task come first
        bias = frozen.new_zeros(own + frozen.shape[1], own + frozen.shape[1])
        bias[1:, :own] = -torch.inf
        prefix = torch.cat([task, memories[0], features.prefix], dim=1)
        context = backbone.context(features._replace(prefix=prefix), bias)
        for block, memory in zip(backbone.blocks, memories, strict=True):
            tokens = block(torch.cat([task, memory, frozen], dim=1), *context)
            task, frozen = tokens[:, :1], tokens[:, own:]
        return self.head(self.norm(task[:, 0]))


class AdaptedViT(nn.Module):
    """A ViT with the adapter of a task.

    Args:
        backbone: the ViT.
        adapter: what the task has learned.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=0, dim=8, depth=2, heads=1, mlp_dim=8)
        >>> adapter = MemoryAdapter(8, 2, memories=3, num_classes=5)
        >>> AdaptedViT(model, adapter)(torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 5])
    """

    def __init__(self, backbone: ViT, adapter: MemoryAdapter) -> None:
        super().__init__()
        self.backbone, self.adapter = backbone, adapter

    def forward(self, images: Tensor) -> Tensor:
        """images (B, C, *size) → logits (B, classes)."""
        return self.adapter(self.backbone, images)
