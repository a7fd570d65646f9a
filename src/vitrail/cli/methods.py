"""`vitrail methods`: what a model can be trained to do, and which method to choose."""

import inspect
import json
from typing import Annotated, Any

import typer
from rich.text import Text

from vitrail.cli.common import out
from vitrail.errors import check_choice
from vitrail.messages import _, in_own_language

HELP = _("List the training methods. With the models each can train, and its settings.")
EXAMPLES = ("vitrail methods", "vitrail methods --for few-labels")


def run(
    purpose: Annotated[
        str | None,
        typer.Option(
            "--for",
            help=_(
                "Which to choose: labels, few-labels, no-labels, teacher, captions or small-budget."
            ),
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help=_("Print JSON."))] = False,
) -> None:
    """Lists the training methods, or those that fit a purpose, with reasons."""
    from vitrail.methods.purposes import METHOD_PURPOSES

    rows = method_facts()
    if purpose is not None:
        check_choice("--for", purpose, tuple(METHOD_PURPOSES))
        by_name = {row["name"]: row for row in rows}
        reasons = METHOD_PURPOSES[purpose].reasons
        rows = [{**by_name[name], "reason": reason} for name, reason in reasons.items()]
    if as_json:
        out.print_json(json.dumps(rows))
        return
    if purpose is not None:
        out.print(in_own_language(METHOD_PURPOSES[purpose].summary), highlight=False, markup=False)
    for row in rows:
        print_method(row, with_settings=purpose is None)
    if purpose is not None:
        text = _("Measured on Fashion-MNIST with 1,000 labels: docs/en/it_helps.md.")
        limits = in_own_language(METHOD_PURPOSES[purpose].limits)
        out.print(f"{text} {limits}", highlight=False, markup=False)


def method_facts() -> list[dict[str, Any]]:
    """What is known of every method.

    Returns:
        One dictionary per method, by name. "gains" are rows of `measured_gains`, without the name.

    Example:
        >>> [row["models"] for row in method_facts() if row["name"] == "mae"]
        [['SequenceBackbone']]
    """
    from vitrail.methods.purposes import measured_gains
    from vitrail.methods.registry import get_method, list_methods, settings_of

    rows = []
    for name in list_methods():
        method = get_method(name)
        rows.append(
            {
                "name": name,
                "summary": (inspect.getdoc(method) or "").partition("\n")[0],
                "models": [tier.__name__ for tier in method.tier],
                "paper": describe_origin(name),
                "settings": [
                    key if parameter.default is parameter.empty else f"{key}={parameter.default!r}"
                    for key, parameter in settings_of(name).items()
                ],
                "gains": [gain._asdict() for gain in measured_gains() if gain.method == name],
            }
        )
    return rows


def describe_origin(name: str) -> str:
    """The paper of a method; the file or module of one that is not Vitrail's.

    Args:
        name: name of the method.

    Returns:
        The text.

    Example:
        >>> describe_origin("mae")
        '"Masked Autoencoders Are Scalable Vision Learners" (He et al. 2021, https://...
    """
    from vitrail.methods.registry import METHOD_REGISTRY, METHODS, get_method

    if name not in METHODS:
        return METHOD_REGISTRY.source(name)
    paper = get_method(name).paper
    return f'"{paper.title}" ({paper}, {paper.url})'


def print_method(row: dict[str, Any], *, with_settings: bool) -> None:
    """Prints a method: its settings, or why it is recommended and what it reached.

    Args:
        row: of `method_facts`, with its "reason" where it is recommended.
        with_settings: whether to print the paper and the settings.

    Example:
        >>> print_method(method_facts()[0], with_settings=False)
        attentive_probe  every model
          ...
    """
    tiers = _(" or ").join(row["models"])
    scope = _("every model") if tiers == "Backbone" else _("{tiers} models").format(tiers=tiers)
    out.print(Text(row["name"], style="bold").append(f"  {scope}", style="not bold"))
    lines = [in_own_language(row["summary"])]
    if with_settings:
        lines.append(row["paper"])
        if row["settings"]:
            lines.append(_("settings: {names}").format(names=", ".join(row["settings"])))
    elif "reason" in row:
        lines.append(in_own_language(row["reason"]))
        lines += [describe_gain(gain) for gain in row["gains"]]
    for line in lines:
        out.print(f"  {line}", highlight=False, markup=False)


def describe_gain(gain: dict[str, Any]) -> str:
    """What a method reached, in one line.

    Args:
        gain: fields of a `vitrail.methods.purposes.Gain`.

    Returns:
        The accuracy, the gain over training from scratch, and the processor time.

    Example:
        >>> describe_gain({"variant": "", "accuracy": 0.807, "gain": 0.073, "seconds": 404})
        'accuracy 80.7 %, +7.3 over scratch, 404 s of one core'
    """
    text = _("accuracy {percent:.1f} %").format(percent=100 * gain["accuracy"])
    if gain["gain"] is not None:
        text += _(", {points:+.1f} over scratch").format(points=100 * gain["gain"])
    text += _(", {seconds:.0f} s of one core").format(seconds=gain["seconds"])
    return f"{gain['variant']}: {text}" if gain["variant"] else text
