"""The animation of the hidden state in a browser: keys, buttons and slider, its pace, paper, and no JavaScript."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Browser, Page

from wavemem.plotting.animation import animate

S, N, STEPS = 4, 20, 12


def opened(browser: Browser, shown: dict[str, Any], **options: object) -> tuple[Page, list[str]]:
    """A page that holds nothing but the animation; what goes wrong there and what it asks for."""
    page = browser.new_context(**options).new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: faults.append(request.url))
    page.set_content(f"<!doctype html><meta charset=utf-8><body>{animate(**shown).html}</body>")
    return page, faults


def step(page: Page) -> int:
    return int(page.locator(".wm-anim-slide").input_value())


def test_keys_buttons_and_slider_step(browser: Browser, ring) -> None:
    page, faults = opened(browser, ring)
    assert step(page) == S
    page.get_by_role("button", name="Step on").click()
    assert step(page) == S + 1
    page.get_by_role("button", name="Step back").focus()
    for key, reached in (("ArrowLeft", S), ("End", STEPS), ("ArrowRight", STEPS), ("Home", 1)):
        page.keyboard.press(key)
        assert step(page) == reached
    page.locator(".wm-anim-slide").focus()
    page.keyboard.press("ArrowRight")
    assert step(page) == 2
    assert page.locator(".wm-anim-status").inner_text().startswith("Step 2 of 12")
    assert page.locator(".wm-anim-slide").get_attribute("aria-valuetext").startswith("Step 2 of 12")
    assert not faults


def test_colours_follow_the_content(browser: Browser, ring) -> None:
    page, _ = opened(browser, ring)
    for target in (1, 7):
        page.evaluate("k => {const s=document.querySelector('.wm-anim-slide');s.value=k;s.oninput()}", target)
        drawn = page.eval_on_selector_all("rect", "cells => cells.map(c => c.getAttribute('class'))")[N:]
        wanted = ["x" if v.isnan() else "n" if v < 0 else "p" for v in ring["content"][target - 1].ravel()]
        assert [name.removeprefix("wm-c ") for name in drawn] == wanted


def test_plays_pauses_and_stops_at_the_end(browser: Browser, ring) -> None:
    page, faults = opened(browser, ring)
    assert page.locator(".wm-anim-play").inner_text() == "Play"
    before = step(page)
    page.wait_for_timeout(500)
    assert step(page) == before, "nothing moves by itself"
    page.locator(".wm-anim-play").click()
    page.wait_for_function(f"document.querySelector('.wm-anim-slide').value > {before}")
    page.get_by_role("button", name="Pause").click()
    held = step(page)
    page.wait_for_timeout(500)
    assert step(page) == held
    page.evaluate("k => {const s=document.querySelector('.wm-anim-slide');s.value=k;s.oninput()}", STEPS - 1)
    page.locator(".wm-anim-play").click()
    page.wait_for_function(f"document.querySelector('.wm-anim-slide').value == {STEPS}")
    page.wait_for_function("document.querySelector('.wm-anim-play').textContent == 'Play'")
    assert not faults


def test_reduced_motion_does_without_fading(browser: Browser, ring) -> None:
    for motion, expected in (("reduce", "0s"), ("no-preference", "0.15s")):
        page, _ = opened(browser, ring, reduced_motion=motion)
        assert page.eval_on_selector("rect", "c => getComputedStyle(c).transitionDuration") == expected


def test_narrow_screens_and_paper(browser: Browser, ring) -> None:
    page, _ = opened(browser, ring, viewport={"width": 360, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.emulate_media(media="print")
    assert not page.locator(".wm-anim-controls").is_visible()
    assert page.locator("svg").first.is_visible()


def test_without_javascript_one_step_is_drawn(browser: Browser, ring) -> None:
    page, _ = opened(browser, ring, java_script_enabled=False)
    assert page.locator("svg").nth(1).is_visible()
    assert not page.locator(".wm-anim-controls").is_visible()
