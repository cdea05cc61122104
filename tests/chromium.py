#!/usr/bin/env python3
"""
chromium.py: looks at a page as its readers do, in a headless Chromium that is driven through pipes, and
with Python's standard library alone. One line of "ok NAME" or "not ok NAME: why" for each check;
exit code 1 where one failed, 77 where there is no Chromium that starts.

    chromium.py PAGE                                  all checks
    chromium.py --shot FILE WIDTH SCHEME PAGE [JS]    a picture of the page, after JS was run in it

The checks, at 360 and 1280 pixels, light and dark: nothing is logged, nothing is loaded, the page cannot
be scrolled sideways, each letter stands out 4.5 : 1 from its ground; the tab key reaches all that can be
used and shows where it is; all that has a role which needs a name has one.
"""
import base64
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

NAMES = ("chromium", "chromium-browser", "google-chrome")


class Browser:
    """A Chromium of our own, with a profile that goes away with it."""

    def __init__(self):
        program = next((p for p in map(shutil.which, NAMES) if p), None)
        if not program:
            sys.exit(77)
        self.profile = tempfile.mkdtemp()
        to_read, self.to = os.pipe()
        self.of, to_write = os.pipe()
        words = [program, "--headless", "--remote-debugging-pipe", "--disable-gpu", "--no-first-run",
                 "--disable-extensions", "--hide-scrollbars", "--user-data-dir=" + self.profile]
        if os.geteuid() == 0:
            words.append("--no-sandbox")

        def pipes():  # Chromium reads 3 and writes 4
            a, b = os.dup(to_read), os.dup(to_write)
            os.dup2(a, 3)
            os.dup2(b, 4)

        self.process = subprocess.Popen(words, close_fds=False, preexec_fn=pipes,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_read)
        os.close(to_write)
        self.rest, self.number, self.session, self.events = b"", 0, None, []

    def close(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.profile, ignore_errors=True)

    def message(self):
        while b"\0" not in self.rest:
            chunk = os.read(self.of, 1 << 16)
            if not chunk:
                sys.exit(77)  # it did not start
            self.rest += chunk
        one, self.rest = self.rest.split(b"\0", 1)
        return json.loads(one)

    def call(self, method, **params):
        self.number += 1
        words = {"id": self.number, "method": method, "params": params}
        if self.session:
            words["sessionId"] = self.session
        os.write(self.to, json.dumps(words).encode() + b"\0")
        while True:
            said = self.message()
            if said.get("id") == self.number:
                if "error" in said:
                    raise RuntimeError(f"{method}: {said['error']['message']}")
                return said["result"]
            self.events.append(said)

    def until(self, method):
        while not any(e.get("method") == method for e in self.events):
            self.events.append(self.message())

    def js(self, text):
        said = self.call("Runtime.evaluate", expression=text, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in said:
            raise RuntimeError(str(said["exceptionDetails"]))
        return said["result"].get("value")

    def open(self, page, width, scheme, height=800):
        if not self.session:
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network", "Accessibility", "DOM"):
                self.call(domain + ".enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                  mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.events = []
        self.call("Page.navigate", url=pathlib.Path(page).resolve().as_uri())
        self.until("Page.loadEventFired")


# Every letter that is shown: the ratio of its colour to that of the ground behind it, where that is too
# small. A ground of another element that lies below is found by going up the tree.
CONTRAST = r"""
(() => {
  const rgb = s => { const m = s.match(/[\d.]+/g).map(Number); return m.length < 4 ? [...m, 1] : m; };
  const over = (a, b) => a.slice(0, 3).map((v, i) => v * a[3] + b[i] * (1 - a[3]));
  const light = c => { const f = c.map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
                       return .2126 * f[0] + .7152 * f[1] + .0722 * f[2]; };
  const ground = e => { const a = []; for (; e; e = e.parentElement) a.push(rgb(getComputedStyle(e).backgroundColor));
                        return a.reverse().reduce((b, c) => over(c, b), [255, 255, 255]); };
  const bad = {};
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let n; n = walk.nextNode();) {
    const e = n.parentElement;
    if (!n.data.trim() || e.closest('svg, .e, .n, .x, .skip, .sr') || !e.checkVisibility()) continue;
    const b = ground(e), c = over(rgb(getComputedStyle(e).color), b), x = light(b), y = light(c);
    const ratio = (Math.max(x, y) + .05) / (Math.min(x, y) + .05);
    if (ratio < 4.5) bad[e.tagName + '.' + e.className] = ratio.toFixed(2) + ' ' + n.data.trim().slice(0, 30);
  }
  return bad;
})()
"""

# What a keyboard must reach, and a mark for each that has been reached.
REACHABLE = r"""
[...document.querySelectorAll('a[href], summary, input, .scroll, pre[tabindex]')].filter(e =>
  e.checkVisibility({visibilityProperty: true}) && !(e.type === 'radio' && !e.checked)).map((e, i) =>
  { e.dataset.reach = i; return e.outerHTML.slice(0, 80); })
"""
FOCUSED = r"""
(() => { const e = document.activeElement, s = getComputedStyle(e);
  return [e.dataset.reach === undefined ? -1 : +e.dataset.reach,
          s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) > 0]; })()
"""

NAMED = ("link", "button", "checkbox", "radio", "img", "image", "table", "region", "navigation", "group",
         "heading", "DisclosureTriangle", "radiogroup")


class Looker:
    def __init__(self, page):
        self.page, self.browser, self.failed = page, Browser(), False

    def say(self, name, wrong):
        self.failed |= bool(wrong)
        print(f"not ok {name}: {str(wrong)[:600]}" if wrong else f"ok {name}", flush=True)

    def logged(self):
        events = self.browser.events
        said = [e["params"] for e in events if e.get("method") in
                ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")]
        loaded = [e["params"]["request"]["url"][:80] for e in events
                  if e.get("method") == "Network.requestWillBeSent"]
        return said + [u for u in loaded if not u.startswith(("file:", "data:"))] + loaded[2:]

    def at(self, width, scheme):
        b, where = self.browser, f"at {width} pixels, {scheme}"
        b.open(self.page, width, scheme)
        b.js("document.querySelectorAll('details').forEach(d => d.open = true)")
        # A phone zooms out until all is in its window, so the window's own width says nothing.
        wide = b.js("document.documentElement.scrollWidth")
        self.say(f"the page is not wider than its window {where}", wide > width and wide)
        self.say(f"letters stand out from their ground {where}", b.js(CONTRAST))
        for which in ("entropy", "none"):
            b.js(f"document.querySelector('#by-{which}')?.click()")
            self.say(f"so they do shaded by {which} {where}", b.js(CONTRAST))
        self.say(f"nothing is logged, nothing loaded {where}", self.logged())

    def keyboard(self):
        b = self.browser
        b.open(self.page, 1280, "light")
        wanted = b.js(REACHABLE)
        reached, unseen = set(), []
        for _ in range(2 * len(wanted) + 20):
            for kind in ("keyDown", "keyUp"):
                b.call("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
            at, shown = b.js(FOCUSED)
            if at in reached and len(reached) == len(wanted):
                break
            if at >= 0:
                reached.add(at)
                if not shown:
                    unseen.append(wanted[at])
        self.say("the tab key reaches all that can be used",
                 [w for i, w in enumerate(wanted) if i not in reached] or (not wanted and "nothing is there"))
        self.say("where the focus is can be seen", unseen)

    def names(self):
        b = self.browser
        b.open(self.page, 1280, "light")
        b.js("document.querySelectorAll('details').forEach(d => d.open = true)")
        without, roles = [], set()
        for node in b.call("Accessibility.getFullAXTree")["nodes"]:
            role = node.get("role", {}).get("value")
            roles.add(role)
            named = node.get("name", {}).get("value", "").strip()
            # A group that a <details> makes has its name in the summary.
            if not node.get("ignored") and role in NAMED and role != "group" and not named:
                without.append((role, node["nodeId"]))
        self.say("all that needs a name has one", without)
        lacking = {"main", "navigation", "heading", "table", "banner", "contentinfo"} - roles
        self.say("there are the landmarks of a page", lacking)


def shot(file, width, scheme, page, js=None):
    b = Browser()
    try:
        b.open(page, int(width), scheme)
        if js:
            b.js(js)
        height = min(b.js("document.documentElement.scrollHeight"), 16000)
        b.call("Emulation.setDeviceMetricsOverride", width=int(width), height=height, deviceScaleFactor=1,
               mobile=int(width) < 600)
        pixels = b.call("Page.captureScreenshot", format="png")["data"]
        pathlib.Path(file).write_bytes(base64.b64decode(pixels))
    finally:
        b.close()


def main():
    if sys.argv[1] == "--shot":
        shot(*sys.argv[2:])
        return 0
    looker = Looker(sys.argv[1])
    try:
        for width in (360, 1280):
            for scheme in ("light", "dark"):
                looker.at(width, scheme)
        looker.keyboard()
        looker.names()
    finally:
        looker.browser.close()
    return 1 if looker.failed else 0


if __name__ == "__main__":
    sys.exit(main())
