"""`vitrail`: runs a command, and turns errors into one line and exit code 2."""

import atexit
import errno
import functools
import importlib
import inspect
import io
import multiprocessing
import re
import signal
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from vitrail.errors import TrainingStopped, VitrailError, how_to_install
from vitrail.messages import _, in_own_language

if TYPE_CHECKING:
    import typer

# One file of this folder per command, in the order of the help.
COMMANDS = (
    "train", "eval", "predict", "features", "look", "explore", "explain", "report", "note",
    "config", "info", "models", "methods", "data", "pack", "check", "convert", "export", "demo",
    "learn",
)  # fmt: skip
LOADING = (
    "train", "eval", "predict", "features", "look", "explore", "explain", "report", "info",
    "convert", "export",
)  # fmt: skip
PACKAGES = ("typer", "rich", "PIL", "pydantic", "accelerate", "matplotlib", "yaml", "simplejpeg")


def build_app() -> "typer.Typer":
    """The command line application with all commands.

    Returns:
        The application.

    Example:
        >>> len(build_app().registered_commands), len(build_app().registered_groups)
        (19, 1)
    """
    import typer

    from vitrail.cli.common import no_command
    from vitrail.cli.help_pages import HelpfulGroup
    from vitrail.cli.unknown_options import HintingCommand

    app = typer.Typer(
        name="vitrail",
        cls=HelpfulGroup,
        help=_("Train, look inside and ship vision transformers."),
        epilog=examples(("vitrail demo", "vitrail train folder:PHOTOS", "vitrail train --help")),
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(no_command)
    for name in COMMANDS:
        command = importlib.import_module(f"vitrail.cli.{name}")
        epilog, short = examples(command.EXAMPLES), first_sentence(command.HELP)
        if hasattr(command, "make_group"):  # of commands, such as `vitrail learn check`
            app.add_typer(
                command.make_group(), name=name, help=command.HELP, short_help=short, epilog=epilog
            )
            continue
        register = app.command(
            name, cls=HintingCommand, help=command.HELP, short_help=short, epilog=epilog
        )
        register(_with_options(command.run, loads=name in LOADING))
    return app


def first_sentence(text: str) -> str:
    """The first sentence of a text, also of a Chinese one, whose sentences no space divides.

    Args:
        text: sentences.

    Returns:
        The first of them.

    Example:
        >>> first_sentence("Write a .csv file. One line per image.")
        'Write a .csv file.'
    """
    match = re.match(r".*?(?:\.(?=\s|$)|。)", text, re.DOTALL)
    return text if match is None else match[0]


def examples(commands: Sequence[str]) -> str:
    """The end of a help text: commands that can be typed.

    Args:
        commands: each with its arguments.

    Returns:
        A text whose lines are kept.

    Example:
        >>> examples(["vitrail demo"])
        '\\x08\\nExamples:\\n  vitrail demo'
    """
    lines = "".join(f"\n  {command}" for command in commands)
    return "\b\n" + _("Examples:") + lines


def _with_options(run: Callable[..., None], *, loads: bool) -> Callable[..., None]:
    """A command with --plugin, whose files run before it, and --trust where it loads weights."""
    from vitrail.cli.common import PluginOption, TrustOption

    @functools.wraps(run)
    def command(plugin: list[str] | None = None, trust: bool = False, **options: Any) -> None:
        from vitrail.manifest import trusting
        from vitrail.plugins import load_plugin

        for source in plugin or ():
            load_plugin(source)
        with trusting(trust):
            run(**options)

    more: dict[str, tuple[Any, Any]] = {"plugin": (PluginOption, None)}
    if loads:
        more["trust"] = (TrustOption, False)
    kind = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter(name, kind, default=default, annotation=annotation)
        for name, (annotation, default) in more.items()
    ]
    signature = inspect.signature(run)
    command.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), *parameters]
    )
    annotations = {name: annotation for name, (annotation, _default) in more.items()}
    command.__annotations__ = {**run.__annotations__, **annotations}
    return command


