# SPDX-License-Identifier: MIT
"""The little of WebDriver (https://www.w3.org/TR/webdriver2) that a test of a
page needs: chromedriver on a port of its own choice, and a headless Chromium.
"""
import base64
import json
import os
import re
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # WebDriver's key for one


class WebDriverError(Exception):
    """A command that failed, with WebDriver's own words."""


class Browser:
    """A session: `with Browser(driver, chromium, width, height) as browser`."""

    def __init__(self, driver, chromium, width, height, timeout=30):
        self.timeout = timeout
        self.profile = tempfile.TemporaryDirectory(prefix="gev-browser-",
                                                   ignore_cleanup_errors=True)
        self.log = open(f"{self.profile.name}/driver.log", "w+")
        self.process = subprocess.Popen([driver, "--port=0"],
                                        stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log,
                                        env={**os.environ,
                                             "HOME": self.profile.name})
        self.session = None
        try:
            self.url = f"http://127.0.0.1:{self._wait_for_port()}"
            self._open(chromium, width, height)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _wait_for_port(self):
        deadline = time.monotonic() + self.timeout
        while time.monotonic() < deadline and self.process.poll() is None:
            with open(self.log.name) as log:
                found = re.search(r"started successfully on port (\d+)",
                                  log.read())
            if found:
                return found.group(1)
            time.sleep(0.05)
        raise WebDriverError("chromedriver does not start: "
                             + self.driver_log())

    def driver_log(self):
        with open(self.log.name) as log:
            return log.read()

    def _open(self, chromium, width, height):
        options = {
            "binary": chromium,
            "args": [
                "--headless=new",
                "--no-sandbox",             # which root has to say
                "--disable-dev-shm-usage",  # small in containers
                "--disable-gpu",
                "--no-proxy-server",
                "--no-first-run",
                "--disable-background-networking",
                "--hide-scrollbars",
                f"--user-data-dir={self.profile.name}/profile",
            ],
        }
        answer = self._call("POST", "/session", {"capabilities": {
            "alwaysMatch": {"goog:chromeOptions": options}}})
        self.session = f"/session/{answer['sessionId']}"
        self.version = answer["capabilities"]["browserVersion"]
        # The page's size, not that of a window with a frame.
        self._call("POST", f"{self.session}/goog/cdp/execute", {
            "cmd": "Emulation.setDeviceMetricsOverride",
            "params": {"width": width, "height": height,
                       "deviceScaleFactor": 1, "mobile": False}})

    def _call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data, {"Content-Type": "application/json"},
            method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=self.timeout) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            value = json.load(error)["value"]
            raise WebDriverError(f"{value['error']}: {value['message']}") \
                from error

    def command(self, method, path, body=None):
        return self._call(method, self.session + path, body)

    def open(self, url):
        self.command("POST", "/url", {"url": url})

    def new_tab(self):
        """Opens another tab and makes it the one that is talked to."""
        tab = self.command("POST", "/window/new", {"type": "tab"})["handle"]
        self.use_tab(tab)
        return tab

    def tab(self):
        return self.command("GET", "/window")

    def use_tab(self, tab):
        self.command("POST", "/window", {"handle": tab})

    def find(self, selector):
        element = self.command("POST", "/element", {
            "using": "css selector", "value": selector})
        return element[ELEMENT]

    def click(self, selector):
        self.command("POST", f"/element/{self.find(selector)}/click", {})

    def type(self, selector, text):
        self.command("POST", f"/element/{self.find(selector)}/value",
                     {"text": text})

    def evaluate(self, expression):
        return self.command("POST", "/execute/sync", {
            "script": f"return {expression}", "args": []})

    def screenshot(self):
        """The page as PNG."""
        return base64.b64decode(self.command("GET", "/screenshot"))

    def close(self):
        """Ends the session and its processes; harmless a second time."""
        if self.session is not None:
            try:
                self.command("DELETE", "")
            except (OSError, WebDriverError):
                pass  # it ends with chromedriver
            self.session = None
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()
        self.profile.cleanup()
