from torch import Tensor


def to_sequence(images: Tensor, P: int) -> Tensor:
    """(B, C, H, W), patch size P -> (B, N, C * P * P), N = (H / P) * (W / P)"""
    B, C, H, W = images.shape
    # <write>
    # en: Split, bring the grid to the front, merge.
    # zh: 拆开，把网格移到前面，再合并。
    x = images.reshape(B, C, H // P, P, W // P, P)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(B, -1, C * P * P)
    # </write>


def to_images(sequence: Tensor, P: int, grid: tuple[int, int]) -> Tensor:
    """(B, N, C * P * P), grid (H / P, W / P) -> (B, C, H, W)"""
    B = len(sequence)
    C = sequence.shape[2] // (P * P)
    rows, columns = grid
    # <write>
    # en: The same steps backwards.
    # zh: 同样的步骤倒过来。
    y = sequence.reshape(B, rows, columns, C, P, P)
    return y.permute(0, 3, 1, 4, 2, 5).reshape(B, C, rows * P, columns * P)
    # </write>


def equivariance_gap(layer, sequence: Tensor, order: Tensor) -> Tensor:
    """Layer, tokens (B, N, D), a permutation (N,) -> the largest difference ()"""
    # <write>
    # en: Permute before the layer, permute after it, and compare.
    # zh: 先打乱再过这一层，先过这一层再打乱，然后比较。
    before = layer(sequence[:, order])
    after = layer(sequence)[:, order]
    return (before - after).abs().max()
    # </write>


def experiment(images: Tensor, P: int, order: Tensor, layer) -> tuple[Tensor, Tensor, Tensor]:
    """Images, patch size, order of patches, a layer -> the sequence, the puzzle, the gap"""
    # en: This part is given: it calls your three functions.
    # zh: 这一部分已写好，它会调用你的三个函数。
    sequence = to_sequence(images, P)
    grid = (images.shape[2] // P, images.shape[3] // P)
    puzzle = to_images(sequence[:, order], P, grid)
    return sequence, puzzle, equivariance_gap(layer, sequence, order)
