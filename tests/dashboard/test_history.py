#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The dashboard of a daemon that has run for long: hundreds of jobs of five owners.

Usage: test_history.py QUANTD QUANTCTL SOURCE [FOLDER]. Exit status 77: no browser, or no dashboard in this
build. With FOLDER pictures of all views are written there.
"""
import calendar
import json
import signal
import sys
import time

import compare
import form
import group
import history
from board import main

QUANTD, QUANTCTL, SOURCE = sys.argv[1:4]
SHOTS = sys.argv[4] if len(sys.argv) > 4 else None
SHORT = {"method": "rtn", "dataset": None, "eval": [], "name": "short one"}
BEHIND_MS = 1000  # how far the list may be behind the daemon, as a median
WORST_MS = 10 * BEHIND_MS  # at any time: the machine may be busy
VIEWS = {"list": "#/", "submit": "#/submit", "compare": "#/compare?label=sweep", "job": "#/jobs/26?with=2,4,50",
         "failed": "#/jobs/99", "nearest": "#/jobs/50", "two": "#/compare?jobs=26,28&heat=26,28",
         "groups": "#/groups", "group": "#/groups/1", "group-failed": "#/groups/2", "lists": "#/submit?lists=yes"}

# The wall clock at which the list first shows that a job ended, by its number.
WATCH = """
window.shown = {};
const note = () => document.querySelectorAll("#history [data-job]").forEach((row) => {
  window.shown[row.dataset.job] ??= performance.timeOrigin + performance.now();
});
new MutationObserver(note).observe(document.querySelector("#history"), {childList: true, subtree: true});
note();
"""


def milliseconds(text):
    """A moment of the API since 1970."""
    whole, _, rest = text.rstrip("Z").partition(".")
    seconds = time.strptime(whole, "%Y-%m-%dT%H:%M:%S")
    return calendar.timegm(seconds) * 1000 + float("0." + (rest or "0")) * 1000


def boxes(page, *selectors):
    return page.script("return [...arguments].map((s) => { const r = document.createRange();"
                       "r.selectNodeContents(document.querySelector(s)); const b = r.getBoundingClientRect();"
                       "return [b.left, b.top, b.right, b.bottom]; })", *selectors)


def check_list_keeps_up(board):
    """150 short jobs end while the list is open, which is no older than a second as a median."""
    page, daemon = board.page, board.daemon
    board.open("#/?text=short%20one")
    board.see("#connection", "Live")
    page.script(WATCH)
    jobs = [daemon.submit(**SHORT, labels={"half": str(i % 2)}) for i in range(150)]
    daemon.wait_for(jobs[-1], "succeeded")
    page.wait_until(lambda: page.has(f"#history [data-job='{jobs[-1]}']"), "the last one", WORST_MS / 1000)
    shown = page.script("return window.shown")
    ended = {job["id"]: job["finished_at"] for job in
             daemon.ask("v1/jobs?text=short%20one&status=succeeded&limit=500")["data"]}
    assert set(jobs) <= set(ended)
    # What more than a page of jobs pushed out before it was drawn was never missing in the list.
    behind = {job: shown[str(job)] - milliseconds(ended[job]) for job in jobs if str(job) in shown}
    assert len(behind) > 100, f"only {len(behind)} of 150 jobs were seen"
    worst = max(behind.values())
    median = sorted(behind.values())[len(behind) // 2]
    print(f"the list: {median:.0f} ms behind as a median of {len(behind)} jobs, at most {worst:.0f} ms")
    assert median < BEHIND_MS, f"the list was {median:.0f} ms behind as a median"
    assert worst < WORST_MS, f"the list was {worst:.0f} ms behind"
    board.see(f"#history [data-job='{jobs[-1]}'] .labels a", "half=1").click()
    page.wait_until(lambda: not page.has(f"#history [data-job='{jobs[-2]}']"), "only those of the label")
    assert page.url.endswith("#/?label=half%3D1"), page.url
    assert page.has(f"#history [data-job='{jobs[-1]}']")


def check_empty_queue(board):
    """What is said of a queue without rows is true beside a device that runs another's private job."""
    daemon = board.daemon
    board.open()
    assert "No job is waiting or running" in board.see("#queue .empty").text
    hidden = json.loads(daemon.quantctl("--json", "quantize", "olmoe-demo", "file:short.txt", "--wbits", "4",
                                        "--nsamples", "4000", "--eval", "none", "--private", "--detach"))["id"]
    board.see(".device", f"job {hidden}")
    board.open("#/?owner=third")
    board.see(".device", f"job {hidden}")
    assert board.see("#queue .empty").text == "No waiting or running job matches these filters."
    page = board.page
    page.find("#filter-owner").fill("")
    if page.has(f"#queue [data-job='{hidden}']"):  # the caller is its owner
        assert not page.find("#queue .empty").shown
    else:
        page.wait_until(lambda: page.find("#queue .empty").text == "No job is waiting.", "only that none waits")
    daemon.quantctl("cancel", str(hidden))


