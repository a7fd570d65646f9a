"""All commands on one app."""

import typer

from vitrail.cli import convert, demo, eval, export, info, look, methods, models, predict, train

app = typer.Typer(
    name="vitrail",
    help="Train, look inside and ship vision transformers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (train, eval, predict, look, info, models, methods, convert, export, demo):
    name = command.__name__.rpartition(".")[2]
    app.command(name)(command.run)
