import torch
import torch.nn.functional as F
from torch import Tensor

RECORD = 1 + 3 * 32 * 32  # bytes


def read_batch(content: bytes) -> tuple[Tensor, Tensor]:
    """A file of the binary version -> images uint8 (N, 3, 32, 32), labels (N,)"""
    # <write>
    # en: 1. A length that is no multiple of a record: raise ValueError.
    # zh: 1. 长度不是记录的整数倍：抛出 ValueError。
    if len(content) % RECORD:
        raise ValueError(f"{len(content)} bytes are no multiple of {RECORD}.")
    # en: 2. A row per record: the label, then three planes.
    # zh: 2. 每条记录一行：先是标签，然后是三个平面。
    rows = torch.frombuffer(bytearray(content), dtype=torch.uint8).reshape(-1, RECORD)
    labels = rows[:, 0].long()
    return rows[:, 1:].reshape(-1, 3, 32, 32), labels
    # </write>


def train(images: Tensor, labels: Tensor, write, steps: int, rate: float) -> Tensor:
    """uint8 images, labels, write(step, values) -> weights of a softmax classifier (3072, 10)"""
    # <write>
    # en: 3. Pixels from 0 to 1 in float64, weights from 0.
    # zh: 3. 像素缩放到 0 到 1，用 float64；权重从 0 开始。
    x = images.flatten(1).double() / 255
    weights = torch.zeros(x.shape[1], 10, dtype=torch.float64)
    targets = F.one_hot(labels, 10).double()
    for step in range(steps):
        logits = x @ weights
        loss = F.cross_entropy(logits, labels)
        # en: 4. Write "loss", that before the update, as a number.
        # zh: 4. 写入 "loss"：更新之前的损失，普通的数。
        write(step, {"loss": loss.item()})
        gradient = x.T @ (logits.softmax(dim=1) - targets) / len(x)
        weights = weights - rate * gradient
    # en: 5. At the end write "accuracy", at the step after the last.
    # zh: 5. 最后写入 "accuracy"（准确率），步数接在最后一步之后。
    right = ((x @ weights).argmax(dim=1) == labels).double().mean()
    write(steps, {"accuracy": right.item()})
    return weights
    # </write>


def run(content: bytes, steps: int, rate: float) -> tuple[Tensor, Tensor, Tensor, list]:
    """A file, steps, learning rate -> images, labels, weights as pictures, what was written"""
    # en: This part is given: it keeps what you write, as a file or a service would.
    # zh: 这一部分已写好：它保存你写入的内容，就像文件或服务那样。
    lines = []

    def write(step: int, values: dict) -> None:
        for name, value in values.items():
            lines.append([step, name, value])

    images, labels = read_batch(content)
    weights = train(images, labels, write, steps, rate)
    return images, labels, weights.T.reshape(10, 3, 32, 32), lines
