import math
from typing import Any

# <write>
# en: The folder of your run, such as "runs/mine", as seen from the folder of your lessons.
# zh: 你的训练目录，例如 "runs/mine"，相对于课程工作目录。
RUN = "example"
# en: What you saw in the three mistakes of the highest confidence: a sentence by name of the file.
# zh: 置信度最高的三个错误里你看到了什么：以文件名为键，各写一句话。
LOOKED = {
    "dog/3.jpg": "A white dog in snow: the background decided.",
    "cat/7.jpg": "Two animals, of which the label names the smaller one.",
    "dog/5.jpg": "Blurred; I cannot tell, either.",
}
# </write>


def judge(evaluation: dict[str, Any]) -> dict[str, Any]:
    """The content of evaluation.json -> accuracy, low, baseline, learned, confused, surest"""
    labels, confusion = evaluation["labels"], evaluation["confusion"]
    # <write>
    # en: 1. Rows of the confusion matrix are true classes. accuracy: right images / all images.
    # zh: 1. 混淆矩阵的行是真实类别。accuracy：判断正确的图像数 / 总数。
    count = sum(sum(row) for row in confusion)
    accuracy = sum(confusion[i][i] for i in range(len(labels))) / count
    # en: 2. low: the lower end of Wilson's interval, z = 1.96.
    # zh: 2. low：Wilson 区间的下界，z = 1.96。
    z = 1.96
    middle = accuracy + z * z / (2 * count)
    spread = z * math.sqrt(accuracy * (1 - accuracy) / count + z * z / (4 * count * count))
    low = (middle - spread) / (1 + z * z / count)
    # en: 3. baseline: the accuracy of saying the most frequent true class; learned: low above it.
    # zh: 3. baseline：总是回答最多的真实类别时的准确率；learned：low 是否高于它。
    baseline = max(sum(row) for row in confusion) / count
    learned = low > baseline
    # en: 4. confused: (true label, predicted label, how often), the most frequent mistake.
    # zh: 4. confused：(真实标签, 预测标签, 次数)，最常见的一种错误。
    pairs = [(i, j) for i in range(len(labels)) for j in range(len(labels)) if i != j]
    i, j = max(pairs, key=lambda pair: confusion[pair[0]][pair[1]])
    confused = (labels[i], labels[j], confusion[i][j])
    # en: 5. surest: names of the three mistakes of the highest confidence, that one first.
    # zh: 5. surest：置信度最高的三个错误的文件名，从高到低。
    order = sorted(evaluation["mistakes"], key=lambda mistake: -mistake["confidence"])
    surest = [mistake["name"] for mistake in order[:3]]
    # </write>
    return {
        "accuracy": accuracy, "low": low, "baseline": baseline, "learned": learned,
        "confused": confused, "surest": surest,
    }  # fmt: skip
