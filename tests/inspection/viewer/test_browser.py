"""The page in a headless Chromium: what a reader sees, and what must not happen."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from matplotlib.image import imread
from toy_trajectories import MENDED, SHORT, SLOW, written

pytestmark = pytest.mark.browser
LEFT, RIGHT, UP, DOWN, HOME, END, TAB, SPACE = (
    "\ue012", "\ue014", "\ue013", "\ue015", "\ue011", "\ue010", "\ue004", " "
)  # fmt: skip
SHIFT = "\ue008"
HOSTILE = "</script><script>window.ran=1</script><img src=x onerror='window.ran=2'>"
OTHER = replace(SHORT, uid="again", question="once more", label="left to right")


def test_the_first_step_is_shown(show):
    page = show([SHORT, SLOW])
    assert page.one("#question").text == "say hello"
    assert page.tokens(0) == [".25", "you", ".50", ".50"]
    assert page.tokens(1) == ["good", ".20", ".30", ".40"]
    assert page.marked("new") == [1] and page.marked("forced") == []
    assert page.marked("eligible") == [0, 1] and page.marked("outside") == [2, 3]
    assert page.state() == "Step 1 of 3: 1 token committed, 3 of 4 masked"
    assert page.all(".summary")[0].text == (
        "✓ correct · 3 forwards · 0.67 tokens a forward · blocks of 2 · 1 forced"
    )
    assert page.all(".summary")[1].text.startswith("✗ wrong · 4 forwards · 1.00 tokens")


def test_keys_step_through_the_trajectory(show):
    page = show([SHORT, SLOW])
    page.press(RIGHT)
    assert page.tokens() == ["hello", "you", ".50", ".60"]
    assert page.marked("new") == page.marked("forced") == [0]
    assert page.state() == "Step 2 of 3: 1 token committed (1 forced), 2 of 4 masked"
    page.press(END)
    assert page.tokens(1) == ["good", "bye", "to", "you"]
    assert page.one("#step").get_property("value") == "4"
    page.press(LEFT)
    assert page.marked("new", 1) == [2]
    page.press(HOME)
    assert page.tokens() == [".25", "you", ".50", ".50"]


def test_what_a_corrector_changed_is_shown_as_it_was_with_its_forwards(show):
    page = show([MENDED, SHORT])
    assert page.tokens() == [".25", "me", ".50", ".50"]
    page.press(RIGHT)
    assert page.tokens() == ["hi", "1.0", ".50", ".60"]
    assert page.marked("back") == [1] and page.marked("rewritten") == []
    assert page.marked("new") == [0]
    assert page.state() == (
        "Step 2 of 3: 1 token committed (1 forced), 1 taken back by the corrector, 3 of 4 masked"
    )
    assert [line.text for line in page.all(".spent")] == [
        "Forwards of this step: 1 predictor, 2 corrector; so far: 2 predictor, 2 corrector",
        "",
    ]
    page.all(".tokens .cell")[1].click()
    assert page.all(".detail")[0].text.startswith(
        'position 1, masked, taken back by the corrector at step 2 (was "me"), confidence 1.000'
    )
    page.press(SHIFT, RIGHT)
    assert page.tokens() == ["hello", "you", "two", "end"]
    assert page.marked("rewritten") == [0] and page.marked("new") == [1, 2, 3]
    page.all(".tokens .cell")[0].click()
    assert page.all(".detail")[0].text.startswith(
        'position 0, "hello", rewritten by the corrector at step 3 (was "hi") with confidence 1.000'
    )
    assert len(page.all(".panel:first-child .order path[data-change]")) == 2
    lines = page.all(".panel:first-child .spending polyline")
    ends = [line.get_attribute("points").split()[-1] for line in lines]
    assert len(set(ends)) == 1  # three forwards of each kind
    assert not page.all(".panel:last-child .spending")[0].is_displayed()
    assert page.all(".summary")[0].text.startswith("✓ correct · 6 forwards · 3 steps · 0.50")
    assert page.complaints() == []


def test_the_slider_is_a_slider(show):
    page = show([SHORT, SLOW])
    page.one("#step").send_keys(RIGHT, RIGHT)
    assert page.state().startswith("Step 3 of 3")
    assert page.tokens()[2:] == ["end", "end"]
    page.one("#step").send_keys(HOME)
    assert page.state().startswith("Step 1 of 3")


def test_a_shorter_trajectory_waits_at_its_end(show):
    page = show([SHORT, SLOW])
    page.press(END)
    assert page.state(0) == "Step 3 of 3; finished: 2 tokens committed, 0 of 4 masked"
    assert page.state(1) == "Step 4 of 4: 1 token committed, 0 of 4 masked"


def test_sides_may_step_apart(show):
    page = show([SHORT, SLOW])
    page.one("#together").click()
    assert not page.one("#step").is_displayed()
    own = page.all(".own input")
    own[1].send_keys(RIGHT, RIGHT)
    assert page.state(0).startswith("Step 1") and page.state(1).startswith("Step 3")
    assert page.one("#play").is_displayed()
    own[0].send_keys(RIGHT)
    assert page.state(0).startswith("Step 2") and page.state(1).startswith("Step 3")
    page.one("#together").click()
    assert page.state(1).startswith("Step 2")


def test_play_goes_to_the_end_and_starts_again(show):
    from selenium.webdriver.support.ui import Select

    page = show([SHORT, SLOW])
    run = page.browser.execute_script
    # A clock that the test turns by hand.
    run("window.setInterval = (tick, wait) => { window.tick = tick; window.wait = wait; return 7 }")
    run("window.clearInterval = (timer) => { window.stopped = timer }")
    Select(page.one("#speed")).select_by_visible_text("fast")
    page.one("h1").click()
    page.press(SPACE)
    assert "pause" in page.one("#play").text and run("return window.wait") == 200
    for step in (2, 3, 4):
        assert run("return window.stopped") is None
        run("window.tick()")
        assert page.state(1).startswith(f"Step {step}")
    assert "play" in page.one("#play").text and run("return window.stopped") == 7
    page.press(SPACE)
    assert page.state(1).startswith("Step 1") and "pause" in page.one("#play").text
    page.press(SPACE)
    assert "play" in page.one("#play").text


def test_a_position_tells_its_numbers_on_both_sides(show):
    page = show([SHORT, SLOW])
    page.press(RIGHT)
    page.all(".tokens .cell")[0].click()
    left, right = (detail.text for detail in page.all(".detail"))
    assert left == 'position 0, "hello", forced at step 2 with confidence 0.400, probability 0.100'
    assert right.startswith('position 0, "good", committed at step 1 with confidence 0.100')
    page.press(RIGHT, RIGHT)
    assert page.all(".detail")[0].text == (
        "position 2, masked, confidence 0.500, probability 0.000, outside the current block"
    )
    page.press(SHIFT, RIGHT)
    assert page.state().startswith("Step 3")
    chosen = page.browser.switch_to.active_element
    assert chosen.get_attribute("aria-selected") == "true"
    assert chosen.get_attribute("aria-label").startswith('position 2, "<end>", committed')


def test_bars_are_the_probability_of_the_policy(show):
    page = show([SHORT])
    widths = [bar.get_attribute("style") for bar in page.all(".tokens .bar")]
    assert widths == ["width: 12.5%;", "width: 75%;", "width: 0px;", "width: 0px;"]


def test_problems_and_policies_are_chosen(show):
    from selenium.webdriver.support.ui import Select

    page = show([SHORT, SLOW, OTHER])
    lines = [option.text for option in Select(page.one("#problem")).options]
    assert lines == ["1 ✓✗ say hello", "2 \u2013✓ once more"]
    page.one("#next").click()
    assert page.one("#question").text == "once more"
    assert page.tokens(0) == [] and page.tokens(1)[1] == "you"
    page.one("#next").click()
    assert page.tokens(0)[1] == "you"
    Select(page.all(".who select")[0]).select_by_visible_text("left to right")
    assert page.tokens(0) == page.tokens(1) == ["good", ".20", ".30", ".40"]
    Select(page.all(".who select")[1]).select_by_visible_text("(none)")
    assert [tokens.is_displayed() for tokens in page.all(".tokens")] == [True, False]


def test_one_policy_stands_alone(show):
    page = show([SHORT])
    page.press(END)
    assert page.tokens() == ["hello", "you", "end", "end"]
    assert [tokens.is_displayed() for tokens in page.all(".tokens")] == [True, False]


def test_the_tab_key_reaches_everything(show):
    page = show([SHORT, SLOW])
    page.one("h1").click()
    reached = []
    for _ in range(14):
        page.press(TAB)
        focus = page.browser.switch_to.active_element
        reached.append(focus.get_attribute("id") or focus.get_attribute("class") or focus.tag_name)
    wanted = ["problem", "previous", "next", "play", "step", "together", "speed"]
    assert reached[: len(wanted)] == wanted
    assert reached[len(wanted) : len(wanted) + 4] == ["select", "cell", "select", "cell"]


def test_the_charts_show_steps_and_order(show):
    page = show([SHORT, SLOW])
    bars = page.all(".panel:first-child .pace rect:not(.hit)")
    heights = [float(bar.get_attribute("height")) for bar in bars]
    assert heights[0] == heights[1] == heights[2] / 2
    assert len(page.all(".panel:first-child .order circle")) == 3
    assert len(page.all(".panel:first-child .order path")) == 1  # the forced position
    page.all(".panel:first-child .pace .hit")[2].click()
    assert page.state().startswith("Step 3")


def test_text_of_models_stays_text_and_nothing_is_loaded(show):
    tokens = (HOSTILE, "a\nb", "<end>", "<end>")
    hostile = written(replace(SHORT, uid=HOSTILE, question=HOSTILE, answer=HOSTILE, tokens=tokens))
    page = show([hostile, replace(hostile, label=HOSTILE, dataset="")])
    page.press(END)
    page.all(".tokens .cell")[0].click()
    assert page.tokens()[:2] == [HOSTILE, "a⏎b"]
    assert page.one("#question").text == HOSTILE
    assert page.browser.execute_script("return window.ran") is None
    assert page.all("img") == [] and len(page.all("script")) == 2
    assert page.complaints() == []
    assert [url for url in page.requests() if not url.startswith("file:")] == []


def test_the_policy_of_the_page_stops_what_might_slip_through(show):
    page = show([SHORT])
    page.browser.execute_script(
        "const made = document.createElement('script'); made.textContent = 'window.ran = 3';"
        "document.body.append(made, Object.assign(new Image(), {src: 'https://example.org/x'}))"
    )
    assert page.browser.execute_script("return window.ran") is None
    stopped = [text for text in page.complaints() if "Content Security Policy" in text]
    assert len(stopped) == 2
    assert "script-src" in stopped[0] and "https://example.org/x" in stopped[1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1280, 800), (360, 740)])
def test_the_page_fits_and_has_contrast(show, scheme, width, height):
    page = show([SHORT, SLOW])
    page.resize(width, height)
    page.scheme(scheme)
    assert page.browser.execute_script("return document.documentElement.scrollWidth") <= width
    picture = imread(io.BytesIO(page.browser.get_screenshot_as_png()))
    assert picture.shape[:2] == (height, width)
    assert picture[..., :3].std() > 0.05
    assert (picture[..., :3].mean() > 0.5) == (scheme == "light")
    lefts, rights = (
        [token.rect for token in panel.find_elements("css selector", ".token")]
        for panel in page.all(".panel")
    )
    for left, right in zip(lefts, rights, strict=True):
        if width > 800:
            assert left["y"] == right["y"]  # equal positions stay side by side
        else:
            assert left["x"] == right["x"]
