"""Prompts: captions made from the name of a label. Open to every room."""

from collections.abc import Sequence

from vitrail.errors import ConfigError

# Prompts that CLIP's authors used among others.
TEMPLATES = (
    "a photo of a {}.", "a photo of the {}.", "a picture of a {}.", "an image of a {}.",
    "a good photo of a {}.", "a close-up photo of a {}.", "a photo of a small {}.", "a {}.",
)  # fmt: skip


def fill_template(template: str, label: str) -> str:
    """A caption from a template.

    Args:
        template: text with {} in the place of the label.
        label: name of a class, where _ stands for a space.

    Returns:
        The caption.

    Raises:
        ConfigError: the template has no {}.

    Example:
        >>> fill_template("a photo of a {}.", "ankle_boot")
        'a photo of a ankle boot.'
    """
    if "{}" not in template:
        raise ConfigError(f"template {template!r} has no {{}} for the label: add it.")
    return template.replace("{}", label.replace("_", " "))


def check_templates(templates: Sequence[str]) -> None:
    """Checks that templates can make captions.

    Args:
        templates: texts with {} in the place of the label.

    Raises:
        ConfigError: there is no template, or one has no {}.

    Example:
        >>> check_templates(TEMPLATES)
    """
    if not templates:
        raise ConfigError("templates are empty: give one, such as 'a photo of a {}.'")
    for template in templates:
        fill_template(template, "")
