from torch import Tensor


def unfold_fold(x: Tensor, patch: tuple[int, int], transformer) -> Tensor:
    """x (B, D, H, W), patch (h, w) -> (B, D, H, W)

    transformer is given: a function of sequences (B * P, N, D), P = h * w pixels of a patch, N
    patches, to the same shape.
    """
    B, D, H, W = x.shape
    h, w = patch
    # <write>
    # en: 1. Patches and the pixels within them: (B, D, H / h, h, W / w, w).
    # zh: 1. 拆成图像块与块内像素：(B, D, H / h, h, W / w, w)。
    x = x.reshape(B, D, H // h, h, W // w, w)
    # en: 2. Pixels first, then patches, then channels: (B, h, w, H / h, W / w, D).
    # zh: 2. 块内像素在前，块号其次，通道最后：(B, h, w, H / h, W / w, D)。
    x = x.permute(0, 3, 5, 2, 4, 1)
    # en: 3. A sequence of the N patches for each pixel: (B * P, N, D).
    # zh: 3. 每个像素偏移一个长为 N 的序列：(B * P, N, D)。
    x = x.reshape(B * h * w, (H // h) * (W // w), D)
    # en: 4. The transformer.
    # zh: 4. 经过 transformer。
    x = transformer(x)
    # en: 5. All axes apart again: (B, h, w, H / h, W / w, D).
    # zh: 5. 重新拆开各轴：(B, h, w, H / h, W / w, D)。
    x = x.reshape(B, h, w, H // h, W // w, D)
    # en: 6. Back to the order of step 1, and to a map: (B, D, H, W).
    # zh: 6. 恢复第 1 步的轴顺序，再合成特征图：(B, D, H, W)。
    return x.permute(0, 5, 3, 1, 4, 2).reshape(B, D, H, W)
    # </write>
