"""What the tests of the explorer's page share: a checkpoint, measurements, and what they ask of the page."""

from __future__ import annotations

import csv
import io
import json
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]

# 64 pairs, trained on 4 096 tokens.
LLAMA = {"model_type": "llama", "hidden_size": 4096, "num_attention_heads": 32, "num_hidden_layers": 4, "max_position_embeddings": 4096, "rope_theta": 10000.0}

EVALUATION = {
    "model": {"name": "tiny <model>", "trained_context": 256}, "text": {"tokens": 1000}, "dtype": "f32", "processor": "a processor", "date": "today",
    "perplexity": [{"series": series, "length": length, "perplexity": perplexity} for series, length, perplexity in
                   [("none", 512, 1234567.0), ("none", 128, 3.5), ("yarn <b>4", 128, 3.75), ("yarn <b>4", 512, 104.25)]],
}


class Page:
    """What a test asks of the page that the browser shows."""

    def __init__(self, browser, chromium):
        self.browser, self.chromium = browser, chromium

    def open(self, path, fragment=""):
        self.chromium.open_page(self.browser, path, fragment)
        return self

    def look_as(self, size, dark=False):
        self.chromium.look_as(self.browser, size, dark)
        self.settle()

    def settle(self):
        self.chromium.settle(self.browser)

    def js(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def go(self, fragment):
        """Another address in the same page."""
        self.js("location.hash = arguments[0]", fragment)
        self.settle()
        self.settle()

    def set(self, selector, value, event="change"):
        """As somebody sets a control."""
        self.js("""const [selector, value, event] = arguments, one = document.querySelector(selector);
            if (one.type === 'radio' || one.type === 'checkbox') one.checked = value; else one.value = value;
            one.dispatchEvent(new Event(event, { bubbles: true }))""", selector, value, event)
        self.settle()

    def drop(self, text, name="config.json"):
        self.browser.execute_async_script("""const [text, name, done] = arguments, data = new DataTransfer();
            data.items.add(new File([text], name, { type: 'application/json' }));
            document.body.dispatchEvent(new DragEvent('drop', { bubbles: true, cancelable: true, dataTransfer: data }));
            setTimeout(done, 30)""", text if isinstance(text, str) else json.dumps(text), name)
        self.settle()

    def text(self, selector):
        return self.js("return document.querySelector(arguments[0]).textContent", selector)

    def data(self, selector, name):
        return self.js("return document.querySelector(arguments[0]).dataset[arguments[1]]", selector, name)

    def csv(self, panel):
        """The numbers that a panel gives away: column -> list."""
        rows = list(csv.reader(io.StringIO(self.js("return document.getElementById(arguments[0]).csv()", panel))))
        return {name: [row[i] for row in rows[1:]] for i, name in enumerate(rows[0])}

    @property
    def error(self):
        return self.js("const one = document.getElementById('error'); return one.hidden ? '' : one.textContent")
