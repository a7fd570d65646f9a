import torch
from torch import Tensor


def dino_step(
    student_logits: Tensor, teacher_logits: Tensor, center: Tensor
) -> tuple[Tensor, Tensor]:
    """Logits (V, B, K) of V crops, 2 global ones first, center (K,) -> loss (), new center"""
    # <write>
    # en: 1. The crops that the teacher sees, and those that the student sees.
    # zh: 1. 教师看哪些裁剪，学生看哪些裁剪。
    teacher, student = teacher_logits[:2], student_logits
    # en: 2. Probabilities of the teacher, centered and sharpened.
    # zh: 2. 教师的概率：减去 center，再锐化。
    with torch.no_grad():
        probs = ((teacher - center) / 0.04).softmax(dim=-1)
    # en: 3. Log-probabilities of the student.
    # zh: 3. 学生的对数概率。
    log_probs = (student / 0.1).log_softmax(dim=-1)
    # en: 4. Cross-entropies of pairs of crops, and their mean.
    # zh: 4. 成对裁剪之间的交叉熵，取平均。
    losses = []
    for g in range(len(probs)):
        for v in range(len(log_probs)):
            if v == g:
                continue
            losses.append(-(probs[g] * log_probs[v]).sum(dim=-1).mean())
    loss = torch.stack(losses).mean()
    # en: 5. The new center.
    # zh: 5. 更新 center。
    with torch.no_grad():
        mean = teacher.mean(dim=(0, 1))
        new_center = 0.9 * center + 0.1 * mean
    return loss, new_center
    # </write>
