"""The page in a browser: it paints at every width, its script runs, and nothing sticks out at the side."""

import html
import io
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from fasthash.report import write_page

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDTHS = {"phone": 390, "laptop": 1280, "wide": 1920}
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip
# A frame can be narrower than the browser's smallest window.
MEASURE = """<!doctype html><title></title>
<iframe style="border:0;height:900px;width:{width}px" srcdoc="{page}"></iframe>
<script>
document.querySelector("iframe").onload = (event) => {{
  const view = event.target.contentWindow, page = view.document;
  const over = (e) => e.getBoundingClientRect().right > view.innerWidth + 1 && !e.closest(".scroll, .unseen, .store");
  const out = [...page.querySelectorAll("body *")].filter(over);
  document.title = JSON.stringify([view.innerWidth, page.documentElement.scrollWidth, out.map((e) => e.outerHTML)]);
}};
</script>"""
CLICK = """<script>
document.querySelector('[data-choice=bits] input[value="16"]').click();
document.querySelector('[data-choice=method] input[value="dcmh"]').click();
document.querySelectorAll("table.scores thead button")[2].click();
</script>"""

pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs chromium or google-chrome on PATH")


@pytest.fixture
def browse(tmp_path):
    """Run the browser headless on a file with a fresh profile; its standard output."""

    def run(path, *flags):
        command = [BROWSER, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", *flags, path.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout

    return run


@pytest.fixture
def page_file(make_page, tmp_path):
    return write_page(make_page((16, 64)), tmp_path / "page.html")


def with_script(path, script):
    """A copy that runs one more script than the page's own policy would allow."""
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", path.read_text("utf-8"))
    copy = path.with_name("more.html")
    copy.write_text(text.replace("</body>", script + "</body>"), "utf-8")
    return copy


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS.values(), ids=list(WIDTHS))
def test_paints(page_file, browse, tmp_path, width, dark):
    shot = tmp_path / "shot.png"
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    browse(page_file, f"--screenshot={shot}", f"--window-size={width},1000", scheme)
    pixels = np.asarray(Image.open(io.BytesIO(shot.read_bytes())).convert("RGB"), int)
    assert pixels.shape == (1000, width, 3)
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50  # letters, lines, pictures
    assert (pixels[5, 5].mean() < 60) == dark


@pytest.mark.parametrize("width", WIDTHS.values(), ids=list(WIDTHS))
def test_nothing_sticks_out(page_file, browse, width):
    frame = page_file.with_name("frame.html")
    page = html.escape(with_script(page_file, "").read_text("utf-8"))
    frame.write_text(MEASURE.format(width=width, page=page), "utf-8")
    title = re.search("<title>(.*?)</title>", browse(frame, "--dump-dom", "--window-size=2000,1000"))[1]
    assert html.unescape(title) == f"[{width},{width},[]]"


def test_script_runs_under_the_pages_policy(page_file, browse, read_html):
    root = read_html(browse(page_file, "--dump-dom"))
    assert root.find_all("html")[0].attrs["data-ready"] == "yes"
    assert not [field for field in root.find_all("fieldset") if "hidden" in field.attrs]
    shown = [
        part.attrs["data-bits"] for part in root.walk() if "data-bits" in part.attrs and "hidden" not in part.attrs
    ]
    hidden = [part.attrs["data-bits"] for part in root.walk() if "data-bits" in part.attrs and "hidden" in part.attrs]
    assert (set(shown), set(hidden)) == ({"64"}, {"16"})
    assert len(shown) == len(hidden) == 4 + 1 + 2  # answers, curve panels, training runs


def test_choices_and_sorting(page_file, browse, read_html):
    root = read_html(browse(with_script(page_file, CLICK), "--dump-dom"))
    answers = [a for a in root.find_all("section", "answer") if "hidden" not in a.attrs]
    assert [(a.attrs["data-method"], a.attrs["data-bits"]) for a in answers] == [("dcmh", "16")] * 2
    assert [p.attrs["data-bits"] for p in root.find_all("div", "panel") if "hidden" not in p.attrs] == ["16"]
    (table,) = root.find_all("table", "scores")
    values = [row.find_all("td", "score")[0].text() for row in table.find_all("tbody")[0].find_all("tr")]
    assert values == sorted(values, reverse=True)
    assert [head.attrs.get("aria-sort") for head in table.find_all("thead")[0].find_all("th")][2] == "descending"


def test_choices_stay_in_step(page_file, browse, read_html):
    checked = '[...document.querySelectorAll("[data-choice=bits] input:checked")].map((input) => input.value)'
    script = f"{CLICK}<script>document.title = {checked}</script>"
    root = read_html(browse(with_script(page_file, script), "--dump-dom"))
    assert root.find_all("title")[0].text() == "16,16,16"


def test_searches_of_one_length_stay_when_others_are_chosen(make_page, tmp_path, browse, read_html):
    one = make_page((64,))
    path = write_page(make_page((16, 64), queries=one.queries, histories=one.histories), tmp_path / "page.html")
    click = """<script>document.querySelector('[data-choice=bits] input[value="16"]').click()</script>"""
    root = read_html(browse(with_script(path, click), "--dump-dom"))
    shown = [part for part in root.walk() if "data-bits" in part.attrs and "hidden" not in part.attrs]
    assert [part.attrs["data-bits"] for part in shown if "panel" in part.kinds] == ["16"]
    assert [part.attrs["data-bits"] for part in shown if "panel" not in part.kinds] == ["64"] * (4 + 2)
