"""The page on parts of one's own: its files pass their check, and its commands run."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import picture
from tests.pages import ROOT, blocks
from vitrail import plugins
from vitrail.cli.main import main
from vitrail.registry import REGISTRIES

PAGES = ("docs/en/your_own.md", "docs/zh/your_own.md")
ORDERED = re.compile(r"```(python|bash)\n(.*?)```", re.DOTALL)


@pytest.mark.pages
def test_the_page_works_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plugins, "PLUGINS", {})
    monkeypatch.setattr(sys, "path", [*sys.path])
    picture().save(tmp_path / "cat.jpg")
    files = commands = 0
    for language, code in ORDERED.findall((ROOT / PAGES[0]).read_text("utf-8")):
        for registry in REGISTRIES.values():
            registry.own.clear()
        if name := re.match(r"# (my_\w+\.py)\n", code):
            (tmp_path / name[1]).write_text(code, "utf-8")
            files += 1
        elif language == "python":
            if "saliency" in code:
                plugins.load_plugin("my_model.py")
            exec(compile(code, PAGES[0], "exec"), {})
        for line in code.splitlines() if language == "bash" else ():
            for registry in REGISTRIES.values():
                registry.own.clear()
            monkeypatch.setattr("sys.argv", shlex.split(line))
            try:
                main()
                status: object = 0
            except SystemExit as stop:
                status = stop.code
            output = capsys.readouterr()
            assert not status, f"{line}\n{output.out}\n{output.err}"
            commands += 1
    assert (files, commands) == (7, 14)
    assert (tmp_path / "saliency.png").is_file()
    for module in [m for m in sys.modules if m.startswith("my_")]:
        del sys.modules[module]


@pytest.mark.parametrize("language", ["python", "bash", "toml"])
def test_both_languages_have_the_same_code(language: str) -> None:
    english, chinese = (blocks(page, language) for page in PAGES)
    strip = [re.sub(r'\s*#.*|""".*?"""', "", "\n".join(b)) for b in (english, chinese)]
    assert strip[0] == strip[1]
