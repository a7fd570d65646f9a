"""Pictures as data URLs."""

import base64
import io

import numpy as np
from torch import Tensor

from vitrail.lens.pictures import to_picture
from vitrail.resizing import resize

LOSSLESS = 128 * 128  # pixels up to which a picture is small enough for PNG
THUMBNAIL = 96  # pixels of the longer side


def data_url(image: Tensor) -> str:
    """A picture that a page can show.

    Args:
        image: uint8 (C, H, W); of other than 1 or 3 channels the mean is shown.

    Returns:
        A URL with the picture in it: PNG where it is small, else JPEG of high quality.

    Example:
        >>> data_url(torch.zeros(3, 8, 8, dtype=torch.uint8))[:14]
        'data:image/png'
    """
    from PIL import Image

    pixels = (to_picture(image) * 255).round().astype(np.uint8)
    kind = "png" if pixels.shape[0] * pixels.shape[1] <= LOSSLESS else "jpeg"
    file = io.BytesIO()
    options = {"quality": 92, "subsampling": 0} if kind == "jpeg" else {}
    Image.fromarray(pixels).save(file, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def thumbnail(image: Tensor) -> str:
    """A small version of a picture.

    Args:
        image: uint8 (C, H, W).

    Returns:
        A URL with the picture in it, at most 96 pixels wide and high.

    Example:
        >>> thumbnail(torch.zeros(3, 200, 100, dtype=torch.uint8))[:14]
        'data:image/png'
    """
    height, width = image.shape[1:]
    largest = max(height, width)
    if largest <= THUMBNAIL:
        return data_url(image)
    size = (
        max(1, round(height * THUMBNAIL / largest)),
        max(1, round(width * THUMBNAIL / largest)),
    )
    return data_url(resize(image, size, "bilinear"))
