import torch
from torch import Tensor


def dino_step(
    student_logits: Tensor, teacher_logits: Tensor, center: Tensor
) -> tuple[Tensor, Tensor]:
    """Logits (V, B, K) of V crops, 2 global ones first, center (K,) -> loss (), new center"""
    # <write>
    # en: 1. The teacher sees the global crops only, the student all crops.
    # zh: 1. 教师只看全局裁剪，学生看所有裁剪。
    teacher, student = teacher_logits[:2], student_logits
    # en: 2. Centered and sharpened (temperature 0.04) probabilities of the teacher, no gradient.
    # zh: 2. 教师的概率：减去 center，再用温度 0.04 锐化；不传梯度。
    with torch.no_grad():
        probs = ((teacher - center) / 0.04).softmax(dim=-1)
    # en: 3. Log-probabilities of the student, temperature 0.1.
    # zh: 3. 学生的对数概率，温度 0.1。
    log_probs = (student / 0.1).log_softmax(dim=-1)
    # en: 4. Cross-entropies of all pairs of different crops, and their mean.
    # zh: 4. 所有不同裁剪两两之间的交叉熵，取平均。
    losses = []
    for g in range(len(probs)):
        for v in range(len(log_probs)):
            if v != g:
                losses.append(-(probs[g] * log_probs[v]).sum(dim=-1).mean())
    loss = torch.stack(losses).mean()
    # en: 5. The center follows the mean of the teacher's logits, with a momentum of 0.9.
    # zh: 5. center 以动量 0.9 跟随教师 logits 的均值。
    with torch.no_grad():
        mean = teacher.mean(dim=(0, 1))
        new_center = 0.9 * center + 0.1 * mean
    return loss, new_center
    # </write>
