import torch
from torch import Tensor


def pseudoinverse(a: Tensor, iterations: int) -> Tensor:
    """a (..., m, m), rows sum to 1 -> its pseudoinverse, nearly"""
    eye = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)
    # <write>
    # en: 1. The start: a transposed, divided by the largest column sum of each matrix.
    # zh: 1. 初值：a 的转置，除以每个矩阵最大的列和。
    z = a.transpose(-2, -1) / a.sum(dim=-2).amax(dim=-1)[..., None, None]
    # en: 2. Each round: z (13 I - az (15 I - az (7 I - az))) / 4, az = a @ z.
    # zh: 2. 每轮：z (13 I - az (15 I - az (7 I - az))) / 4，其中 az = a @ z。
    for _ in range(iterations):
        az = a @ z
        z = z @ (13 * eye - az @ (15 * eye - az @ (7 * eye - az))) / 4
    return z
    # </write>


def nystrom(q: Tensor, k: Tensor, v: Tensor, m: int, iterations: int = 6) -> Tensor:
    """q, k, v (B, heads, N, d), m landmarks, a divisor of N -> (B, heads, N, d)"""
    B, H, N, d = q.shape
    # <write>
    # en: 3. Landmarks: means of N / m consecutive queries, and of as many keys: (B, H, m, d).
    # zh: 3. 地标点：每 N / m 个相邻的 query 取平均，key 也一样：(B, H, m, d)。
    q_marks = q.reshape(B, H, m, N // m, d).mean(dim=3)
    k_marks = k.reshape(B, H, m, N // m, d).mean(dim=3)
    # en: 4. Three softmaxes: (N, m), (m, m) and (m, N), all with the scale 1 / sqrt(d).
    # zh: 4. 三个 softmax：(N, m)、(m, m)、(m, N)，缩放因子都是 1 / sqrt(d)。
    first = (q @ k_marks.transpose(-2, -1) * d**-0.5).softmax(dim=-1)
    middle = (q_marks @ k_marks.transpose(-2, -1) * d**-0.5).softmax(dim=-1)
    third = (q_marks @ k.transpose(-2, -1) * d**-0.5).softmax(dim=-1)
    # en: 5. first, pseudoinverse of the middle, third, values: from the right, so never N x N.
    # zh: 5. first、middle 的伪逆、third、value 相乘：从右往左乘，不产生 N x N。
    return first @ (pseudoinverse(middle, iterations) @ (third @ v))
    # </write>
