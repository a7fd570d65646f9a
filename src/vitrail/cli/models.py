"""`vitrail models`: the models that can be built by name, and which to choose for a purpose."""

import fnmatch
import json
from typing import Annotated, Any

import typer
from rich.text import Text

from vitrail.cli.common import out
from vitrail.errors import ConfigError, check_choice
from vitrail.messages import _, in_own_language

HELP = _("List the models that can be built by name. With parameters and multiply-adds.")
EXAMPLES = ("vitrail models 'swin*'", "vitrail models --for small-data")


def run(
    pattern: Annotated[
        str, typer.Argument(help=_("A pattern of names, such as 'deit*'. Default: all."))
    ] = "*",
    purpose: Annotated[
        str | None,
        typer.Option(
            "--for",
            help=_("Which to choose: small-data, edge, detection, video or long-sequences."),
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help=_("Print JSON."))] = False,
) -> None:
    """Lists the variants of all models, or those that fit a purpose, with reasons."""
    from vitrail.models.purposes import MODEL_PURPOSES

    if purpose is not None:
        check_choice("--for", purpose, tuple(MODEL_PURPOSES))
    reasons = MODEL_PURPOSES[purpose].reasons if purpose is not None else {}
    rows = [row for row in variant_facts() if fnmatch.fnmatch(row["name"], pattern)]
    if purpose is not None:
        rows = [{**row, "reason": reasons[row["name"]]} for row in rows if row["name"] in reasons]
        rows.sort(key=lambda row: list(reasons).index(row["name"]))
    if not rows:
        cure = "vitrail models" + (f" --for {purpose}" if purpose is not None else "")
        raise ConfigError(f"no model matches {pattern!r}: `{cure}` lists all.")
    if as_json:
        out.print_json(json.dumps(rows))
    elif purpose is not None:
        print_choices(purpose, rows)
    else:
        print_models(rows)


def variant_facts() -> list[dict[str, Any]]:
    """What is known of every variant.

    Returns:
        One dictionary per variant, in the order of `model_infos`. "weights" is the Hub id of the
        published weights or None; "milliseconds" is None where the speed was not measured. A class
        of the user's own has its file as "source", and one row if it has no variants. A model that
        comes with Vitrail has its name as "weights".

    Example:
        >>> next(row["tier"] for row in variant_facts() if row["name"] == "vit_tiny_patch16_224")
        'sequence'
    """
    from vitrail.hub.pretrained import published_ids
    from vitrail.lens.shapes import count_multiply_adds
    from vitrail.models.catalog import measured_speed, model_infos, multiply_adds

    def work(name: str, parameters: int | None) -> int | None:
        if parameters is None or name in multiply_adds():
            return multiply_adds().get(name)
        return count_multiply_adds(name)

    rows = [
        {
            "name": name,
            "model": info.model.__name__,
            "tier": info.tier,
            "year": None if info.source else info.paper.year,
            "paper": None if info.source else info.paper.url,
            "source": info.source,
            "parameters": info.variants.get(name),
            "multiply_adds": work(name, info.variants.get(name)),
            "milliseconds": measured_speed().milliseconds.get(name),
            "weights": published_ids().get(name),
        }
        for info in model_infos()
        for name in info.variants or [info.model.__name__]
    ]
    for row in _bundled_facts():
        last = max(number for number, each in enumerate(rows) if each["model"] == row["model"])
        rows.insert(last + 1, {**rows[last], **row})
    return rows


def _bundled_facts() -> list[dict[str, Any]]:
    """What is known of the models that come with Vitrail, beside what is known of their class."""
    from vitrail.hub.bundled import bundled_models
    from vitrail.hub.load import load
    from vitrail.lens.shapes import shapes

    rows = []
    for name in bundled_models():
        model = load(name)
        total = shapes(model)[-1]
        rows.append(
            {
                "name": name,
                "model": type(model).__name__,
                "parameters": total.parameters,
                "multiply_adds": total.multiply_adds,
                "milliseconds": None,
                "weights": name,
            }
        )
    return rows


def print_models(rows: list[dict[str, Any]]) -> None:
    """Prints variants below the names of their models.

    Args:
        rows: of `variant_facts`.

    Example:
        >>> print_models(variant_facts()[:1])
        DeiT  2020, https://arxiv.org/abs/2012.12877, sequence, weights: timm, transformers
          deit_tiny_distilled_patch16_224                    5.9 M     1.26 G
    """
    from vitrail.hub.converters import published_weights
    from vitrail.models.registry import get_model_class

    origins = published_weights()
    title = ""
    for row in rows:
        if row["model"] != title:
            title = row["model"]
            weights = ", ".join(origins.get(get_model_class(title), ()))
            weights = _(", weights: {origins}").format(origins=weights) if weights else ""
            paper = row["source"] or f"{row['year']}, {row['paper']}"
            rest = f"  {paper}, {row['tier']}{weights}"
            out.print(Text(title, style="bold").append(rest, style="not bold"))
        note = f"  {_('comes with Vitrail')}" if row["weights"] == row["name"] else ""
        out.print(f"  {size(row)}{note}", highlight=False)


def print_choices(purpose: str, rows: list[dict[str, Any]]) -> None:
    """Prints variants with the reasons for choosing them.

    Args:
        purpose: name of the purpose.
        rows: of `variant_facts`, each with its "reason".

    Example:
        >>> print_choices("video", [])
        Videos and volumes; ...
    """
    from vitrail.models.catalog import measured_speed
    from vitrail.models.purposes import MODEL_PURPOSES

    speed = measured_speed()
    out.print(in_own_language(MODEL_PURPOSES[purpose].summary), highlight=False, markup=False)
    for row in rows:
        time = f"{row['milliseconds']:7.0f} ms" if row["milliseconds"] is not None else " " * 10
        weights = f"  {row['weights']}" if row["weights"] is not None else ""
        out.print(Text("  ").append(size(row), style="bold").append(f" {time}{weights}"))
        out.print(f"      {in_own_language(row['reason'])}", highlight=False, markup=False)
    text = _("ms: one image, float32, {threads} threads of an {processor}.")
    text = text.format(threads=speed.threads, processor=speed.processor)
    limits = in_own_language(MODEL_PURPOSES[purpose].limits)
    out.print(f"{text}\n{limits}", highlight=False, markup=False)


def size(row: dict[str, Any]) -> str:
    """A variant's name, parameters and multiply-adds, in columns.

    Args:
        row: of `variant_facts`.

    Returns:
        The text.

    Example:
        >>> size({"name": "vit", "parameters": 5_700_000, "multiply_adds": 1_250_000_000})
        'vit                                                5.7 M     1.25 G'
    """
    if row["parameters"] is None:
        return row["name"]
    parameters, work = row["parameters"] / 1e6, row["multiply_adds"] / 1e9
    return f"{row['name']:<46} {parameters:7.1f} M {work:8.2f} G"
