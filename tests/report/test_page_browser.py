"""The pages in a browser: they paint at every width, nothing sticks out, and what can be clicked does what it says."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image
from sweep_cases import make_sweep

from fasthash.report import write_comparison, write_page
from fasthash.report.sweep_page import write_sweep

playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright: pip install playwright")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDTHS = {"phone": 360, "tablet": 820, "laptop": 1440}
# what reaches beyond the right edge, other than what lies in a box of its own that scrolls
STICKS_OUT = """() => [...document.querySelectorAll("body *")].filter((e) =>
  e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".scroll, .unseen, .store, [hidden]"))
  .map((e) => e.outerHTML.slice(0, 200))"""

pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs chromium or google-chrome on PATH")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        flags = ["--no-sandbox", "--disable-gpu"]
        opened = driver.chromium.launch(executable_path=BROWSER, args=flags)
        yield opened
        opened.close()


@pytest.fixture
def visit(browser):
    """Open a file at a width and theme; the page must say nothing on the console and ask for nothing but itself."""
    contexts, said, asked = [], [], []

    def open_page(path, width=1280, **more):
        view = {"width": width, "height": 1000}
        context = browser.new_context(viewport=view, reduced_motion="reduce", **more)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        return page

    yield open_page
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def demo_file(make_page, folder):
    return write_page(make_page((16, 64)), folder / "page.html")


@pytest.fixture(scope="module")
def run_file(make_run_page, folder):
    return write_page(make_run_page(), folder / "run.html")


@pytest.fixture(scope="module")
def comparison_file(make_comparison, folder):
    return write_comparison(make_comparison(), folder / "comparison.html")


@pytest.fixture(scope="module")
def sweep_file(folder):
    return write_sweep(make_sweep(), folder / "sweep.html")


@pytest.fixture(params=["demo_file", "run_file", "comparison_file", "sweep_file"])
def any_file(request):
    return request.getfixturevalue(request.param)


def shown(page, selector):
    """The elements that can be seen."""
    return [one for one in page.locator(selector).all() if one.is_visible()]


@pytest.mark.parametrize("width", WIDTHS.values(), ids=list(WIDTHS))
def test_paints_and_nothing_sticks_out(any_file, visit, width):
    page = visit(any_file, width)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        pixels = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"), int)
        assert pixels.shape == (1000, width, 3)
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50  # letters, lines, pictures
        assert (pixels[5, 5].mean() < 60) == (scheme == "dark")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(STICKS_OUT) == []


def test_what_can_be_touched_is_large_enough(any_file, visit):
    page = visit(any_file, 360, has_touch=True)
    small = (
        "(all) => all.filter((e) => e.offsetParent).map((e) => e.getBoundingClientRect().height).filter((h) => h < 24)"
    )
    # WCAG 2.2, 2.5.8: at least 24 by 24 pixels
    assert page.locator(".choice label, .legend button, summary, nav a").evaluate_all(small) == []


def test_scripts_run_under_the_pages_policy(any_file, visit):
    page = visit(any_file)
    assert page.evaluate("({...document.documentElement.dataset})") == {"ready": "yes", "charts": "yes"}
    assert page.locator("fieldset[hidden]").count() == 0


def test_without_scripts_everything_is_there(run_file, visit):
    page = visit(run_file, java_script_enabled=False)
    assert len(shown(page, "article.query")) == 6
    assert len(shown(page, ".panel")) == 4
    assert len(shown(page, "#categories table")) == 2
    assert page.locator("button").count() == 0


def test_a_table_sorts_by_click_and_by_key(run_file, visit):
    page = visit(run_file)
    page.locator("label", has_text="articleType (40)").click()
    table = page.locator("#categories table").nth(1)
    heads = table.locator("thead button")

    def column(place):
        return [float(key) for key in table.locator(f"tbody tr > :nth-child({place})").evaluate_all(
            "(cells) => cells.map((cell) => cell.dataset.key)")]  # fmt: skip

    heads.nth(2).click()  # scores from the top
    assert column(3) == sorted(column(3), reverse=True)
    assert table.locator("[aria-sort]").evaluate_all("(all) => all.map((e) => [e.innerText.trim(), e.ariaSort])") == [
        ["Image → text", "descending"]
    ]
    heads.nth(2).press("Enter")
    assert column(3) == sorted(column(3))
    heads.nth(1).press("Space")  # numbers of queries from the least
    assert column(2) == sorted(column(2))
    assert table.locator("[aria-sort]").get_attribute("aria-sort") == "ascending"


def test_a_legend_hides_and_shows_its_line_in_both_directions(run_file, visit):
    page = visit(run_file)
    entry = page.locator("#curves .panel:visible .legend button", has_text="dcmh")
    lines = page.locator("#curves .panel:visible g[data-series='0']:not(.direct-label)")
    assert (entry.count(), lines.count()) == (2, 2)
    entry.first.click()
    assert entry.evaluate_all("(all) => all.map((e) => e.ariaPressed)") == ["false", "false"]
    assert [line.is_visible() for line in lines.all()] == [False, False]
    assert page.locator("#curves .panel:visible .direct-label").count() == 4
    assert len(shown(page, "#curves .panel:visible .direct-label")) == 2
    entry.last.press("Enter")
    assert [line.is_visible() for line in lines.all()] == [True, True]


def test_directions_and_groups_are_chosen_from(run_file, visit):
    page = visit(run_file)

    def seen():
        return [one.inner_text() for one in shown(page, "article.query h3")]

    assert seen() == ["Drawn at random image"]
    page.locator("#searches label", has_text="Text → image").click()
    assert seen() == ["“Drawn at random text”"]
    page.locator("#searches label", has_text="Worst").click()
    assert seen() == ["“Worst text”"]
    page.get_by_role("radio", name="Image → text").press("Space")
    assert seen() == ["Worst image"]


def test_kinds_of_curves_are_chosen_from(run_file, visit):
    page = visit(run_file)
    assert [panel.get_attribute("data-kind") for panel in shown(page, ".panel")] == ["radius"]
    page.locator("label", has_text="Precision@N").click()
    assert [panel.get_attribute("data-kind") for panel in shown(page, ".panel")] == ["precision"]


def test_a_chart_tells_its_values(run_file, visit):
    page = visit(run_file)
    chart = page.locator("#curves .panel:visible .chart").first
    figure, tip = chart.locator("svg.figure"), chart.locator(".tip")
    assert not tip.is_visible()
    figure.focus()
    page.keyboard.press("Home")
    assert tip.inner_text().split() == ["Recall", "0.0500", "dcmh", "0.960", "random", "codes", "0.100"]
    page.keyboard.press("End")
    assert tip.inner_text().split() == ["Recall", "1", "dcmh", "0.200", "random", "codes", "0.100"]
    page.keyboard.press("Escape")
    assert not tip.is_visible()
    box = figure.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    words = tip.inner_text().split()
    recall, precision = float(words[1]), float(words[3])
    assert precision == pytest.approx(1 - 0.8 * recall, abs=1e-3)
    page.mouse.move(1, 1)
    assert not tip.is_visible()


def test_choices_of_length_and_method_stay_in_step(demo_file, visit):
    page = visit(demo_file)
    parts = page.locator("[data-bits]")
    before = [one.get_attribute("data-bits") for one in parts.all() if one.get_attribute("hidden") is None]
    assert before == ["64"] * (4 + 1 + 2)  # answers, curve panels, training runs
    page.locator("#searches label", has_text="16").click()
    page.locator("#searches label", has_text="dcmh").click()
    chosen = page.locator("[data-choice=bits] input:checked")
    assert chosen.evaluate_all("(all) => all.map((input) => input.value)") == ["16", "16", "16"]
    answers = [(a.get_attribute("data-method"), a.get_attribute("data-bits")) for a in shown(page, ".answer")]
    assert answers == [("dcmh", "16")] * 2


def test_searches_of_one_length_stay_when_others_are_chosen(make_page, tmp_path, visit):
    one = make_page((64,))
    path = write_page(make_page((16, 64), queries=one.queries, histories=one.histories), tmp_path / "page.html")
    page = visit(path)
    page.locator("#curves label", has_text="16").click()
    assert [panel.get_attribute("data-bits") for panel in shown(page, ".panel")] == ["16"]
    assert [part.get_attribute("data-bits") for part in shown(page, ".answer, figure.run")] == ["64"] * (4 + 2)


def test_a_comparison_sorts_and_toggles(comparison_file, visit):
    page = visit(comparison_file)
    table = page.locator("table.grid.sortable").nth(1)
    names = table.locator("tbody th[scope=row]")
    table.locator("thead button", has_text="text → image").last.click()
    first = [name.get_attribute("data-key") for name in names.all()]
    assert first == ["ridge", "dcmh", "djsrh", "lost"]
    table.locator("thead button", has_text="Method").click()
    assert [name.get_attribute("data-key") for name in names.all()] == sorted(first)
    article = page.locator("article.part").first
    article.locator(".legend button", has_text="djsrh").click()
    assert not article.locator("svg g[data-series='1']").first.is_visible()
    page.locator("#data-0-categories label", has_text="Text → image").first.click()
    assert len(shown(page, "#data-0-categories table")) == 1
    assert [panel.get_attribute("data-bits") for panel in shown(page, ".panel")] == ["64"]


@pytest.mark.parametrize("width", [360, 1440])
def test_searches_of_a_comparison_are_chosen_from(comparison_file, visit, width):
    page = visit(comparison_file, width)
    part = page.locator("#data-0-searches")

    def seen():
        return [one.inner_text() for one in part.locator("article.query h3").all() if one.is_visible()]

    assert seen() == ["Drawn at random image"]
    part.locator("label", has_text="Worst").click()
    page.locator("#data-0-categories label", has_text="Text → image").first.click()  # the page's directions go together
    assert seen() == ["“Worst text”"]
    answers = [one for one in part.locator(".answer").all() if one.is_visible()]
    assert [one.get_attribute("data-method") for one in answers] == ["dcmh", "djsrh"]
    left, right = (one.bounding_box() for one in answers)
    assert (left["y"] == right["y"]) == (width > 1000), "side by side where there is room"
    part.locator("label", has_text="djsrh").click()
    assert [one.is_visible() for one in answers] == [False, True]