def main() -> None:
    """Runs the command line.

    Raises:
        SystemExit: with code 2 and one line on stderr where something that was given is wrong; with
            143 after SIGTERM or SIGHUP.

    Example:
        >>> from unittest import mock
        >>> with mock.patch("sys.argv", ["vitrail", "models", "resnet*"]):
        ...     main()
        Traceback (most recent call last):
        SystemExit: 2
    """
    for stream in (sys.stdout, sys.stderr):  # whose encoding may lack characters of names
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        message = _("the command line needs {package}: {cure}")
        cure = how_to_install(*missing)
        sys.exit(_fail(message.format(package=missing[0], cure=cure)))
    _exit_on_signals()
    try:
        build_app()()
    except VitrailError as problem:
        _end_workers()
        sys.exit(_fail(in_options(in_own_language(str(problem))), problem.exit_code))
    except SystemExit as end:
        if isinstance(end.__context__, VitrailError):  # of a signal that came meanwhile
            _fail(in_options(in_own_language(str(end.__context__))))
        raise
    except BrokenPipeError:  # whatever read the output has closed the pipe
        sys.exit(0)
    except OSError as problem:
        sys.exit(_fail(describe_failure(problem)))
    finally:
        atexit.register(_keep_exit_code)  # what is registered last is called first


def describe_failure(problem: OSError) -> str:
    """What the operating system refused, and what helps.

    Args:
        problem: the error.

    Returns:
        A sentence.

    Example:
        >>> describe_failure(OSError(errno.EROFS, "Read-only file system", "runs/pets"))
        'runs/pets: Read-only file system; choose another path.'
    """
    if problem.errno == errno.ENOSPC:
        return _("the disk is full: make room and try again; files that were whole still are.")
    if problem.filename is None:  # not about a file, such as an address that is in use
        return str(problem)
    text = _("{path}: {reason}; choose another path.")
    return text.format(path=problem.filename, reason=problem.strerror)


def in_options(message: str) -> str:
    """An error message in the words of the command that runs.

    Args:
        message: with keywords of Python, such as `train_limit=9`.

    Returns:
        The message with the command's options in their stead, such as `--train-limit=9`.

    Example:
        >>> from unittest import mock
        >>> with mock.patch("sys.argv", ["vitrail", "train"]):
        ...     in_options("resume it by resume=True, or choose another folder by out=FOLDER.")
        'resume it by --resume, or choose another folder by --out=FOLDER.'
    """
    import typer.main

    commands = getattr(typer.main.get_command(build_app()), "commands", {})
    command = commands.get(sys.argv[1] if len(sys.argv) > 1 else "")
    options = [o for p in command.params for o in p.opts] if command is not None else []
    for option in options:
        keyword = option.removeprefix("--").replace("-", "_")
        if option.startswith("--"):  # but settings such as data.bad_images= are spelled alike
            message = re.sub(rf"(?<![\w.-]){keyword}=True\b", option, message)
            message = re.sub(rf"(?<![\w.-]){keyword}=", f"{option}=", message)
    # Sizes are written as 64x48 there.
    size = r"(?<=--image-size=)\((\d+(?:, \d+)+)\)"
    message = re.sub(size, lambda match: match[1].replace(", ", "x"), message)
    message = re.sub(r"vitrail\.load_plugin\('([^']*)'\)", r"--plugin \1", message)
    message = re.sub(r'vitrail\.list_models\("([^"]*)"\)', r"`vitrail models '\1'`", message)
    return message.replace("vitrail.list_models()", "`vitrail models`")


def _exit_on_signals() -> None:
    """Makes SIGTERM and SIGHUP end the process by an exception, so that nothing is half written.

    The first process of a container would ignore them otherwise.
    """
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, lambda *_arguments: sys.exit(TrainingStopped.exit_code))


def _keep_exit_code() -> None:
    """Ignores signals from now on: the process ends, and its exit code says how."""
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _end_workers() -> None:
    """Ends the processes that read samples, for each of which an exit would wait five seconds."""
    for process in multiprocessing.active_children():
        process.terminate()


def _fail(problem: str, exit_code: int = VitrailError.exit_code) -> int:
    """Writes the problem as one line to stderr; returns the exit code."""
    sys.stderr.write(_("error: {problem}").format(problem=" ".join(problem.split())) + "\n")
    return exit_code
