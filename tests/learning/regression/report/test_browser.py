"""The report and the page of scores in Debian's chromium: nothing is cut off or loaded, and the buttons work."""

import csv
import itertools
import json
import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from PIL import Image

from learning.regression.model.predict import predict_quality
from learning.regression.train import train_regressor
from options.images import parse_prediction_options
from options.regressor import parse_regressor_options
from tests.images import photograph

pytestmark = pytest.mark.processes

WIDTHS = (390, 1280)

NAMES = (
    "'\"><script>window.hit = 1; x = '.png",
    "a' onmouseover='window.hit = 1' b=\".png",
    "<img src=x onerror=window.hit=1>.png",
    "100%25 #1?.png",
    "línea\n2 \u202egnp.png",
    "{{ 7 * 7 }} &amp; 図.png",
    "x" * 120 + ".png",
)

CUT_OFF = """
const width = document.documentElement.clientWidth;
return [...document.body.querySelectorAll("*")].filter((element) => {
  const {left, right} = element.getBoundingClientRect();
  return (left < 0 || right > width + 0.5) && !element.closest("table");
}).map((element) => element.outerHTML.slice(0, 100));
"""
"""The elements that reach beyond the page. A wide table has a scroll bar of its own."""


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    binary, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("no browser: install Debian's chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A folder with scores.html and report.html, as the scripts write them."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "in").mkdir()
    rng = np.random.default_rng(0)
    for index, name in enumerate(NAMES):
        Image.fromarray(photograph(120, 150, 40 * index)).save(folder / "in" / name)
    scored = ["--input", folder / "in", "--map", folder / "maps", "--output", folder / "scores.html", "-j", "0"]
    assert predict_quality(parse_prediction_options(list(map(str, scored)))) == 0
    names = [*NAMES, *(f"{index}.png" for index in range(60 - len(NAMES)))]
    features = rng.normal(size=(60, 4))
    mos = 40 + 12 * features[:, 0] + rng.normal(size=60)
    tables = {
        "features": (["image", *"abcd"], ([name, *row] for name, row in zip(names, features, strict=True))),
        "mos": (["image", "mos"], zip(names, mos, strict=True)),
    }
    for table, (header, rows) in tables.items():
        with open(folder / f"{table}.csv", "w", newline="") as file:
            csv.writer(file).writerows([header, *rows])
    fitted = {"features": "features.csv", "scores": "mos.csv", "images": "in", "output": "report.skops"}
    arguments = [part for name, file in fitted.items() for part in (f"--{name}", str(folder / file))]
    assert not train_regressor(parse_regressor_options([*arguments, "--n_splits", "3", "--n_bootstrap", "20"]))
    return folder


opened = itertools.count()


@pytest.fixture(params=WIDTHS)
def show(request, browser, pages):
    """Opens a page at one of the widths; afterwards, the page has reported no error and loaded nothing."""

    def open_page(name):
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": request.param, "height": 900, "deviceScaleFactor": 1, "mobile": request.param < 760},
        )
        # A busy browser may say that a page is loaded when it has read a part of it.
        url = f"{(pages / name).as_uri()}?{next(opened)}"
        browser.get(url)
        loaded = "return [document.URL, document.readyState]"
        wait = pytest.importorskip("selenium.webdriver.support.wait").WebDriverWait(browser, 60)
        wait.until(lambda _: browser.execute_script(loaded) == [url, "complete"], f"{url} is not loaded")
        return browser

    yield open_page
    assert browser.get_log("browser") == [] and not browser.execute_script("return window.hit")
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert asked and all(url.startswith(("data:", pages.as_uri())) and "/in/" not in url for url in asked)


def figures(browser, field):
    """The score or the name of each figure, in the order of the page."""
    return browser.execute_script(f'return [...document.querySelectorAll("figure")].map((one) => one.dataset.{field})')


def scores(browser):
    return list(map(float, figures(browser, "score")))


@pytest.mark.parametrize("name", ["scores.html", "report.html"])
def test_nothing_is_cut_off(show, name):
    browser = show(name)
    assert browser.execute_script("return document.documentElement.scrollWidth == document.documentElement.clientWidth")
    assert browser.execute_script(CUT_OFF) == []
    assert browser.execute_script("return [...document.images].every((image) => !image.complete || image.naturalWidth)")


def test_the_plots_can_be_read_and_the_scatter_has_one_scale(show):
    browser = show("report.html")
    sizes = browser.execute_script('return [...document.querySelectorAll("svg text, svg g[id^=text_]")].map('
                                   "(text) => text.getBoundingClientRect().height)")  # fmt: skip
    assert sizes and min(sizes) > 4
    frame = browser.execute_script('return document.querySelector("svg #patch_2").getBoundingClientRect()')
    assert frame["width"] == pytest.approx(frame["height"], rel=0.01)


def test_the_buttons_sort(show):
    browser = show("scores.html")
    best_first = scores(browser)
    assert best_first == sorted(best_first, reverse=True)
    browser.find_element("css selector", "[data-order=worst]").click()
    assert scores(browser) == best_first[::-1]
    browser.find_element("css selector", "[data-order=name]").click()
    assert sorted(scores(browser)) != scores(browser) != best_first
    assert sorted(Path(name).name for name in figures(browser, "name")) == sorted(NAMES)


def test_each_name_links_to_its_file(show):
    find_links = 'return [...document.querySelectorAll("figcaption a")].map((link) => link.href)'
    files = [Path(unquote(urlsplit(link).path)) for link in show("scores.html").execute_script(find_links)]
    assert sorted(file.name for file in files) == sorted(NAMES) and all(file.is_file() for file in files)


def test_a_map_covers_the_photograph_under_the_mouse(show):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.support.wait import WebDriverWait

    browser = show("scores.html")
    picture = browser.find_elements("css selector", ".picture")[1]
    shown = picture.find_element("css selector", ".map")
    assert shown.value_of_css_property("opacity") == "0"
    ActionChains(browser).move_to_element(picture).perform()
    WebDriverWait(browser, 20).until(lambda _: shown.value_of_css_property("opacity") == "1")


def test_ticked_names_are_copied(show):
    browser = show("scores.html")
    copy = browser.find_element("css selector", "#copy")
    assert not copy.is_enabled()
    ticks = browser.find_elements("css selector", "figure input")
    for tick in (ticks[0], ticks[2]):
        tick.click()
    assert "2" in copy.text
    copy.click()
    names = figures(browser, "name")
    browser.execute_cdp_cmd("Browser.grantPermissions", {"permissions": ["clipboardReadWrite"]})
    clipboard = browser.execute_async_script("navigator.clipboard.readText().then(arguments[0], arguments[0])")
    assert clipboard == f"{names[0]}\n{names[2]}"
