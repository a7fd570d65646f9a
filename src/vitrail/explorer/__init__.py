"""The explorer: a page that shows in a browser what a model sees, and the local server of it."""

from typing import TYPE_CHECKING

from vitrail.exports import lazy

if TYPE_CHECKING:
    from vitrail.explorer.documents import Explorer as Explorer
    from vitrail.explorer.export import export_page as export_page
    from vitrail.explorer.server import make_server as make_server

lazy(__name__)
