"""The page in a browser without a network: it is driven by the mouse and the keyboard, and looked at in two sizes."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from src.config.settings import ConfigChoices, Settings
from src.report import report
from tests.reporting.synthetic import NODES, SCHEDULES, cell, write
from tests.reporting.test_limits import probed

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
EXECUTABLE = next(filter(None, map(shutil.which, BROWSERS)), None)

pytestmark = pytest.mark.skipif(EXECUTABLE is None, reason=f"needs one of {', '.join(BROWSERS)}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Without a sandbox, since root may not start one; pages are only those that the tests write.
        started = playwright.chromium.launch(executable_path=EXECUTABLE, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report's page of 2 optimizers, 2 batch sizes, 3 lrs and 2 seeds; at lr 0.5 seed 1 diverged."""
    output = tmp_path_factory.mktemp("outputs")
    for optimizer, batch in product(("sgd", "adam"), (64, 256)):
        for lr, accuracy in ((0.5, 0.4), (0.05, 0.98), (0.0005, 0.97)):
            runs = cell(output, optimizer, batch, lr, [accuracy, None if lr == 0.5 else accuracy + 0.001])
            runs[0].write_error_figure(np.zeros((60, 120, 3), np.uint8))
    return report([f"output_dir={output}"])


@contextmanager
def opened(
    browser: Browser, written: Path, width: int = 1280, dark: bool = False, scripts: bool = True
) -> Iterator[Page]:
    """Open the page; afterwards, nothing may have been written to the console."""
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if dark else "light",
        offline=True,
        java_script_enabled=scripts,
    )
    page = context.new_page()
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.goto(written.as_uri())
    yield page
    assert messages == []
    context.close()


def draw_all(page: Page) -> None:
    """Scroll to all charts, which are drawn when they come into view."""
    for chart in page.locator(".chart").all():
        chart.scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('.chart:not(.drawn)') === null")


def test_the_first_screen_answers_and_shows_the_grid(browser: Browser, written: Path) -> None:
    with opened(browser, written) as page:
        answers = page.locator(".answer .is")
        assert answers.all_text_contents() == [
            "sgd 0.05, adam 0.05",
            "sgd or adam (cannot be told apart)",
            "64 or 256 (cannot be told apart)",
        ]
        last = page.locator(".map").last.bounding_box()
        assert last
        assert last["y"] + last["height"] < 900
        numbers = pd.read_csv(written.parent / "cells.csv").set_index(["optimizer", "batch_size", "lr"])
        for link in page.locator(".map a").all():
            optimizer, batch, lr = (
                str(link.get_attribute("data-cell")).replace("batch ", "").replace("lr ", "").split(", ")
            )
            tile = link.locator(".tile:visible")
            assert (
                float(str(tile.get_attribute("data-value"))) == numbers.test_accuracy[optimizer, int(batch), float(lr)]
            )


def test_controls_choose_split_seed_optimizers_and_batch_sizes(browser: Browser, written: Path) -> None:
    with opened(browser, written) as page:
        first = page.locator(".map a").first
        assert first.locator(".tile:visible").get_attribute("data-split") == "test"
        page.get_by_label("train").check()
        assert first.locator(".tile:visible").get_attribute("data-split") == "train"
        page.get_by_role("combobox", name="seed").select_option("1")
        assert page.locator('.map a[data-cell="sgd, batch 64, lr 0.05"] .tile:visible').text_content() == "98.10"
        page.get_by_role("checkbox", name="sgd").uncheck()
        assert page.locator(".panel:visible h4").all_text_contents() == ["adam"]
        page.get_by_role("checkbox", name="256").uncheck()
        assert page.locator(".map:visible tbody tr:visible").count() == 1
        chart = page.locator('.chart[data-spec="by_lr"]')
        chart.scroll_into_view_if_needed()
        chart.get_by_text("adam", exact=True).wait_for()
        assert chart.get_by_text("sgd", exact=True).count() == 0
        page.get_by_role("checkbox", name="sgd").check()
        chart.get_by_text("sgd", exact=True).wait_for()


