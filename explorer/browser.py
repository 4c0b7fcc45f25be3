"""A headless Chromium without a network of its own, for the tests of the explorer's page and its pictures in the documentation."""

import shutil

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

DESKTOP, PHONE = (1280, 900), (390, 844)


def start(chromium=None, driver=None):
    """The browser, Debian's by default; it keeps what its console and its network say."""
    options = Options()
    options.binary_location = chromium or shutil.which("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--force-color-profile=srgb",
                     "--disable-background-networking", "--disable-component-update", "--no-first-run", "--no-default-browser-check"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=Service(driver or shutil.which("chromedriver")))


def look_as(browser, size, dark=False):
    """Gives the page a width and a height in CSS pixels and a preference of colours."""
    width, height = size
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]})


def open_page(browser, page, fragment=""):
    """Opens a page written by `ropewalk explore`, from nothing, and waits until it has drawn itself."""
    browser.get("about:blank")
    browser.get(page.as_uri() + fragment)
    WebDriverWait(browser, 30, 0.02).until(lambda one: one.execute_script(
        "return document.documentElement.dataset.ready === 'true' || !document.getElementById('error').hidden"))


def settle(browser):
    """Waits until what was asked of the page is on the screen."""
    browser.execute_async_script("const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done()))")
