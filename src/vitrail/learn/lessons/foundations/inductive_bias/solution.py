import torch
from torch import Tensor


def convolution_matrix(kernel: Tensor, size: tuple[int, int]) -> Tensor:
    """Kernel (k, k), k odd, image size (H, W) -> matrix (H * W, H * W), pixels row by row"""
    H, W = size
    k = len(kernel)
    matrix = torch.zeros(H * W, H * W, dtype=kernel.dtype, device=kernel.device)
    # <write>
    # en: Output (y, x) sees pixel (y + i - k // 2, x + j - k // 2) with the weight kernel[i, j]. At
    # en: the border the image goes on at the opposite side.
    # zh: 输出 (y, x) 以权重 kernel[i, j] 看像素 (y + i - k // 2, x + j - k // 2)，
    # zh: 在边界处首尾相接。
    r = k // 2
    for y in range(H):
        for x in range(W):
            for i in range(k):
                for j in range(k):
                    matrix[y * W + x, (y + i - r) % H * W + (x + j - r) % W] += kernel[i, j]
    return matrix
    # </write>


def shift_gap(layer, image: Tensor, by: tuple[int, int]) -> Tensor:
    """Layer, image (H, W), rows and columns to shift it by -> the largest difference ()"""
    # <write>
    # en: The layer of the shifted image, and the shifted output of the layer (torch.roll).
    # zh: 平移后的图像过这一层，与这一层的输出再平移（torch.roll）。
    before = layer(image.roll(by, dims=(0, 1)))
    after = layer(image).roll(by, dims=(0, 1))
    return (before - after).abs().max()
    # </write>


def experiment(
    kernel: Tensor, image: Tensor, by: tuple[int, int], layer
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Kernel, image (H, W), a shift, a layer -> the matrix, convolved image, two gaps"""
    # en: This part is given: the matrix, the image that it gives, its gap and that of the layer.
    # zh: 这一部分已写好：矩阵、它作用后的图像、它的误差，以及给定层的误差。
    matrix = convolution_matrix(kernel, (image.shape[0], image.shape[1]))

    def convolve(x: Tensor) -> Tensor:
        return (matrix @ x.flatten()).view_as(x)

    gaps = shift_gap(convolve, image, by), shift_gap(layer, image, by)
    return matrix, convolve(image), *gaps
