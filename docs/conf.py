"""Settings of Sphinx for both languages of the book; docs/book.py calls it."""

import os
import re
import sys
from pathlib import Path
from typing import Any

from sphinx.search import languages

sys.path.insert(0, str(Path(os.environ["BOOK_DOCS"]).parent))

from docs import reference
from docs.chinese_search import ChineseSearch

languages["zh"] = ChineseSearch
LANGUAGE = os.environ["BOOK_LANGUAGE"]

project = "Vitrail"
language = {"en": "en", "zh": "zh_CN"}[LANGUAGE]
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["attrs_inline"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # notebooks were run by docs/notebooks.py
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the signature has them
napoleon_google_docstring = True
napoleon_use_ivar = True  # attributes of named tuples are indexed once
nitpicky = False
templates_path = [os.path.join(os.environ["BOOK_DOCS"], "theme")]
html_theme = "furo"
html_title = "Vitrail"
html_show_sphinx = False
html_show_copyright = False
html_static_path = [os.path.join(os.environ["BOOK_DOCS"], "theme", "static")]
html_js_files = ["scroll.js"]
html_favicon = os.path.join(os.environ["BOOK_DOCS"], "theme", "icon.svg")
html_copy_source = False
html_context = {
    "other_language": {"en": "zh", "zh": "en"}[LANGUAGE],
    "other_name": {"en": "中文", "zh": "English"}[LANGUAGE],
}
html_sidebars = {
    "**": [
        "sidebar/brand.html",
        "sidebar/language.html",
        "sidebar/search.html",
        "sidebar/scroll-start.html",
        "sidebar/navigation.html",
        "sidebar/scroll-end.html",
    ]
}
CHINESE_FONTS = '"PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", "Noto Sans SC"'
html_theme_options = {
    "light_css_variables": {"font-stack": f"system-ui, {CHINESE_FONTS}, sans-serif"},
    "dark_css_variables": {"font-stack": f"system-ui, {CHINESE_FONTS}, sans-serif"},
}

# In a shape, (B, C, *size), the star begins no emphasis.
STAR = re.compile(r"(?<![`\w*\\])\*(?=\w)")


def escape_stars(
    app: Any, what: str, name: str, value: object, options: object, lines: list[str]
) -> None:
    """Takes stars literally, but for those in examples."""
    lines[:] = [s if s.lstrip().startswith((">>>", "...")) else STAR.sub(r"\\*", s) for s in lines]


def translate(
    app: Any, what: str, name: str, value: object, options: object, lines: list[str]
) -> None:
    """Puts docstrings into Chinese, where a bracket does not end what is between backticks."""
    text = reference.translate("\n".join(lines))
    lines[:] = text.replace("`（", "`\\ （").splitlines()


def setup(app: Any) -> None:
    """Connects with Sphinx."""
    if LANGUAGE == "zh":
        app.connect("autodoc-process-docstring", translate, priority=100)  # before napoleon
    app.connect("autodoc-process-docstring", escape_stars)
