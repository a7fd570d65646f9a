"""The health of a run: what its monitor measured, and its warnings in plain words."""

from typing import NamedTuple

from vitrail.messages import _

Measures = dict[str, dict[str, float | list[float]]]  # by measure, then by part


class HealthWarning(NamedTuple):
    """Something that is wrong with a run.

    Args:
        step: number of steps done when it was noticed.
        kind: what it is, such as "head_to_self"; `warning_text` knows all.
        part: where: "embed", "block 3", "head", "method", "run", or a path of a module.
        head: number of the attention head; None where it is of no head.
        since: number of steps done when it was first measured.
        value: the measure that shows it.

    Example:
        >>> warning_text(HealthWarning(820, "head_to_self", "block 4", 2, 800, 0.99))
        'block 4, head 2 has looked only at itself since step 800.'
    """

    step: int
    kind: str
    part: str
    head: int | None
    since: int
    value: float


def part_text(part: str) -> str:
    """The name of a part in the user's language.

    Args:
        part: as in `HealthWarning`.

    Returns:
        A few words.

    Example:
        >>> part_text("block 3"), part_text("embed")
        ('block 3', 'the embedding')
    """
    names = {
        "embed": _("the embedding"),
        "head": _("the head of the model"),
        "method": _("what the method adds"),
    }
    kind, _space, number = part.partition(" ")
    if kind in ("block", "stage") and number.isdecimal():
        text = _("block {number}") if kind == "block" else _("stage {number}")
        return text.format(number=number)
    return names.get(part, part)


def warning_text(warning: HealthWarning) -> str:
    """A warning as a sentence.

    Args:
        warning: the warning.

    Returns:
        The sentence, in the user's language.

    Example:
        >>> warning_text(HealthWarning(100, "no_gradient", "block 3", None, 80, 0.0))
        'No gradient has reached block 3 since step 80.'
    """
    texts = {
        "head_to_self": _("{part}, head {head} has looked only at itself since step {since}."),
        "head_to_one_token": _(
            "{part}, head {head} has looked only at one token since step {since}."
        ),
        "dead_head": _("{part}, head {head} has added nothing since step {since}: it is dead."),
        "dead_units": _(
            "{value:.0%} of the hidden units of {part} have fired for no token since step {since}."
        ),
        "unchanged": _(
            "{part} has not changed since step {since}, though blocks below it learn: is it "
            "frozen by mistake?"
        ),
        "no_gradient": _("No gradient has reached {part} since step {since}."),
        "rate": _(
            "The activations of {part} have grown {value:.0f}-fold within 100 steps: the learning "
            "rate is far too high. Try a tenth of it."
        ),
        "labels": _(
            "The labels look unrelated to the images: what a simple classifier learns of some does "
            "not help it with others. Check that each label belongs to its image."
        ),
    }
    text = texts.get(warning.kind, "{kind}: {part}, {value:g}")
    return text.format(**{**warning._asdict(), "part": part_text(warning.part)})
