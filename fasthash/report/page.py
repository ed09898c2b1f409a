"""One self-contained HTML page from a `Page`: nothing is loaded from anywhere, and it opens from a file."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fasthash._files import replace_file
from fasthash.report.content import Page
from fasthash.report.theme import DARK, LIGHT, css_variables
from fasthash.report.view import context


def write_page(page: Page, path: str | os.PathLike[str]) -> Path:
    """Render the page and write it, whole or not at all.

    Args:
        page: what to show.
        path: the file to write; its folder is made when missing, an older file is replaced.
    Returns:
        The path written.
    Raises:
        ValueError: `path` is a folder, or a picture cannot be read.
        OSError: the folder or the file cannot be written.
        RuntimeError: matplotlib, jinja2 or pillow is missing; names the extra to install.
    """
    return write_whole(path, render_page(page).encode("utf-8"), "write_page")


def render_page(page: Page) -> str:
    """The page as HTML. The same page gives the same text, to the byte."""
    if not isinstance(page, Page):
        raise TypeError(f"render_page: page must be a Page, got {type(page).__name__}")
    return render("page.html.j2", context(page))


def render(template: str, values: dict[str, Any], *, more_styles: Sequence[str] = ()) -> str:
    """A page of the frame that all pages share.

    Args:
        template: file beside this one.
        values: its variables.
        more_styles: style sheets of this kind of page, files beside this one.
    """
    sheets = [_source(name) for name in ("page.css", "figures.css", *more_styles)]
    script = "\n".join(_source(name) for name in ("page.js", "chart.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    return str(
        _template(template).render(
            **values,
            style="\n".join(sheets),
            script=script,
            script_digest=digest,  # the page's policy lets this one script run and no other, whatever a caption says
            light=css_variables(LIGHT),
            dark=css_variables(DARK),
        )
    )


def _source(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8").strip()


def _template(name: str) -> Any:
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError:
        raise RuntimeError("the page of a report needs the package jinja2: pip install 'fasthash[report]'") from None
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(name)


def write_whole(path: str | os.PathLike[str], data: bytes, op: str) -> Path:
    """Write a page, whole or not at all, for the public function ``op``; its folder is made when missing."""
    target = Path(path)
    if target.is_dir():
        raise ValueError(f"{op}: path must be a file, got the folder {str(target)!r}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise OSError(f"{op}: {str(target.parent)!r} must be a folder, but a file of that name is in the way") from None
    replace_file(target, lambda beside: beside.write_bytes(data))
    return target
