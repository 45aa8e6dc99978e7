"""The page in a real browser: what it shows is what the API answers, and it does no harm."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

from cluster.serving.access.keys import append_key, make_key
from helpers.page_site import FILMS, HOSTILE_ID, HOSTILE_TITLE, POSTER_ID, Site, make_live, make_workspace, serving
from semrec.changes.overlay import ItemChange
from semrec.changes.state import Update
from semrec.data import ItemRow
from semrec.online.process import ContentEncoders, Processed, ReceivedFile
from semrec.workspace.folder import Workspace

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
if not (CHROMIUM and DRIVER):
    pytest.skip(
        "NOT TESTED: the page, because chromium or chromedriver is missing (apt-get install chromium chromium-driver)",
        allow_module_level=True,
    )
webdriver = pytest.importorskip("selenium.webdriver", reason="NOT TESTED: the page, because selenium is missing")
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

DESKTOP, PHONE = (1440, 900, False), (390, 844, True)
NUM_ITEMS = len(FILMS) + 1
MAP_EDGE = 26  # pixels between the map's outermost points and its border: map-camera.js
USER = "viewer-0000003"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return make_workspace(str(tmp_path_factory.mktemp("page") / "w"))


@pytest.fixture(scope="module")
def live(workspace: Workspace) -> Any:
    return make_live(workspace)


@pytest.fixture(scope="module")
def site(live: Any) -> Iterator[Site]:
    with serving(live) as site:
        yield site


class Page:
    """A browser on the page; waits for what is looked for."""

    def __init__(self, driver: Any) -> None:
        self.driver, self.wait = driver, WebDriverWait(driver, 15, poll_frequency=0.05)

    def open(self, url: str) -> Page:
        self.driver.get(url)
        return self.settled()

    def settled(self) -> Page:
        """Once a list stands, or a problem."""
        self.wait.until(
            lambda d: self.js("return document.querySelector('#cards').getAttribute('aria-busy') === 'false'")
        )
        return self

    def js(self, script: str, *args: Any) -> Any:
        return self.driver.execute_script(script, *args)

    def all(self, selector: str) -> list[Any]:
        return list(self.driver.find_elements("css selector", selector))

    def one(self, selector: str) -> Any:
        self.wait.until(lambda d: self.all(selector))
        return self.all(selector)[0]

    def texts(self, selector: str) -> list[str]:
        """Also of what is not in sight."""
        found: list[str] = self.js(
            "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)", selector
        )
        return found

    def until(self, what: Any) -> None:
        self.wait.until(lambda d: what())

    @property
    def ids(self) -> list[str]:
        found: list[str] = self.js("return [...document.querySelectorAll('#cards .card')].map(e => e.dataset.item)")
        return found

    def resize(self, width: int, height: int, mobile: bool) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": mobile})


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    arguments += ["--disable-component-update", "--disable-sync", "--enable-unsafe-swiftshader"]
    for argument in [*arguments, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"]:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser: Any, site: Site) -> Iterator[Page]:
    """A fresh tab's state; at the end nothing has failed and nothing else was asked than this site."""
    page = Page(browser)
    page.resize(*DESKTOP)
    for log in ("browser", "performance"):
        browser.get_log(log)
    yield page
    wrong = [line["message"] for line in browser.get_log("browser") if "GPU stall" not in line["message"]]
    shown = ("status of 4", "status of 501")  # what the API refuses is shown by the page
    assert [line for line in wrong if not any(status in line for status in shown)] == []
    asked = {url for url in _requests(browser) if not url.startswith(("data:", "blob:", "about:", "chrome:"))}
    assert {url for url in asked if not url.startswith("http://127.0.0.1:")} == set()


def _requests(browser: Any) -> list[str]:
    events = [json.loads(line["message"])["message"] for line in browser.get_log("performance")]
    return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]


