#!/usr/bin/env python3
"""Use JupyterLab as a person does: a Chromium on the laptop, driven by Playwright.

    browser URL                                    wait for the launcher, list its cards
    browser URL --kernel NAME --run CODE           a new notebook with that kernel; run a cell
    browser URL --notebook PATH --run CODE         the same in the last cell of a notebook that is there
    … --run CODE                                   and then another cell below
    … --save                                       and save it
    browser URL --text PATH --type WORDS           type into a text file that is there, without saving it
    … --until WORDS                                and stay until the page shows these
    … --gone WORDS                                 and until it does not show these any more
    … --frame SELECTOR                             and until a page within the page has this (CSS)
    … --saved                                      and until it has saved what is open, by itself
    browser URL --again                            the page as it was left
    browser URL --screenshot FILE.png              what it looks like at the end

Prints JSON: {"title": …, "url": …, "tabs": […], "cards": [{"name": …, "category": …}, …], "output": …}; and on
standard error, as soon as it is so: typed, until WORDS, gone WORDS.
NAME is what stands on the card: "Python 3 (ipykernel)", "R". On the laptop this file is
/usr/local/bin/browser; Chromium runs with its own sandbox, as an ordinary user.
"""

import argparse
import json
import re
import sys
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from playwright.sync_api import Page, sync_playwright
from playwright.sync_api import TimeoutError as TookTooLong

QUIET = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NOTEBOOK = ".jp-NotebookPanel:not(.lm-mod-hidden)"
"""The notebook whose tab is in front."""
TAB = "#jp-main-dock-panel .lm-TabBar-tab"
SAVED, UNSAVED = f"{TAB}.lm-mod-current:not(.jp-mod-dirty)", f"{TAB}.lm-mod-current.jp-mod-dirty"


def fresh(url: str) -> str:
    """`url` with `reset`: JupyterLab restores its last workspace, which hides the launcher."""
    parts = urlsplit(url)
    query = [("reset", ""), *(item for item in parse_qsl(parts.query) if item[0] != "reset")]
    return urlunsplit(parts._replace(query=urlencode(query)))


def open_lab(page: Page, url: str) -> None:
    """Load JupyterLab and wait until it can be used."""
    page.goto(url, wait_until="domcontentloaded")
    page.wait_for_selector("#jp-main-dock-panel")
    page.wait_for_selector("#jupyterlab-splash", state="detached")


def launcher_cards(page: Page) -> list[dict[str, str]]:
    """The launcher's cards; kernels' cards come once the server has answered which it has."""
    page.wait_for_selector(".jp-LauncherCard")
    page.wait_for_load_state("networkidle")
    return [
        {
            "name": card.query_selector(".jp-LauncherCard-label").inner_text().strip(),
            "category": card.get_attribute("data-category") or "",
        }
        for card in page.query_selector_all(".jp-LauncherCard")
    ]


def new_notebook(page: Page, kernel: str) -> None:
    """Click the card of that kernel among the launcher's notebooks."""
    cards = page.locator('.jp-LauncherCard[data-category="Notebook"]')
    cards.first.wait_for()
    cards.filter(has=page.get_by_text(kernel, exact=True)).first.click()


def wait_for_kernel(page: Page, kernel: str | None) -> None:
    """Wait until the open notebook's kernel is idle, choosing one if JupyterLab asks which."""
    page.wait_for_selector(f"{NOTEBOOK} .cm-content")
    idle = page.locator(f'{NOTEBOOK} .jp-Notebook-ExecutionIndicator[data-status="idle"]')
    question = page.locator(".jp-Dialog", has_text="Select Kernel")
    idle.or_(question).first.wait_for()
    if question.is_visible():
        if kernel:
            question.locator("select").select_option(label=kernel)
        question.get_by_role("button", name="Select Kernel").click()
        idle.wait_for()
    # The status bar says "Idle" only when the kernel's websocket is up.
    page.wait_for_selector(r"text=/\| Idle/")