def test_a_cell_tells_its_figures_and_opens_its_curves(browser: Browser, written: Path) -> None:
    with opened(browser, written) as page:
        link = page.locator('.map a[data-cell="adam, batch 64, lr 0.5"]')
        link.hover()
        tip = str(page.locator("#tip").text_content())
        assert tip.splitlines() == [
            "adam, batch 64, lr 0.5",
            "train / test: 25 [10.0 to 40.0] / 25 [10.0 to 40.0] (n=2), 1 of 2 diverged",
            "2 runs, seeds 0, 1",
        ]
        link.focus()
        page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog")
        dialog.locator("svg.marks").wait_for()
        assert dialog.locator("h3").text_content() == "adam, batch 64, lr 0.5"
        assert dialog.locator("tbody tr").count() == 2
        assert dialog.locator("img.errors").evaluate("image => image.naturalWidth") == 120
        dialog.get_by_role("combobox", name="up").select_option("error rate")
        page.keyboard.press("Escape")
        assert not dialog.is_visible()


def test_charts_have_tooltips_and_menus(browser: Browser, written: Path) -> None:
    with opened(browser, written) as page:
        draw_all(page)
        chart = page.locator('.chart[data-spec="by_lr"]')
        chart.locator(".mark-symbol path").last.hover()
        page.locator("#vg-tooltip-element.visible").wait_for()
        assert "adam, batch 256" in str(page.locator("#vg-tooltip-element").text_content())
        curves = page.locator('.chart[data-spec="best"]')
        labels = curves.locator("svg .role-axis-label text")
        before = labels.all_text_contents()
        curves.get_by_role("combobox", name="across").select_option("updates")
        labels.filter(has_text="200").first.wait_for()  # 10 updates in each of 20 epochs
        assert before != labels.all_text_contents()


def test_tables_are_sorted_and_filtered(browser: Browser, written: Path) -> None:
    with opened(browser, written) as page:
        page.get_by_text("Pairwise comparisons").click()
        table = page.locator("details", has_text="Pairwise").locator("table")
        rows = table.locator("tbody tr:visible")
        assert rows.count() == 6
        page.locator("details", has_text="Pairwise").get_by_role("searchbox").fill("sgd, batch 256")
        assert rows.count() == 3
        table.get_by_role("columnheader", name="difference").click()
        assert table.locator('th[aria-sort="ascending"]').count() == 1
        values = [float(text.split()[0]) for text in table.locator("tbody td:nth-child(4)").all_text_contents()]
        assert values == sorted(values)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_is_cut_off_and_texts_contrast(width: int, scheme: str, browser: Browser, written: Path) -> None:
    with opened(browser, written, width, scheme == "dark") as page:
        draw_all(page)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        contrasts = page.evaluate(CONTRASTS)
        assert len(contrasts) > 100
        assert {text: ratio for text, ratio in contrasts if ratio < 4.5} == {}


# The contrast of each visible text with the background behind it, by WCAG 2.
CONTRASTS = """
() => {
  const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = colour => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const linear = byte => byte <= 10 ? byte / 255 / 12.92 : ((byte / 255 + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const behind = element => {
    for (; element; element = element.parentElement) {
      const colour = rgba(getComputedStyle(element).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255];
  };
  const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim(), element = walker.currentNode.parentElement;
    const hidden = !element.checkVisibility() || ["SCRIPT", "NOSCRIPT", "OPTION"].includes(element.tagName);
    const style = getComputedStyle(element), colour = element.closest("svg") ? style.fill : style.color;
    if (!text || hidden || colour !== style.color) continue; // the labels of lines have the lines' colours
    const [a, b] = [luminance(rgba(colour)), luminance(behind(element))];
    found.push([text, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)]);
  }
  return found;
}
"""


HOSTILE = """"\'&<img src=x onerror=alert(1)>"""
SCRIPT = "</script><script>alert(1)</script>"


