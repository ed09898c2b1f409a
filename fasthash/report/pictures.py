"""Pictures of a page: each different one once, small, as a data URI."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field

SIDE = 144  # pixels: sharp at the page's 72 on a screen with two device pixels to one of CSS
SMALL_SIDE = 96  # where many stand side by side, 48 wide
_SMALL = 12_000  # bytes; a PNG within this and within SIDE is kept as it is
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Picture:
    """One embedded picture; `width` and `height` in pixels."""

    name: str
    uri: str
    width: int
    height: int


@dataclass
class Pictures:
    """Collects the pictures of a page, no side above `side`, and names them p0, p1, ... in the order they come."""

    side: int = SIDE
    found: dict[bytes, Picture] = field(default_factory=dict)

    def add(self, picture: bytes | None) -> Picture | None:
        """The embedded form of a PNG or JPEG file; the same bytes give the same one."""
        if picture is None:
            return None
        if picture not in self.found:
            kind, data, (width, height) = thumbnail(picture, self.side)
            uri = f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
            self.found[picture] = Picture(f"p{len(self.found)}", uri, width, height)
        return self.found[picture]

    def all(self) -> list[Picture]:
        return list(self.found.values())


def thumbnail(picture: bytes, side: int = SIDE) -> tuple[str, bytes, tuple[int, int]]:
    """A small copy of a PNG or JPEG file.

    Returns:
        ("png" or "jpeg", bytes, (width, height)), neither side above `side`. Pictures with transparency become PNG,
        others the shorter of PNG and JPEG.
    Raises:
        ValueError: the bytes cannot be read as a picture.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise RuntimeError("the pictures of a report need the package pillow: pip install 'fasthash[report]'") from None
    try:
        with Image.open(io.BytesIO(picture), formats=("PNG", "JPEG")) as image:
            image.load()
            if picture.startswith(_PNG) and max(image.size) <= side and len(picture) <= _SMALL:
                return "png", picture, image.size
            seen = image.convert("RGBA" if image.has_transparency_data else "RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"thumbnail: picture must be a readable PNG or JPEG file, got {len(picture)} bytes: {reason}"
        ) from None
    seen.thumbnail((side, side))
    options = [("png", _encode(seen, "PNG", optimize=True))]
    if seen.mode == "RGB":
        options.append(("jpeg", _encode(seen, "JPEG", quality=82)))
    kind, data = min(options, key=lambda option: len(option[1]))
    return kind, data, seen.size


def _encode(image: object, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=form, **options)  # type: ignore[attr-defined]
    return buffer.getvalue()
