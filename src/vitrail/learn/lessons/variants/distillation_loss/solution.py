import torch.nn.functional as F
from torch import Tensor


def distillation_loss(
    class_logits: Tensor, distillation_logits: Tensor, teacher_logits: Tensor, labels: Tensor
) -> Tensor:
    """Logits (B, K) of the student's two heads and of the teacher, labels (B,) -> loss ()"""
    # <write>
    # en: 1. The class that the teacher finds most likely for each image: (B,).
    # zh: 1. 教师认为每张图最可能的类别：(B,)。
    teacher_classes = teacher_logits.argmax(dim=1)
    # en: 2. The class head learns from the labels, by cross-entropy.
    # zh: 2. 分类头用交叉熵学习真实标签。
    label_loss = F.cross_entropy(class_logits, labels)
    # en: 3. The distillation head learns from the teacher's classes, by cross-entropy.
    # zh: 3. 蒸馏头用交叉熵学习教师给出的类别。
    teacher_loss = F.cross_entropy(distillation_logits, teacher_classes)
    # en: 4. Both count half.
    # zh: 4. 两者各占一半。
    return (label_loss + teacher_loss) / 2
    # </write>
