"""The groups of settings of training: optimizer, schedule and run, typed and strict."""

from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from vitrail.train.optim import ParameterOptim
from vitrail.train.schedule import Shape
from vitrail.train.sections import Section

Decay = Annotated[float, Field(ge=0, lt=1)]  # of an average


class OptimConfig(Section):
    """The optimizer: AdamW, another, or one of your own.

    Example:
        >>> OptimConfig().betas
        (0.9, 0.999)
    """

    optimizer: str = Field(
        "adamw",
        description="adamw, sgd, adafactor, muon (for the matrices of blocks, adamw for the rest), "
        "lamb (needs timm), or one that is registered.",
    )
    optimizer_options: dict[str, Any] = Field(
        {}, description="Keywords of the optimizer, if it is not adamw."
    )
    lr: float = Field(
        1e-3,
        ge=0,
        allow_inf_nan=False,
        description="Learning rate after warm-up; 0 keeps the weights as they are.",
    )
    weight_decay: float = Field(0.05, ge=0)
    weight_decay_end: float | None = Field(
        None, ge=0, description="Weight decay at the end, after half a cosine; null: constant."
    )
    betas: tuple[Decay, Decay] = Field((0.9, 0.999), description="Of AdamW.")
    eps: float = Field(1e-8, gt=0, description="Of AdamW.")
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="Factor on lr per block, from the head down."
    )
    per_module: dict[str, ParameterOptim] = Field(
        {},
        description="Patterns over parameter names, such as 'backbone.embed.*', each with lr_scale "
        "or weight_decay_scale, factors on lr and weight decay.",
    )
    clip: float | None = Field(
        1.0, gt=0, description="Largest norm of the gradient; null does not clip it."
    )
    clip_by: Literal["all", "parameter"] = Field(
        "all", description="Whose norm: all parameters' together, or each one's by itself."
    )
    accumulate: int = Field(1, ge=1, description="Batches per step.")
    ema: float = Field(0.0, ge=0, lt=1, description="Decay of the EMA of the weights; 0 for none.")


class ScheduleConfig(Section):
    """Linear warm-up, then a fall of the learning rate.

    Example:
        >>> ScheduleConfig().epochs
        10
    """

    epochs: int = Field(10, ge=1)
    warmup: float = Field(0.05, ge=0, lt=1, description="Fraction of all steps.")
    warmup_steps: int | None = Field(None, ge=0, description="Steps, in place of the fraction.")
    warmup_epochs: float | None = Field(None, ge=0, description="Epochs, in place of it.")
    min_lr: float = Field(
        0.01, ge=0, le=1, description="Learning rate at the end, as a fraction of lr."
    )
    shape: Shape = Field(
        "cosine",
        description="cosine: half a cosine after the warm-up. full_cosine: over all steps, the "
        "beginning hidden by the warm-up. linear: falls to min_lr. constant: does not fall. step: "
        "constant, and then min_lr. wsd: constant, and then linear.",
    )
    drop_at: float = Field(
        0.9,
        gt=0,
        lt=1,
        description="Fraction of all steps after which the rate of step drops and of wsd falls.",
    )

    @pydantic.model_validator(mode="after")
    def _check_warmup(self) -> "ScheduleConfig":
        if self.warmup_steps is not None and self.warmup_epochs is not None:
            raise ValueError("warmup_steps and warmup_epochs are both given: leave one out")
        return self

    def warmup_fraction(self, epoch_steps: int) -> float:
        """The warm-up as a fraction of all steps.

        Args:
            epoch_steps: number of steps of an epoch.

        Returns:
            0 to 1.
        """
        total = epoch_steps * self.epochs
        if self.warmup_steps is not None:
            return min(self.warmup_steps / max(total, 1), 1.0)
        if self.warmup_epochs is not None:
            return min(self.warmup_epochs / self.epochs, 1.0)
        return self.warmup


class TrainConfig(Section):
    """How the run proceeds.

    Example:
        >>> TrainConfig().precision
        'fp32'
    """

    seed: int = Field(0, ge=0, lt=2**63)
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    sharding: Literal["fsdp"] | None = Field(
        None,
        description="fsdp: each of several processes keeps a share of the weights, gradients, "
        "optimizer state and EMA; null: each keeps all.",
    )
    gradient_checkpointing: bool = Field(
        False, description="Recompute activations in the backward pass, which saves memory."
    )
    device: str | None = Field(
        None, description="cpu, cuda, cuda:1, mps ...; null: the GPU if there is one."
    )
    compile: bool = Field(False, description="Compile the method by torch.compile.")
    check_shapes: bool = Field(
        False, description="Stop at the first module whose output has a wrong shape."
    )
    channels_last: bool = Field(
        False, description="Keep the weights of convolutions with channels last in memory."
    )
    threads: int | None = Field(None, ge=1, description="null: as many as torch takes.")
    save_every: int | None = Field(None, ge=1, description="Steps; null: each epoch.")
    on_nan: Literal["stop", "skip", "rollback"] = Field(
        "stop",
        description="After a loss or gradient that is not finite: stop; leave the step out; or go "
        "on from the last checkpoint with another order of the samples.",
    )
    eval_every: int = Field(1, ge=1, description="Epochs.")
    keep: Literal["best", "last"] = Field(
        "best",
        description="Weights that come out: of the best evaluation on validation images, where the "
        "method learns from labels, or of the last step.",
    )
    early_stopping: int | None = Field(
        None, ge=1, description="Evaluations without a better one after which training ends."
    )
    knn_images: int = Field(
        10_000,
        ge=1,
        description="Training images for k-NN, which evaluates methods without labels.",
    )
    log_every: int | None = Field(
        None,
        ge=1,
        description="Steps; null: 50, in a short run fewer. Each epoch ends with a line.",
    )
    baseline: str | None = Field(
        None,
        description="A CNN of timm, such as resnet18, that learns from scratch from the same "
        "images as long as the model, for the report to compare; null: none.",
    )
    monitor: bool | Annotated[int, Field(ge=1)] = Field(
        True,
        description="Measure the health of the model, and warn of what is wrong: on, every 10 "
        "steps, and after 200 steps every 50 or less often; off; or a number of steps.",
    )
    wandb: bool = Field(False, description="Also log to Weights & Biases, offline.")
    mlflow: bool = Field(
        False,
        description="Also log to MLflow: into the run's folder, or where the environment variable "
        "MLFLOW_TRACKING_URI says.",
    )
    plugins: list[str] = Field(
        [],
        description="Files and modules that the run's own parts come from. The run notes them; "
        "their code runs by `--plugin FILE` only.",
    )
