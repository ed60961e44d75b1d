"""Scripts that the pages do without."""

from __future__ import annotations

from types import SimpleNamespace

from wavemem.building.pages_extension import without_thebe


def test_every_script_of_thebe_goes_and_all_others_stay_in_order() -> None:
    ours = SimpleNamespace(filename="mathjax/tex-svg-full.js", attributes={})
    inline = SimpleNamespace(filename=None, attributes={"body": "var togglebuttonSelector = '.toggle';"})
    url = SimpleNamespace(filename=None, attributes={"body": "const THEBE_JS_URL = 'x'"})
    file = SimpleNamespace(filename="sphinx-thebe.js", attributes={})
    assert without_thebe([ours, url, inline, file, url, "design-tabs.js"]) == [ours, inline, "design-tabs.js"]
