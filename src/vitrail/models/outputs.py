"""What the outputs of a model's head mean."""

import dataclasses
from typing import Literal

import torch
from torch import Tensor

Target = Literal["class", "labels", "numbers"]


@dataclasses.dataclass(frozen=True)
class Outputs:
    """What the outputs of a head mean, as it is saved with the model.

    Args:
        target: "class", logits of classes that exclude each other; "labels", a logit for each of
            several labels; "numbers", numbers in their own units.
        thresholds: of "labels", the probability from which each of them counts; empty for 0.5.

    Example:
        >>> Outputs("labels", (0.3, 0.5)).predicted_labels(torch.tensor([[0.4, 0.4]]))
        tensor([[ True, False]])
    """

    target: Target = "class"
    thresholds: tuple[float, ...] = ()

    def activate(self, outputs: Tensor) -> Tensor:
        """Makes probabilities of logits.

        Args:
            outputs: (B, K), of a head.

        Returns:
            (B, K): probabilities; numbers as they are.
        """
        if self.target == "class":
            return outputs.softmax(1)
        return outputs.sigmoid() if self.target == "labels" else outputs

    def predicted_labels(self, probabilities: Tensor) -> Tensor:
        """The labels that an image has.

        Args:
            probabilities: (B, K), of "labels".

        Returns:
            bool (B, K).
        """
        thresholds = self.thresholds or (0.5,) * probabilities.shape[1]
        return probabilities >= torch.tensor(thresholds).to(probabilities)
