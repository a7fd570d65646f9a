import torch
from torch import Tensor


def prepare(
    images: Tensor, labels: Tensor, test_images: Tensor, seed: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """uint8 (N, C, H, W), (N,), uint8 (M, C, H, W) -> train, labels, validation, labels, test"""
    # <write>
    # en: 1. One order for images and labels.
    # zh: 1. 图像与标签用同一个顺序。
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(images), generator=generator)
    images, labels = images[order], labels[order]
    # en: 2. The first fifth is held out; the rest is trained on.
    # zh: 2. 前五分之一留作验证，其余用于训练。
    held_out = len(images) // 5
    validation, validation_labels = images[:held_out], labels[:held_out]
    train, train_labels = images[held_out:], labels[held_out:]
    # en: 3. From 0 to 1; per channel the mean and standard deviation of the training images.
    # zh: 3. 缩放到 0 到 1；逐通道的均值与标准差，只用训练图像计算。
    train, validation, test = train / 255, validation / 255, test_images / 255
    mean = train.mean(dim=(0, 2, 3), keepdim=True)
    std = train.std(dim=(0, 2, 3), keepdim=True)
    test = (test - mean) / std
    return (train - mean) / std, train_labels, (validation - mean) / std, validation_labels, test
    # </write>