def test_other_shapes_of_data_are_drawn_without_an_error(browser: Browser, tmp_path: Path) -> None:
    """A search, networks of two sizes, a single cell, runs that all diverged, and a hostile name."""
    for number in range(12):
        cell(tmp_path, "sgd", 32 + number, 0.001 * 1.5**number, [0.9 + number / 200], name=HOSTILE if number else "")
    for width in (4, 8):
        model = {"_target_": "mine.Net", "width": width, "kind": SCRIPT}
        for seed in range(2):
            settings = Settings("kmnist", 0, "half", model, NODES["sgd"], SCHEDULES["constant"], 0.1, 64, 3, seed)
            write(tmp_path, settings, ConfigChoices("net", "sgd", "constant"), 0.9)
    cell(tmp_path, "sgd", 64, 0.05, [0.9], data="fashion_mnist")
    for lr in (0.5, 5.0):
        cell(tmp_path, "sgd", 64, lr, [None, None], epochs=5)
    written = report([f"output_dir={tmp_path}"])
    with opened(browser, written) as page:
        for summary in page.locator("details > summary").all():
            summary.evaluate("summary => { summary.parentElement.open = true; }")
        draw_all(page)
        assert page.locator('.chart[data-spec="scatter"]').count() == 2
        search = page.locator('section[id^="section"]', has=page.locator('.chart[data-spec="scatter"]')).first
        points = search.locator('.chart[data-spec="scatter"] .mark-symbol path')
        assert points.count() == 12 * 4  # order, optimizer, batch size, lr
        search.get_by_role("checkbox", name="32").uncheck()
        page.wait_for_function("([chart, n]) => chart.querySelectorAll('.mark-symbol path').length === n", arg=[
            search.locator('.chart[data-spec="scatter"]').element_handle(), 11 * 4,
        ])  # fmt: skip
        points.first.click()
        page.get_by_role("dialog").locator("svg.marks").wait_for()
        page.keyboard.press("Escape")
        assert page.locator(".is", has_text="90.00").count() >= 1  # the single cell's accuracy


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_limits_are_mapped(scheme: str, browser: Browser, tmp_path: Path) -> None:
    for optimizer, batch in product(("sgd", "adam"), (64, 256)):
        for lr, accuracies in ((0.5, [0.4, None]), (0.05, [0.98, 0.98])):
            runs = cell(tmp_path, optimizer, batch, lr, accuracies)
            for run, critical in zip(runs, (lr * 100, lr / 100), strict=True):  # the darkest colours
                probed(run, critical, noise=50.0 * batch, squared=1.0, sharpness=1.0, stability_limit=lr)
    with opened(browser, report([f"output_dir={tmp_path}"]), dark=scheme == "dark") as page:
        maps = page.locator(".panel:has(td.share)")
        assert maps.locator("h4").all_text_contents() == [
            f"{optimizer}: {title}"
            for optimizer in ("sgd", "adam")
            for title in ("lr / critical lr", "batch size / noise scale", "sharpness / stability limit")
        ]
        assert maps.nth(0).locator("td.share").all_text_contents() == ["100", "100\N{MULTIPLICATION SIGN}"] * 2
        assert maps.nth(0).locator("td.lost").count() == 2
        assert {text: ratio for text, ratio in page.evaluate(CONTRASTS) if ratio < 4.5} == {}
        assert page.evaluate("document.documentElement.scrollWidth") <= 1280
        page.locator("input[value='64']").uncheck()
        assert maps.nth(0).locator("td.share:visible").count() == 2


def test_without_scripts_the_figures_are_shown(browser: Browser, written: Path) -> None:
    with opened(browser, written, scripts=False) as page:
        assert page.locator(".still svg").count() == 5
        box = page.locator(".still svg").first.bounding_box()
        assert box
        assert box["width"] > 800
        assert page.locator(".controls").is_hidden()
        assert not page.locator(".chart").first.is_visible()


def test_the_page_runs_its_own_scripts_and_loads_nothing(browser: Browser, written: Path, tmp_path: Path) -> None:
    """What a record's text might smuggle in is neither run nor fetched."""
    smuggled = (
        '<img src="https://example.org/x.png" onerror="window.ran = 1"><script>window.ran = 2</script>'
        '<iframe srcdoc="<script>parent.ran = 3</script>"></iframe><body onload="window.ran = 4">'
    )
    page_file = tmp_path / "index.html"
    page_file.write_text(written.read_text(encoding="utf-8").replace("<header>", f"<header>{smuggled}"), "utf-8")
    failures: list[str | None] = []
    context = browser.new_context()
    page = context.new_page()
    page.on("requestfailed", lambda request: failures.append(request.failure))
    page.goto(page_file.as_uri())
    draw_all(page)  # by its own scripts
    assert page.evaluate("window.ran") is None
    assert failures == ["csp"]  # not that there is no network
    context.close()