def check_held(board):
    """A held job is marked in the list, with no bar of 0 %, and its page releases it."""
    page, daemon = board.page, board.daemon
    long = daemon.submit(nsamples=4000, name="long")
    job = daemon.submit(name="kept back", **{k: v for k, v in SHORT.items() if k != "name"})
    row = f"#queue [data-job='{job}']"
    board.open()
    board.see(f"{row} .status", "queued")
    assert not page.find(f"{row} .meter").shown, "a bar of a job that waits"
    daemon.ask(f"v1/jobs/{job}/hold", {})
    board.see(f"{row} .status", "held")
    assert "held until it is released" in page.find(f"{row} .state").text
    board.accessible("a held job")
    board.open(f"#/jobs/{job}")
    board.see(".status", "held")
    board.press("Release")
    board.see(".status", "queued")
    board.press("Hold")
    board.see(".status", "held")
    board.press("Release")
    board.open(f"#/jobs/{long}")
    board.press("Cancel")
    board.press("Cancel the job")
    board.see(".log", "was asked to stop")
    board.see(".status", "cancelled")
    assert "job." not in page.find(".log").text, "an event as programs call it"
    daemon.wait_for(job, "succeeded")


def check_jobs_to_compare_with(board):
    """Jobs are offered though the newest hundreds have no perplexity; what is left out is said."""
    page = board.page
    board.open("#/jobs/26")
    page.wait_until(lambda: page.has("#comparison-add option[value='2']") or
                    "older" in page.find("#comparison-add").text, "jobs to choose")
    options = [option.text for option in page.find_all("#comparison-add option")]
    assert len(options) > 100 and "no other job" not in options[0], options[:3]


def check_left(board):
    """Pages that were left hold no stream: a browser has six connections, and may keep such pages."""
    for view in ("#/", "#/jobs/26", "#/groups", "#/compare?label=sweep") * 2:
        board.open(view)
    board.see("#connection", "Live")
    board.page.wait_until(lambda: board.daemon.streams() == 1, "one stream")


def check_two_sets(board):
    """Perplexities of two sets leave the next column its room, wide and on a phone."""
    page = board.page
    board.open("#/?text=sweep%2025")
    row = "#history [data-job='26']"
    board.see(f"{row} td.when")
    for width in (1440, 1100, 800):
        page.screen(width, 900)
        ppl, when = boxes(page, f"{row} td[data-label=Perplexity]", f"{row} td.when")
        assert ppl[2] <= when[0], f"the perplexity ends at {ppl[2]}, its neighbour begins at {when[0]}"
    assert "+1 set" in page.find(f"{row} td[data-label=Perplexity]").text
    page.screen(1440, 900)


def check_labels(board):
    """Labels are shown, and choose the jobs; a name without a value does, too."""
    page = board.page
    board.open("#/?label=night%3D3")
    page.wait_until(lambda: len(page.find_all("#history tbody tr")) == 20, "those of one night")
    assert page.find("#history tbody .labels a").text == "night=3"
    page.find("#filter-label").fill("sweep")
    page.wait_until(lambda: page.has("#history [data-job='97']"), "those of the sweep")
    board.quiet()


def check_nearest(board):
    """Nothing is drawn of errors that a method without calibration does not measure."""
    job = board.daemon.submit(**SHORT)
    board.daemon.wait_for(job, "succeeded")
    board.open(f"#/jobs/{job}")
    board.see("main", "needs no calibration")
    for title in ("heat-title", "depth-title"):
        assert not board.page.find(f"[aria-labelledby={title}]").shown


def check_stop(board):
    """A daemon that was stopped on purpose: the page says what is true then."""
    daemon = board.daemon
    board.open()
    board.see("#connection", "Live")
    daemon.process.send_signal(signal.SIGTERM)
    daemon.process.wait()
    text = board.see("#banner", "Reconnecting").text
    assert "jobs wait until it runs again" in text and "go on" not in text, text
    daemon.start()
    board.gone("#banner")
    board.quiet("net::ERR_")


def check_looks(board):
    """Every view, in both themes, wide and on a phone."""
    page = board.page
    for scheme, phone in (("light", False), ("dark", False), ("light", True), ("dark", True)):
        page.media(scheme, reduced_motion=True)
        page.phone() if phone else page.screen(1440, 900)
        for name, view in VIEWS.items():
            board.open(view)
            ready = {"list": "#history tbody tr", "submit": "#field-model", "failed": ".problem-box",
                     "groups": ".groups tbody tr", "lists": "#lists-0"}
            board.see(ready.get(name, ".compare tbody tr"))
            what = f"{name}-{scheme}{'-phone' if phone else ''}"
            if SHOTS:
                time.sleep(0.5)
                page.screenshot(f"{SHOTS}/{what}.png", full=True)
            board.accessible(what)
    page.screen(1440, 900)
    page.media("light", reduced_motion=True)
    board.quiet()


def run(board):
    check_labels(board)
    check_left(board)
    check_two_sets(board)
    check_jobs_to_compare_with(board)
    check_nearest(board)
    check_held(board)
    check_empty_queue(board)
    compare.run(board)
    form.run(board)
    group.run(board)
    check_list_keeps_up(board)
    check_looks(board)
    check_stop(board)


def fill(home):
    print(f"{history.fill(home + '/state', int(time.time() * 1000))} jobs of {len(history.OWNERS)} owners")


if __name__ == "__main__":
    sys.exit(main(QUANTD, QUANTCTL, SOURCE, (1440, 900), run, fill))
