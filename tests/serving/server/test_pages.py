"""The pages in a real browser: a user's history, the ranking, attention as colour, by keyboard and
on a telephone."""

import os
import shutil

import pytest
from server_process import Server

pytestmark = pytest.mark.slow
webdriver = pytest.importorskip("selenium.webdriver")

from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

WAIT = 30  # seconds


@pytest.fixture(scope="module")
def browser():
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("there is no chromium (Debian: apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--lang=en"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    made = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield made
    made.quit()


@pytest.fixture(scope="module")
def page(browser, bundle):
    """The page, with a server of its own behind it."""
    with Server(bundle) as server:
        page = Page(browser, server)
        yield page


class Page:
    """What a person does with /ui."""

    def __init__(self, browser, server):
        self.browser = browser
        self.server = server

    def open(self, path="/ui", width=1200):
        self.browser.set_window_size(width, 900)
        self.browser.get(f"http://127.0.0.1:{self.server.port}{path}")
        if path == "/ui":
            self.until(lambda: len(self.ranked()) == 12)
        return self

    def until(self, fine):
        WebDriverWait(self.browser, WAIT).until(lambda _: fine())

    def find(self, selector):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector):
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def ranked(self):
        return self.script("return [...document.querySelectorAll('.row')].map(e => e.dataset.item)")

    def colours(self):
        rows = "[...document.querySelectorAll('#events li')]"
        return self.script(f"return {rows}.map(e => e.style.backgroundColor)")

    def weights(self):
        rows = "[...document.querySelectorAll('#events .weight')]"
        return self.script(f"return {rows}.map(e => Number(e.textContent))")

    def script(self, source):
        return self.browser.execute_script(source)

    def picture(self, name):
        """Kept if somebody wants to look: PICTURES names a folder."""
        if os.environ.get("PICTURES"):
            self.browser.save_screenshot(os.path.join(os.environ["PICTURES"], f"{name}.png"))

    def complaints(self):
        return [line["message"] for line in self.browser.get_log("browser")]


def test_a_user_a_history_and_a_ranking(page):
    page.open()
    user = page.find("#user").get_attribute("value")
    _, found = page.server.ask("GET", f"/history?user={user}")
    items = [e["item"] for e in found["events"]]
    shown = [e.text.split("\n")[0] for e in page.all("#events .what")]
    assert shown == items[::-1] != []
    request = {"user": user, "history": found["events"], "candidates": page.ranked()}
    request["history"] = [{"item": e["item"], "time": e["time"]} for e in found["events"]]
    _, answer = page.server.ask("POST", "/rank?explain=1", request)
    assert page.ranked() == [c["item"] for c in answer["candidates"]]
    weights = answer["candidates"][0]["attention"]
    assert page.weights() == pytest.approx(weights[::-1], abs=1e-4)
    page.picture("ui")
    assert page.complaints() == []


def test_another_candidate_colours_the_history_anew(page):
    page.open()
    before = page.colours()
    page.all(".row")[5].click()
    page.until(lambda: page.all(".row")[5].get_attribute("aria-pressed") == "true")
    after = page.colours()
    assert before != after and len(set(after)) > 1
    pressed = [row.get_attribute("aria-pressed") for row in page.all(".row")]
    assert pressed.count("true") == 1


def test_a_changed_history_moves_the_ranking(page):
    page.open()
    before = page.ranked()
    number = len(page.all("#events li"))
    for item in ("i3", "i17", "i40", "i41"):
        page.find("#event").send_keys(item, Keys.ENTER)
        number += 1
        page.until(lambda n=number: len(page.all("#events li")) == n)
    page.until(lambda: "not stored" in page.find("#history-hint").text)
    while len(page.all("#events li")) > 2:
        number = len(page.all("#events li"))
        page.all("#events .remove")[-1].click()
        page.until(lambda n=number: len(page.all("#events li")) == n - 1)
    page.until(lambda: page.ranked() != before)
    assert sorted(page.ranked()) == sorted(before)
    assert page.all(".moved")
    page.picture("changed")
    assert page.complaints() == []


def test_a_candidate_that_nobody_knows(page):
    page.open()
    page.find("#candidate").send_keys("<img src=x onerror=alert(1)>", Keys.ENTER)
    page.until(lambda: len(page.ranked()) == 13)
    assert "<img src=x onerror=alert(1)>" in page.ranked()
    assert not page.all("#ranked img") and page.complaints() == []


def test_by_keyboard_alone(page):
    page.open()
    seen = []
    for _ in range(60):
        page.browser.switch_to.active_element.send_keys(Keys.TAB)
        active = page.browser.switch_to.active_element
        item = active.get_attribute("data-item")
        if item:
            assert active.get_attribute("aria-pressed") == "true"
            seen.append(item)
    assert seen[:12] == page.ranked()
    outline = page.script("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"


def test_chinese(page):
    page.open()
    page.find("#language").click()
    page.until(lambda: "候选商品" in page.find("#ranked-title").text)
    assert page.script("return document.documentElement.lang") == "zh"
    page.picture("chinese")
    page.open()  # it stays so
    assert "历史行为" in page.find("#history-title").text
    page.find("#language").click()
    page.until(lambda: "Candidates" in page.find("#ranked-title").text)


@pytest.mark.parametrize("path", ["/ui", "/docs"])
def test_a_telephone(page, path):
    page.browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True},
    )
    page.open(path)
    page.until(lambda: page.all("details, .row"))
    wide = page.script("return document.documentElement.scrollWidth")
    assert wide <= 360
    page.picture(f"telephone-{path.strip('/')}")
    page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_page_of_the_api(page):
    page.open("/docs")
    page.until(lambda: page.all("#paths details"))
    page.find("#paths button").click()
    page.until(lambda: page.find(".output").text.startswith("200"))
    assert '"place": 1' in page.find(".output").text
    assert page.find("h1").text == "din on small"
    page.picture("docs")
    assert page.complaints() == []


def test_a_token(browser, bundle):
    with Server(bundle, "--token", "secret") as server:
        page = Page(browser, server)
        page.browser.get(f"http://127.0.0.1:{server.port}/ui")
        page.until(lambda: "Authorization" in page.find("#error").text)
        page.find("#token").send_keys("secret", Keys.TAB)
        page.until(lambda: len(page.ranked()) == 12)
        assert not page.find("#error").is_displayed()