def run_cell(page: Page, code: str) -> str:
    """Put `code` into the open notebook's last cell, run it, return what it prints."""
    cell = page.locator(f"{NOTEBOOK} .jp-CodeCell").last
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(code)
    # Shift+Enter makes a new cell and moves there; Control+Enter stays.
    page.keyboard.press("Control+Enter")
    # "[*]" while it runs, "[1]" when it is done.
    cell.locator(".jp-InputPrompt", has_text=re.compile(r"\[\d+\]:")).wait_for()
    return "\n".join(cell.locator(".jp-OutputArea-output").all_inner_texts()).strip()


def save(page: Page) -> None:
    """Save the open notebook under the name it has."""
    page.keyboard.press("Control+S")
    saved = page.locator(SAVED)
    question = page.locator(".jp-Dialog", has_text="Rename")  # the first time that an Untitled is saved
    saved.or_(question).first.wait_for()
    if question.is_visible():
        question.locator("button.jp-mod-accept").click()
        saved.wait_for()


def type_into(page: Page, words: str) -> None:
    """Type into the text file that is open."""
    page.locator(".jp-FileEditor .cm-content").click()
    page.keyboard.insert_text(words)
    page.wait_for_selector(UNSAVED)
    tell("typed")


def watch(page: Page, step: str, words: str) -> None:
    """Stay until the page shows these words, or ("gone") does not any more."""
    page.get_by_text(words).first.wait_for(state="visible" if step == "until" else "hidden")
    tell(f"{step} {words}")


def tell(words: str) -> None:
    """Say how far it is."""
    print(words, file=sys.stderr, flush=True)


def main() -> int:
    """Do what the command line asks; the exit status."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("url")
    options.add_argument("--kernel", metavar="NAME")
    options.add_argument("--notebook", metavar="PATH", help="relative to the server's folder")
    options.add_argument("--run", action="append", default=[], metavar="CODE")
    options.add_argument("--save", action="store_true")
    options.add_argument("--text", metavar="PATH", help="relative to the server's folder")
    options.add_argument("--type", metavar="WORDS")
    options.add_argument("--again", action="store_true")
    for step in ("until", "gone"):
        words = {"dest": "steps", "action": "append", "default": [], "metavar": "WORDS"}
        options.add_argument(f"--{step}", type=lambda words, step=step: (step, words), **words)
    options.add_argument("--frame", metavar="SELECTOR")
    options.add_argument("--saved", action="store_true")
    options.add_argument("--screenshot", metavar="FILE.png")
    options.add_argument("--timeout", type=float, default=120, metavar="SECONDS", help="for each step (120)")
    asked = options.parse_args()

    result: dict[str, object] = {}
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", chromium_sandbox=True, args=QUIET)
        page = chromium.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(asked.timeout * 1000)
        status = 0
        try:
            if path := asked.notebook or asked.text:
                parts = urlsplit(asked.url)
                tree = parts.path.rstrip("/").removesuffix("/lab") + "/lab/tree/" + path
                open_lab(page, fresh(urlunsplit(parts._replace(path=tree))))
            elif asked.again:
                open_lab(page, asked.url)
                page.wait_for_selector(TAB)
            else:
                open_lab(page, fresh(asked.url))
                result["cards"] = launcher_cards(page)
                if asked.kernel:
                    new_notebook(page, asked.kernel)
            if asked.notebook or asked.kernel:
                wait_for_kernel(page, asked.kernel)
            for number, code in enumerate(asked.run):
                if number:
                    page.keyboard.press("b")
                result["output"] = run_cell(page, code)
                if asked.frame and page.locator("iframe").count():
                    page.frame_locator("iframe").locator(asked.frame).first.wait_for()
            if asked.save:
                save(page)
            if asked.type:
                type_into(page, asked.type)
            for step, words in asked.steps:
                watch(page, step, words)
            if asked.frame:
                page.frame_locator("iframe").locator(asked.frame).first.wait_for()
            if asked.saved:
                page.wait_for_selector(SAVED)
        except TookTooLong as too_long:
            result["error"] = str(too_long).splitlines()[0]
            status = 1
        result["tabs"] = page.locator(TAB).all_inner_texts()
        result["title"] = page.title()
        result["url"] = page.url
        if asked.screenshot:
            # what slides in has come to rest
            page.wait_for_timeout(1000)
            page.screenshot(path=asked.screenshot)
        chromium.close()
    print(json.dumps(result, ensure_ascii=False, indent=1))
    return status


if __name__ == "__main__":
    sys.exit(main())
