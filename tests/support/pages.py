"""Pages as a parser and a browser see them, and texts that would break one."""

import contextlib
import html
import html.parser
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from utils.audio.flac import SAMPLE_RATE, encode_flac

HOSTILE = "<script>document.title='taken'</script><img src=x onerror=alert(1)>\"'&amp; </details>"
RIGHT_TO_LEFT = "سلام \u202egnp.elif 🎧"
BROWSER_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]


def tone(seconds: float, hertz: float = 220.0) -> bytes:
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    noise = np.random.default_rng(1).normal(scale=0.02, size=len(time))
    return encode_flac((0.3 * np.sin(2 * np.pi * hertz * time) + noise).astype(np.float32))


class Page(html.parser.HTMLParser):
    """Elements with their attributes, and the text that is shown; complains of elements left open."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.source = text
        self.elements: list[tuple[str, dict]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(data)

    def find(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def cells(self) -> str:
        """What is shown, with a bar between two elements."""
        return "|".join(" ".join(text.split()) for text in self.texts if text.strip())

    def is_isolated(self, text: str) -> bool:
        """Whether a foreign text stands in an element of its own direction wherever it is shown."""
        alone = re.sub(
            r'<svg class="chart".*?</svg>|<pre.*?</pre>|<title>.*?</title>', "", self.source, flags=re.DOTALL
        )
        alone = re.sub(r'<(?:p|li) [^>]*dir="auto"[^>]*>.*?</(?:p|li)>|="[^"]*"', "", alone, flags=re.DOTALL)
        written = html.escape(text)
        return 0 < alone.count(written) == len(re.findall(f"<bdi>[^<]*{re.escape(written)}", alone))

    def charts(self) -> list["DrawnChart"]:
        return [DrawnChart(svg) for svg in re.findall(r'<svg class="chart".*?</svg>', self.source, re.DOTALL)]


@dataclass(frozen=True)
class Box:
    """Where a mark of a chart stands, and its colour."""

    left: float
    right: float
    top: float
    bottom: float
    fill: str


class DrawnChart:
    """A chart as it stands in a page: its words, and its marks by what they say to the mouse."""

    def __init__(self, svg: str) -> None:
        self.root = ElementTree.fromstring(svg)
        self.title, self.description = (self.root[place].text for place in range(2))
        self.texts = [str(element.text) for element in self.root.iter("text")]
        self.marks = {
            str(group[0].text): self._box(group)
            for group in self.root.iter("g")
            if len(group) and group[0].tag == "title"
        }

    @staticmethod
    def _box(group: ElementTree.Element) -> Box:
        mark = next(element for element in group.iter() if element.tag == ("path", "use")[_is_dot(group)])
        outline = mark.get("d") or f"M {mark.get('x')} {mark.get('y')}"
        points = [(float(x), float(y)) for x, y in re.findall(r"[ML] ([-\d.]+) ([-\d.]+)", outline)]
        xs, ys = zip(*points, strict=True)
        return Box(min(xs), max(xs), min(ys), max(ys), mark.get("fill", ""))


def _is_dot(group: ElementTree.Element) -> bool:
    return group.find(".//use") is not None


@contextlib.contextmanager
def looked_at(browser, page_file: Path, scheme: str) -> Iterator:
    """The page in a colour scheme once its players are ready; it asks and complains of nothing."""
    context = browser.new_context(color_scheme=scheme, viewport={"width": 1100, "height": 900})
    page, requests, complaints = context.new_page(), [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(page_file.as_uri())
    ready = "[...document.querySelectorAll('audio')].every(a => a.readyState >= 1 && a.duration > 0)"
    page.wait_for_function(ready, timeout=30_000)
    yield page
    assert {url.split(":")[0] for url in requests} <= {"file", "data"} and complaints == []
    assert [url for url in requests if url.startswith("file")] == [page_file.as_uri()]
    check_policy(page)
    context.close()


def check_policy(page) -> None:
    """Whatever gets into the page after all, it can neither run nor call home."""
    blocked = page.evaluate(
        """async () => {
            const seen = [];
            document.addEventListener("securitypolicyviolation",
                event => seen.push(event.effectiveDirective));
            document.body.append(Object.assign(new Image(), {src: "http://127.0.0.1:9/x.png"}));
            const script = document.createElement("script");
            script.textContent = "window.taken = true";
            document.body.append(script);
            await new Promise(resolve => setTimeout(resolve, 500));
            return [...seen, String(window.taken)];
        }"""
    )
    assert sorted(blocked) == ["img-src", "script-src-elem", "undefined"]
