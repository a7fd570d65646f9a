"""Help pages and usage errors in the user's language; Typer's own words are English."""

from collections.abc import Callable
from typing import Any

from typer.core import TyperCommand, TyperGroup

from vitrail.errors import ConfigError
from vitrail.messages import _, in_own_language, language


def _words() -> dict[str, str]:
    """Words of Typer on a help page, those of its own options last."""
    return {
        "Usage: ": _("Usage: "), "Arguments:": _("Arguments:"), "Options:": _("Options:"),
        "Commands:": _("Commands:"), "[OPTIONS]": _("[OPTIONS]"), "[required]": _("[required]"),
        "COMMAND [ARGS]...": _("COMMAND [ARGS]..."), "[default: ": _("[default: "),
        "Show this message and exit.": _("Show this message and exit."),
        "Install completion for the current shell.": _("Install completion for the current shell."),
        "Show completion for the current shell, to copy it or customize the installation.":
        _("Show completion for the current shell, to copy it or customize the installation."),
    }  # fmt: skip


def help_page(command: TyperCommand | TyperGroup, ctx: Any, page: Callable[[Any], str]) -> str:
    """The help page of a command in the user's language.

    Args:
        command: the command or group.
        ctx: of the command.
        page: what makes the page.

    Returns:
        The page.

    Example:
        >>> from vitrail.cli.unknown_options import HintingCommand
        >>> command = HintingCommand("train", callback=print)
        >>> help_page(command, None, lambda ctx: "Usage: train") if language() == "en" else ""
        'Usage: train'
    """
    words = _words()
    for parameter in command.get_params(ctx) if ctx else ():  # before their lines are broken
        text = getattr(parameter, "help", None)
        if text in words:
            parameter.help = words[text]  # type: ignore[attr-defined]
    text = page(ctx)
    for word, own in words.items():
        text = text.replace(word, own)
    return text


def usage_error(problem: Exception, command: str) -> Exception:
    """What to raise for an error of usage: one line, in a language that Typer does not speak.

    Args:
        problem: an error of Typer.
        command: the words that call the command.

    Returns:
        The error itself in English, or where it is no error of usage.

    Example:
        >>> usage_error(KeyError("a"), "vitrail")
        KeyError('a')
    """
    message = getattr(problem, "format_message", None)  # of a private class
    if message is None or language() == "en":
        return problem
    text = _("{problem} `{command} -h` shows how it is called.")
    return ConfigError(text.format(problem=in_own_language(message()), command=command))


class HelpfulGroup(TyperGroup):
    """A group of commands whose help and errors are in the user's language.

    Args:
        **keywords: as of `TyperGroup`.

    Example:
        >>> HelpfulGroup(name="learn").name
        'learn'
    """

    def get_help(self, ctx: Any) -> str:
        """The help page.

        Args:
            ctx: of the command.

        Returns:
            The page.
        """
        return help_page(self, ctx, super().get_help)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Finds the command that the arguments name.

        Args:
            ctx: of the group.
            args: what was typed.

        Returns:
            The command, as the group's base class returns it.
        """
        try:
            return super().resolve_command(ctx, args)
        except Exception as problem:
            raise usage_error(problem, ctx.command_path) from None


class HelpfulCommand(TyperCommand):
    """A command whose help and errors are in the user's language.

    Args:
        *args: as of `TyperCommand`.
        **keywords: as of `TyperCommand`.

    Example:
        >>> HelpfulCommand("init", callback=print).name
        'init'
    """

    def get_help(self, ctx: Any) -> str:
        """The help page.

        Args:
            ctx: of the command.

        Returns:
            The page.
        """
        return help_page(self, ctx, super().get_help)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parses the arguments.

        Args:
            ctx: of the command.
            args: what was typed.

        Returns:
            What is left.

        Raises:
            ConfigError: the arguments are wrong, as `explain` says.
        """
        typed = list(args)
        try:
            return super().parse_args(ctx, args)
        except Exception as problem:
            raise self.explain(problem, ctx.command_path, typed) from None

    def explain(self, problem: Exception, command: str, _typed: list[str]) -> Exception:
        """What to raise for an error of usage.

        Args:
            problem: what Typer raises.
            command: the words that call the command.

        Returns:
            The error in the user's language.
        """
        return usage_error(problem, command)