def test_a_search_shows_cards_with_the_titles_that_the_api_gave(page: Page, site: Site) -> None:
    page.open(site.url)
    page.one("#query").send_keys("a lonely robot", Keys.ENTER)
    page.until(lambda: page.texts("#heading") == ["“a lonely robot”"])
    expected = site.post("v1/search", {"text": "a lonely robot", "k": 24})
    page.until(lambda: page.ids == [item["item_id"] for item in expected["items"]])
    assert page.texts("#cards .title") == [item["title"] for item in expected["items"]]
    assert "WALL-E (2008)" in page.texts("#cards .title")[:3]
    assert page.texts("#release") == [expected["release"]] and page.texts("#overlay") == ["0"]


def test_an_image_dropped_on_the_search_box_shows_what_is_like_it(
    page: Page, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop = """
        const files = new DataTransfer();
        const data = new Uint8Array([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 255]);
        files.items.add(new File([data], "poster.png", {type: "image/png"}));
        document.querySelector("#query").dispatchEvent(
            new DragEvent("drop", {dataTransfer: files, bubbles: true, cancelable: true}));
    """
    page.open(site.url).js(drop)
    page.until(lambda: page.texts("#heading") == ["This catalogue cannot be searched by that"])
    (found,) = site.post("v1/process", {"contents": [{"text": "a lonely robot"}], "k": 24})["contents"]
    like = Processed("text", {}, np.array(found["vector"], np.float32))
    received: list[ReceivedFile] = []
    monkeypatch.setattr(ContentEncoders, "process", lambda self, release, file: received.append(file) or like)
    page.js(drop)
    page.until(lambda: page.texts("#heading") == ["Like poster.png"])
    page.until(lambda: page.ids == [item["item_id"] for item in found["answer"]["items"]])
    assert received == [ReceivedFile(b"\x89PNG\r\n\xff")]


def test_an_item_with_a_picture_shows_it_and_the_others_their_jackets(page: Page, site: Site) -> None:
    assert site.get("v1/models")["has_images"]
    page.open(site.url)
    page.one("#query").send_keys("a lonely robot", Keys.ENTER)
    page.until(lambda: page.all(".poster"))
    shown = page.js("return [...document.querySelectorAll('.poster')].map(e => e.closest('.card').dataset.item)")
    assert shown == [POSTER_ID]
    assert page.js("const [p] = document.querySelectorAll('.poster'); return [p.naturalWidth, p.naturalHeight]") == [
        320,
        480,
    ]


def test_titles_are_offered_while_typing_and_open_their_item(page: Page, site: Site) -> None:
    page.open(site.url)
    page.one("#query").send_keys("toy sto")
    page.until(
        lambda: (
            page.texts("#suggestions li")
            == [f"Toy Story{n}" for n in (" (1995)", " 2 (1999)", " 3 (2010)", " 4 (2019)")]
        )
    )
    page.one("#query").send_keys(Keys.ARROW_DOWN, Keys.ENTER)
    assert page.one("#item[open]").get_attribute("data-item") == "toy-story-1995"
    expected = site.get("v1/items/toy-story-1995/similar?k=6")["items"]
    page.until(lambda: page.texts(".alike button span:first-child") == [item["title"] for item in expected])
    page.one("#item").send_keys(Keys.ESCAPE)
    page.until(lambda: not page.all("#item[open]"))


def test_a_viewers_list_is_the_apis_and_says_why(page: Page, site: Site) -> None:
    expected = site.get(f"v1/users/{USER}/recommendations?k=24&explain=true")
    page.open(f"{site.url}/?user={USER}")
    assert page.ids == [item["item_id"] for item in expected["items"]]
    title_of = {i["item_id"]: i["title"] for i in site.get("v1/map/items?rows=" + _rows(NUM_ITEMS))["items"]}
    best = expected["explain"]["items"][0]["parts"]
    names = [title_of[part["name"]].rpartition(" (")[0] for part in best[:2]]
    assert page.texts("#cards .because")[0] == f"Because of {names[0]} and {names[1]}"
    page.one("#cards .open").click()
    shown = [float(text) for text in page.texts("#item .breakdown .number")]
    assert shown[: len(best)] == [round(part["contribution"], 3) for part in best]
    assert sum(shown) == pytest.approx(expected["items"][0]["score"], abs=0.004)
    liked, entity = (expected["explain"]["items"][0]["reason"][0][name] for name in ("start", "end"))
    predicate = entity.partition("=")[0]
    assert page.texts("#item .way") == [f"{title_of[liked]} → {entity.replace('=', ' ')} ({predicate}) → this"]


def test_a_taste_shows_the_list_of_one_of_its_viewers(page: Page, site: Site) -> None:
    archetypes = site.get("v1/archetypes")["archetypes"]
    page.open(site.url)
    page.one("#tastes:not([hidden])")
    shown = [f"{archetype['name']} {archetype['share']:.0%}".replace("%", " %") for archetype in archetypes]
    assert page.texts("#tastes .taste") == shown and len(shown) == 3
    page.one("#tastes .taste").click()
    viewer = archetypes[0]["user_ids"][0]
    expected = [item["item_id"] for item in site.get(f"v1/users/{viewer}/recommendations?k=24")["items"]]
    page.until(lambda: page.ids == expected)
    assert page.all("#tastes[hidden]") and page.js("return document.querySelector('#user').value") == viewer


def test_an_item_that_is_not_shown_has_a_reason(page: Page, site: Site) -> None:
    page.open(f"{site.url}/?user={USER}&k=5")
    for title, item_id in (("Shrek (2001)", "shrek-2001"), ("The Godfather (1972)", "the-godfather-1972")):
        why = site.get(f"v1/users/{USER}/recommendations?k=5&why={item_id}")["why"]
        page.one("#query").clear()
        page.one("#query").send_keys(title)
        page.until(lambda title=title: title in page.texts("#suggestions li"))  # type: ignore[misc]
        page.one("#query").send_keys(Keys.ARROW_DOWN, Keys.ENTER)
        said = page.one(f"#item[open][data-item='{item_id}'] .why-not")
        assert said.get_attribute("data-reason") == why["reason"]
        assert why["detail"] in said.text
        page.one("#item .close").click()


def test_an_items_relations_are_a_picture_that_leads_on(page: Page, site: Site) -> None:
    page.open(f"{site.url}/?user={USER}&k=5")
    item_id = page.ids[0]
    related = site.get(f"v1/items/{quote(item_id, safe='')}/related?k=6")["items"]
    page.one("#cards .open").click()
    page.until(lambda: page.all(f"#item[open][data-item='{item_id}'] .neighbourhood"))
    shown = page.js("return [...document.querySelectorAll('.neighbourhood .other')].map(e => e.dataset.item)")
    assert shown == [one["item_id"] for one in related]
    on_the_way = {edge["end"].partition("=")[2] for one in related for edge in one["path"][:-1]}
    assert on_the_way <= set(page.texts(".neighbourhood .node:not(.other) > title"))
    pairs = {(edge["start"], edge["end"]) for one in related for edge in one["path"]}
    assert len(page.all(".neighbourhood line")) == len(pairs)
    page.js("arguments[0].focus()", page.all(".neighbourhood .other")[1])
    page.driver.switch_to.active_element.send_keys(Keys.ENTER)
    page.until(lambda: page.all(f"#item[open][data-item='{related[1]['item_id']}'] .neighbourhood"))


def test_filters_change_the_list_and_come_back_with_the_address(page: Page, site: Site) -> None:
    page.open(f"{site.url}/?user={USER}")
    before = page.ids
    page.one("#controls summary").click()
    page.js("arguments[0].click()", page.one("#filters input[name=genre][value=Comedy]"))
    page.one("#filters input[name=year-from]").send_keys("1990", Keys.TAB)
    expected = site.get(f"v1/users/{USER}/recommendations?k=24&genre=Comedy&year_min=1990")["items"]
    page.until(lambda: page.ids == [item["item_id"] for item in expected])
    assert page.ids != before and all("Comedy" in kinds for kinds in page.texts("#cards .kinds"))
    page.js("const d = document.querySelector('#diversity'); d.value = 0.6; d.dispatchEvent(new Event('change'))")
    diverse = site.get(f"v1/users/{USER}/recommendations?k=24&genre=Comedy&year_min=1990&diversity=0.6")["items"]
    page.until(lambda: page.ids == [item["item_id"] for item in diverse])
    page.driver.refresh()
    page.settled()
    assert page.ids == [item["item_id"] for item in diverse]
    assert "Comedy" in page.texts("#active")[0] and "60 %" in page.texts("#active")[0]


def test_more_like_this_and_back(page: Page, site: Site) -> None:
    page.open(f"{site.url}/?user={USER}")
    before = page.ids
    page.js("arguments[0].click()", page.one("#cards .similar"))
    expected = site.get(f"v1/items/{before[0]}/similar?k=24")["items"]
    page.until(lambda: page.ids == [item["item_id"] for item in expected])
    page.driver.back()
    page.until(lambda: page.ids == before)


def test_what_one_likes_makes_a_list(page: Page, site: Site) -> None:
    page.open(f"{site.url}/?similar=alien-1979")
    liked = page.ids[:2]
    for heart in page.all("#cards .like")[:2]:
        page.js("arguments[0].click()", heart)
    page.one("#for-you").click()
    expected = site.post("v1/recommendations", {"liked": liked, "k": 24})["items"]
    page.until(lambda: page.ids == [item["item_id"] for item in expected])
    page.js("sessionStorage.clear()")


def test_an_unknown_viewer_gets_what_is_popular_and_is_told(page: Page, site: Site) -> None:
    page.open(f"{site.url}/?user=nobody%20%3Cb%3E")
    assert page.texts("#subline") == ["Nothing is known of nobody <b> yet: this is what is popular with everyone."]
    assert page.one("#cards").get_attribute("data-source") == "popularity" and len(page.ids) == 24


def test_the_map_has_every_item_and_a_click_opens_one(page: Page, site: Site) -> None:
    page.open(f"{site.url}/?user={USER}")
    box = page.one("#map[data-points]")
    assert int(box.get_attribute("data-points")) == NUM_ITEMS
    page.until(lambda: box.get_attribute("data-marks") == "24")
    places, head = _map(site)
    gaps = np.linalg.norm(places[:, None] - places[None], axis=2) + 9 * np.eye(len(places))
    row = int(gaps.min(axis=1).argmax())  # far from all others, so that no other can be meant
    item = site.get(f"v1/map/items?rows={row}")["items"][0]
    canvas = page.one("#map .marks")
    ActionChains(page.driver).move_to_element_with_offset(canvas, *_from_centre(canvas, places[row])).click().perform()
    page.until(lambda: page.all("#item[open]"))
    assert page.one("#item").get_attribute("data-item") == item["item_id"]
    assert [v["value"] for v in head["legend"]["values"]] + ["other"] == page.texts("#legend button")


def test_deleted_items_are_not_on_the_map_and_new_ones_are_offered(
    page: Page, site: Site, workspace: Workspace
) -> None:
    places, _ = _map(site)
    gaps = np.sort(np.linalg.norm(places[:, None] - places[None], axis=2), axis=1)[:, 1]
    deleted, standing = map(int, gaps.argsort()[[-1, -2]])  # the two that are the farthest from all others
    live = make_live(workspace)
    vector = np.ones(live.now.served.dimension, np.float32)
    new = ItemRow("brand-new", "Brand New (2026)", "A film of tomorrow.")
    gone = ItemChange.deletion(live.now.served.items.ids[deleted])
    changes = [replace(change, sequence=n + 1) for n, change in enumerate([gone, ItemChange.put(new, vector)])]
    live.state.apply(Update(changes))
    live.refresh()
    with serving(live) as changed:
        page.open(changed.url)
        page.until(lambda: page.texts("#map-note")[0].startswith(f"{NUM_ITEMS - 1} items"))
        canvas = page.one("#map .marks")
        cursors = []
        for row in (standing, deleted):
            dx, dy = _from_centre(canvas, places[row])
            ActionChains(page.driver).move_to_element_with_offset(canvas, dx, dy).perform()
            cursors.append(page.js("return arguments[0].style.cursor", canvas))
        assert cursors == ["pointer", "grab"]
        page.one("#query").send_keys("brand new")
        page.until(lambda: page.texts("#suggestions li") == ["Brand New (2026)"])
        page.one("#query").send_keys(Keys.ARROW_DOWN, Keys.ENTER)
        page.one("#item[open] .acts button:nth-child(2)").click()
        page.until(lambda: page.texts("#map .map-state") == ["This item is newer than the map."])


def test_the_map_is_drawn_and_zooms_by_wheel_and_keys(page: Page, site: Site) -> None:
    page.open(f"{site.url}/?user={USER}")
    page.until(lambda: page.one("#map").get_attribute("data-marks") == "24")
    first = page.driver.find_element("id", "map").screenshot_as_png
    canvas = page.one("#map .marks")
    canvas.send_keys("+", "+", Keys.ARROW_LEFT)
    page.until(lambda: page.driver.find_element("id", "map").screenshot_as_png != first)
    page.js("document.activeElement.blur()")
    canvas.send_keys("0", Keys.ENTER)  # the whole again; Enter opens what is nearest to the middle
    assert page.one("#item[open]").get_attribute("data-item")


def test_markup_in_ids_titles_and_attributes_is_text(page: Page, site: Site) -> None:
    page.open(f"{site.url}/?similar={quote(HOSTILE_ID)}")
    assert page.texts("#heading") == [f"More like {HOSTILE_TITLE}"]
    page.one("#query").send_keys("<img src=x")
    page.until(lambda: page.texts("#suggestions li") == [HOSTILE_TITLE])
    page.one("#query").send_keys(Keys.ARROW_DOWN, Keys.ENTER)
    assert page.one("#item[open] h2").get_attribute("textContent") == HOSTILE_TITLE
    assert page.one("#item .cover-title").get_attribute("textContent") == HOSTILE_TITLE.removesuffix(" (2001)")
    assert "<script>" in page.one("#item .fact-list").text
    assert page.all("img") == [] and len(page.all("script")) == 1
    page.one("#item .acts button").click()
    page.until(
        lambda: (
            page.ids == [i["item_id"] for i in site.get(f"v1/items/{quote(HOSTILE_ID, safe='')}/similar?k=24")["items"]]
        )
    )


def test_a_refusal_is_said_in_words(page: Page, site: Site) -> None:
    page.open(f"{site.url}/?similar=no-such-film")
    assert page.texts("#heading") == ["That is not here"]
    assert "no item 'no-such-film'" in page.texts("#notice")[0] and page.all("#notice button")
    page.open(f"{site.url}/?user={USER}&f.genre=Western&f.maturity=G")
    assert page.ids == [] and page.texts("#notice") == ["Nothing passes these filters. Take one away."]


@pytest.mark.parametrize(
    "query",
    ["f.__proto__=x", "f.constructor=y", "r.__proto__=1..2", "f.toString=a&f.toString=b", "r.year=1990..&f.year=1995"],
)
def test_names_that_every_object_has_are_attributes_like_any_other(page: Page, site: Site, query: str) -> None:
    page.open(f"{site.url}/?{query}")
    assert page.ids or any(page.texts("#notice"))


def test_on_a_phone_nothing_sticks_out_and_fingers_find_the_buttons(page: Page, site: Site) -> None:
    page.resize(*PHONE)
    page.open(f"{site.url}/?user={USER}")
    page.one("#map[data-points]")
    assert page.js("return document.documentElement.scrollWidth") == PHONE[0]
    lefts = page.js("return [...document.querySelectorAll('.card')].map(e => e.getBoundingClientRect().left)")
    assert len(set(lefts)) == 1  # one column
    page.one("#controls summary").click()
    small = page.js(
        "return [...document.querySelectorAll('button, input:not([type=checkbox]), .chips span, summary, .to-map')]"
        ".filter(e => e.offsetParent).filter(e => e.getBoundingClientRect().height < 44).map(e => e.outerHTML)"
    )
    assert small == []
    page.one("#cards .open").click()
    assert page.one("#item[open]").rect["width"] <= PHONE[0]
    assert page.js("return document.documentElement.scrollWidth") == PHONE[0]


def test_a_key_is_asked_for_and_kept_in_the_tab(page: Page, live: Any, tmp_path: Path) -> None:
    stored, key = _key(tmp_path)
    with serving(live, stored, key) as site:
        page.driver.get(site.url)
        page.one("#key[open] input").send_keys("wrong", Keys.ENTER)
        page.until(lambda: "not accepted" in "".join(page.texts("#key[open] #key-reason")))
        page.one("#key[open] input").send_keys(key, Keys.ENTER)
        page.until(lambda: len(page.ids) == 24)
        assert page.js("return [localStorage.length, sessionStorage.length, document.cookie]") == [0, 1, ""]
        page.driver.refresh()
        page.settled()
        assert len(page.ids) == 24 and not page.all("#key[open]")
        page.open(f"{site.url}/?user={USER}")
        page.until(lambda: "may not be told what viewers have seen" in "".join(page.texts("#notice")))
        assert len(page.ids) == 24 and not page.all(".because")


def test_only_the_pages_files_are_answered_and_tags_save_a_download(site: Site) -> None:
    from http.client import HTTPConnection

    def ask(path: str, **headers: str) -> Any:
        connection = HTTPConnection(site.url.removeprefix("http://"), timeout=10)
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        answer.read()
        return answer

    for path in ("/page/preview.png", "/page/..%2fkeys.py", "/page/%2e%2e/keys.py", "/page/", "/page/no.js"):
        assert ask(path).status == 404, path
    for path in ("/", "/page/main.js", "/v1/map"):
        first = ask(path)
        assert ask(path, **{"If-None-Match": first.headers["ETag"]}).status == 304
        assert first.headers["X-Content-Type-Options"] == "nosniff"
    assert ask("/").headers["Content-Security-Policy"].startswith("default-src 'self';")
    assert ask("/v1/map/items?rows=" + _rows(501)).status == 422
    assert ask("/v1/map/items?rows=1;2").status == 422


def _rows(count: int) -> str:
    return ",".join(map(str, range(count)))


def _from_centre(canvas: Any, place: np.ndarray) -> tuple[int, int]:
    """Pixels from the middle of the map to a point of it."""
    size = np.array([canvas.size["width"], canvas.size["height"]])
    dx, dy = (place - 0.5) * (size - 2 * MAP_EDGE)
    return round(dx), round(dy)


def _map(site: Site) -> tuple[np.ndarray, dict[str, Any]]:
    """Positions, [N, 2] from 0 to 1 with y downwards, and the head of the map."""
    raw = site.raw("v1/map")
    length = int.from_bytes(raw[4:8], "little")
    head = json.loads(raw[8 : 8 + length])
    axes = np.frombuffer(raw, "<u2", 2 * head["num_points"], 8 + length).reshape(2, -1) / 65535
    assert len(raw) == 8 + length + 5 * head["num_points"]
    return np.stack([axes[0], 1 - axes[1]], axis=1), head


def _key(folder: Path) -> tuple[str, str]:
    path = str(folder / "keys.jsonl")
    secret, stored = make_key("page", ["read"])
    append_key(path, stored)
    return path, secret
