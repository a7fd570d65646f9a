from torch import Tensor


def to_tokens(feature_map: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H * W, C), row by row"""
    # <write>
    # en: Join the two last axes, (B, C, H * W), then exchange channels and positions.
    # zh: 合并最后两维得到 (B, C, H * W)，再交换通道维与位置维。
    return feature_map.flatten(2).transpose(1, 2)
    # </write>


def to_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, H * W, C), (H, W) -> (B, C, H, W)"""
    # <write>
    # en: The same backwards: first exchange the axes, then split the last one.
    # zh: 反过来做：先交换两维，再拆开最后一维。
    batch, _, channels = tokens.shape
    return tokens.transpose(1, 2).reshape(batch, channels, *grid)
    # </write>


def there_and_back(feature_map: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """A map (B, C, H, W) and tokens (B, H * W, C) -> the map as tokens, the tokens as map"""
    # en: This part is given: it calls your two functions.
    # zh: 这一部分已写好，它会调用你的两个函数。
    return to_tokens(feature_map), to_map(tokens, tuple(feature_map.shape[2:]))
