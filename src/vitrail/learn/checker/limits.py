"""Limits on what a learner's file does while it is checked.

They stop accidents and shortcuts, with a line that says what happened: endless loops, forks,
downloads, files that are overwritten, a patched torch. They are no security boundary: Python code
can get around audit hooks. Task files of strangers in a container.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from vitrail.messages import _

SECONDS = 8  # of processor time for the learner's code
WALL_SECONDS = 40
MORE_MEMORY = 2 * 2**30  # bytes beyond those of the interpreter with torch
LARGEST_FILE = 4 * 2**20  # bytes, of what the file prints
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC

# Events of sys.addaudithook that a lesson never needs, by what a learner reads.
PROCESSES = {
    "os.fork", "os.forkpty", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.startfile",
    "subprocess.Popen", "pty.spawn", "os.kill", "os.killpg",
}  # fmt: skip
FILES = {
    "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.truncate", "os.chmod", "os.chown",
    "os.link", "os.symlink", "shutil.rmtree", "shutil.move", "shutil.copyfile", "os.utime",
}  # fmt: skip
NETWORK = {
    "socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname",
    "socket.sendto", "socket.sendmsg", "urllib.Request",
}  # fmt: skip
NATIVE = {"ctypes.dlopen", "ctypes.cdata", "ctypes.call_function"}


class TimeUpError(BaseException):
    """The learner's code takes too long.

    Example:
        >>> issubclass(TimeUpError, Exception)
        False
    """


class Watch:
    """What the learner's code did although it may not, by the audit hook.

    Args:
        path: the learner's file.
        lessons: folder of the lessons, whose solutions are not to be read.

    Example:
        >>> Watch("a.py", Path("lessons")).message
        ''
    """

    def __init__(self, path: str, lessons: Path) -> None:
        self.path, self.lessons = path, str(lessons)
        self.message = ""
        self.active = False
        self.main = threading.main_thread()

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """The audit hook."""
        if not self.active or (event == "os.mkdir" and _is_torch(self.path)):
            return
        text = ""
        if event in PROCESSES:
            text = _("your code starts or ends a process ({event}): a lesson needs none.")
        elif event in NETWORK:
            text = _("your code uses the network ({event}): a lesson needs none.")
        elif event in FILES or (event == "open" and _writes(*arguments[1:3])):
            text = _("your code writes or deletes a file ({event}): the checker only reads.")
        elif event == "open" and str(arguments[0]).startswith(self.lessons):
            text = _("your code opens the lesson's files: `vitrail learn solution` shows them.")
        elif event in NATIVE:
            text = _("your code calls compiled libraries by ctypes: a lesson needs none.")
        if text:
            self.message = self.message or text.format(event=event)
            raise PermissionError(self.message)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """A context in which the hook is at work."""
        self.active = True
        try:
            yield
        finally:
            self.active = False


def _is_torch(path: str) -> bool:
    """Whether PyTorch makes a folder for its compiler, which some of its imports do."""
    # private: only the frames say who asks; without it such an import is taken for the learner's.
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename != path:
        if "torch" in Path(frame.f_code.co_filename).parts:
            return True
        frame = frame.f_back
    return False


def _writes(mode: Any, flags: Any) -> bool:
    if isinstance(mode, str) and set(mode) & set("wax+"):
        return True
    return mode is None and isinstance(flags, int) and bool(flags & WRITING)


def limit_resources() -> None:
    """Limits this process's time, memory, processes and files, where the system can.

    Example:
        >>> limit_resources.__module__
        'vitrail.learn.checker.limits'
    """
    try:
        import resource
    except ImportError:  # Windows: the parent's time limit is what remains
        return

    def stop(_number: int, _frame: FrameType | None) -> NoReturn:
        raise TimeUpError

    usage = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(usage.ru_utime + usage.ru_stime) + 1 + SECONDS
    signal.signal(signal.SIGXCPU, stop)
    signal.signal(signal.SIGALRM, stop)
    signal.alarm(WALL_SECONDS)
    _lower(resource.RLIMIT_CPU, seconds, seconds + 4)
    _lower(resource.RLIMIT_FSIZE, LARGEST_FILE, LARGEST_FILE)
    _lower(resource.RLIMIT_CORE, 0, 0)
    with contextlib.suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        memory = pages * resource.getpagesize() + MORE_MEMORY
        _lower(resource.RLIMIT_AS, memory, memory)
    _lower(resource.RLIMIT_NPROC, 0, 0)


def _lower(limit: int, soft: int, hard: int) -> None:
    import resource

    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(limit, (soft, hard))


def remember_patchable() -> Callable[[], str]:
    """Remembers torch's functions and methods, and Python's built-in ones.

    Returns:
        A function that names the first that is another since; "" where all are the same.

    Example:
        >>> remember_patchable()()
        ''
    """
    import builtins
    import math

    import torch

    owners = {
        "torch": torch, "torch.nn": torch.nn, "torch.nn.functional": torch.nn.functional,
        "torch.Tensor": torch.Tensor, "torch.nn.Module": torch.nn.Module,
        "torch.linalg": torch.linalg,
        "torch.nn.Linear": torch.nn.Linear, "torch.nn.LayerNorm": torch.nn.LayerNorm,
        "torch.nn.init": torch.nn.init, "torch.autograd": torch.autograd,
        "torch.testing": torch.testing, "builtins": builtins, "math": math, "sys": sys,
    }  # fmt: skip
    before = {
        (owner, name): value
        for owner, module in owners.items()
        for name, value in vars(module).items()
        if callable(value) and not (owner == "builtins" and name == "_")
    }
    before.update(_checker_functions())

    def changed() -> str:
        owners_now = {**owners, **{k[0]: sys.modules[k[0]] for k in before if k[0] in sys.modules}}
        for (owner, name), value in before.items():
            if vars(owners_now[owner]).get(name) is not value:
                return f"{owner}.{name}"
        return ""

    return changed


def _checker_functions() -> dict[tuple[str, str], Any]:
    """The checker's own functions, by module and name."""
    return {
        (module_name, name): value
        for module_name, module in list(sys.modules.items())
        if module_name.startswith("vitrail.learn.")
        for name, value in vars(module).items()
        if callable(value)
    }
