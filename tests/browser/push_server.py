#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""usage: push_server.py PROGRAMS SCREENSHOT

push_server's page in Chromium: what is typed into one tab appears in others,
what was missed comes later, each message once, and a restart of the server is
got over. PROGRAMS is the directory of the examples; a picture of the page goes
to the file SCREENSHOT. Exit status 77 without Chromium and chromedriver.
"""
import os
import pathlib
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import urllib.request

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).parent))
from webdriver import Browser  # noqa: E402

SCALE = float(os.environ.get("GEV_TEST_SCALE", "1"))
PATIENCE = 20 * SCALE  # seconds until something must have happened
WIDTH, HEIGHT = 900, 600


def check(condition, words):
    if not condition:
        sys.exit(f"FAILED: {words}")


class Server:
    """An example that prints where it listens."""

    def __init__(self, program, *arguments):
        self.process = subprocess.Popen([program, *map(str, arguments)],
                                        stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        found = re.fullmatch(r"listening on .* port (\d+)\n", line)
        check(found, f"{program} said '{line}'")
        self.port = int(found.group(1))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.kill()
        self.process.stdout.close()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def interrupt(self):
        """Ctrl-C: it must end by itself, soon, and well."""
        begin = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        status = self.process.wait(PATIENCE)
        took = time.monotonic() - begin
        check(status == 0, f"{self.process.args[0]} ended with {status}")
        return took


def post(port, text):
    """As curl would, with no browser."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    url = f"http://127.0.0.1:{port}/send"
    with opener.open(url, text.encode(), PATIENCE) as answer:
        return answer.read().decode()


def wait_until(browser, tab, expression, wanted):
    """Until an expression has that value in a tab."""
    browser.use_tab(tab)
    deadline = time.monotonic() + PATIENCE
    while (value := browser.evaluate(expression)) != wanted:
        check(time.monotonic() < deadline,
              f"{expression} is {value!r}, not {wanted!r}")
        time.sleep(0.05)


MESSAGES = ("[...document.querySelectorAll('#list li span')]"
            ".map(e => e.textContent)")
STATE = "document.getElementById('state').textContent"


def check_picture(png):
    check(png[:8] == b"\x89PNG\r\n\x1a\n", "the picture is no PNG")
    size = struct.unpack(">II", png[16:24])
    check(size == (WIDTH, HEIGHT), f"the picture's size is {size}")
    # An empty page of that size has some 3 KB.
    check(len(png) > 8000, f"the picture has only {len(png)} bytes")


def talk(browser, programs, picture):
    push_server = programs / "push_server"
    said = []

    def say(text):
        said.append(text)
        return text

    def expect(*tabs):
        for tab in tabs:
            wait_until(browser, tab, MESSAGES, said)

    with Server(push_server) as server, \
            Server(programs / "proxy", "127.0.0.1", server.port) as proxy:
        print("* two tabs, one of them through a proxy")
        browser.open(f"http://127.0.0.1:{server.port}/")
        one = browser.tab()
        two = browser.new_tab()
        browser.open(f"http://127.0.0.1:{proxy.port}/")
        for tab in one, two:
            wait_until(browser, tab, STATE, "live")
        expect(one, two)

        print("* typed in one, shown in both")
        browser.use_tab(one)
        browser.type("#text", say("Hello from the first tab"))
        browser.click("button")
        expect(one, two)
        browser.type("#text", say("Grüße from the second, by Enter <b>€</b>"))
        browser.type("#text", "\n")
        expect(one, two)
        wait_until(browser, two, "document.getElementById('text').value", "")

        print("* pushed from outside")
        check(post(server.port, say("curl says hello,\nin two lines"))
              == "sent to 2\n", "not sent to 2")
        expect(one, two)

        print("* what a tab misses comes when it is connected again")
        proxy.kill()
        wait_until(browser, two, STATE, "connecting again")
        for i in range(1, 4):
            post(server.port, say(f"Said while the second was away: {i}"))
        expect(one)
        with Server(programs / "proxy", "-p", proxy.port, "127.0.0.1",
                    server.port):
            expect(two)
            wait_until(browser, two, STATE, "live")

            print("* a restart of the server")
            took = server.interrupt()
            check(took < 2 * SCALE, f"it took {took:.1f} s to stop")
            wait_until(browser, one, STATE, "connecting again")
            with Server(push_server, "-p", server.port) as again:
                for tab in one, two:
                    wait_until(browser, tab, STATE, "live")
                post(again.port, say("The server is back"))
                expect(one, two)

                print("* a picture")
                browser.use_tab(one)
                png = browser.screenshot()
                picture.write_bytes(png)
                check_picture(png)
                print(f"{picture}: {len(png)} bytes")
                again.interrupt()


def main():
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    chromium = shutil.which("chromium")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        print("no chromium and chromedriver here: skipped")
        return 77
    with Browser(driver, chromium, WIDTH, HEIGHT, 60 * SCALE) as browser:
        print(f"Chromium {browser.version}")
        talk(browser, pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
    print("ok")
    return 0


sys.exit(main())
