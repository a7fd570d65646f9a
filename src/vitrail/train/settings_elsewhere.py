"""What other tools call the settings of a run: options of timm, torchvision, Ultralytics and
transformers, whose users try them here first.
"""

from vitrail.other_names import NAMES

# Names whose last part is no setting's here, with the setting that does the same.
SETTINGS = {
    "model": "model.name", "arch": "model.name", "m": "model.name", "backbone": "model.name",
    "model_name": "model.name", "model_name_or_path": "model.weights",
    "pretrained": "model.weights", "checkpoint": "model.weights", "finetune": "model.weights",
    "initial_checkpoint": "model.weights",
    "imgsz": "model.options.image_size", "img_size": "model.options.image_size",
    "image_size": "model.options.image_size", "input_size": "model.options.image_size",
    "size": "model.options.image_size", "drop": "model.options.dropout",
    "dropout": "model.options.dropout", "drop_path": "model.options.drop_path",
    "patch_size": "model.options.patch_size",
    "batch": "data.batch_size", "b": "data.batch_size", "bsz": "data.batch_size",
    "j": "data.workers", "num_samples": "data.limit",
    "val_split": "data.validation", "valid_size": "data.validation",
    "valid_pct": "data.validation", "fliplr": "data.augment.flip", "hflip": "data.augment.flip",
    "flipud": "data.augment.vertical_flip", "vflip": "data.augment.vertical_flip",
    "degrees": "data.augment.rotation", "aa": "data.augment.policy",
    "auto_augment": "data.augment.policy", "cutmix_alpha": "data.augment.cutmix",
    "mixup_alpha": "data.augment.mixup", "random_erase": "data.augment.erasing",
    "epoch": "schedule.epochs", "e": "schedule.epochs", "n_epochs": "schedule.epochs",
    "lr0": "optim.lr", "eta": "optim.lr", "lrf": "schedule.min_lr",
    "lr_scheduler": "schedule.shape", "cos_lr": "schedule.shape",
    "momentum": "optim.optimizer_options.momentum", "patience": "train.early_stopping",
    "amp": "train.precision", "fp16": "train.precision", "bf16": "train.precision",
    "half": "train.precision", "mixed_precision": "train.precision", "dtype": "train.precision",
    "torchcompile": "train.compile", "torch_compile": "train.compile",
    "log_interval": "train.log_every", "logging_steps": "train.log_every",
    "eval_interval": "train.eval_every", "save_period": "train.save_every",
    "save_steps": "train.save_every", "checkpoint_interval": "train.save_every",
    "log_wandb": "train.wandb", "teacher": "method.teacher", "task": "method.name",
}  # fmt: skip


def setting_here(name: str, keys: list[str]) -> str:
    """The setting that does what another tool's option does.

    Args:
        name: the option without dashes before it, such as "batch-size" or "lr0".
        keys: all settings, such as "optim.lr".

    Returns:
        Its key; "" if nothing is known about the name.

    Example:
        >>> setting_here("batch-size", ["data.batch_size"]), setting_here("lr0", [])
        ('data.batch_size', 'optim.lr')
        >>> setting_here("num_train_epochs", ["schedule.epochs"]), setting_here("fast", [])
        ('schedule.epochs', '')
    """
    name = name.replace("-", "_")
    if name in SETTINGS:
        return SETTINGS[name]
    for other in (name, *NAMES.get(name, ())):
        for key in keys:
            if key.rpartition(".")[2] == other:
                return key
    return ""
