#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The dashboard as people use it: a real daemon, a real browser, a real job.

Usage: test_dashboard.py QUANTD QUANTCTL SOURCE. Exit status 77: no browser, or no dashboard in this build.
"""
import json
import os
import sys

from board import HERE, TEXT, main

QUANTD, QUANTCTL, SOURCE = sys.argv[1:4]
HOSTILE = "<img src=x onerror=document.title='owned'>"
VIEWS = ("#/", "#/submit", "#/compare?jobs=1,2", "#/jobs/1", "#/jobs/999", "#/nothing")


def check_modules(board):
    with open(HERE + "/units.js", encoding="utf-8") as file:
        wrong = board.page.script_async(file.read())
    assert not wrong, "\n".join(wrong)


def check_empty(board):
    board.open()
    board.see("#queue .empty", "No job is waiting")
    board.see("#history .empty")
    board.accessible("an empty queue")
    board.quiet()


def check_submit(board):
    """The form: what is wrong is said at its field; a hostile name stays a text."""
    page = board.page
    board.press("Submit a job")
    board.see("#field-model")
    page.script("document.querySelectorAll('form details').forEach((d) => { d.open = true; })")
    board.press("Submit the job")
    board.see("#field-model-problem", "is required")
    assert page.focused.attribute("id") == "field-model"
    page.find("#field-model").fill("no-such-model")
    page.find("#field-dataset").fill(TEXT)
    page.find("#field-name").fill(HOSTILE)
    page.find("#field-eval").fill(TEXT)
    page.find("#field-nsamples").fill("160")
    page.find("#field-seqlen").fill("256")
    page.find("#field-labels").fill("run=one")
    board.press("Submit the job")
    board.see("#field-model-problem", "no-such-model")
    assert page.find("#field-model").attribute("aria-invalid") == "true"
    page.find("#field-model").fill("olmoe-demo")
    page.find("#field-groupsize").fill("12")
    board.press("Submit the job")
    board.see("#field-groupsize-problem", "multiple of 8")
    page.find("#field-groupsize").fill("64")
    board.choose("#field-kind", "eval")
    board.gone("#field-wbits")
    board.choose("#field-kind", "quantize")
    board.press("Submit the job")
    job = board.job()
    assert board.daemon.ask(f"v1/jobs/{job}")["labels"] == {"run": "one"}
    assert board.see("h1", HOSTILE).text == HOSTILE
    assert not page.has("main img") and "owned" not in page.title
    board.quiet("422")
    return job


def check_restart(board, job):
    """The daemon is killed while the page is open, and the page goes on by itself."""
    page = board.page
    page.script("window.sameDocument = true")
    board.see(".heat [role=gridcell]:not([data-step=none])")
    board.see(".progress .phases .now")
    board.daemon.kill()
    board.see("#banner", "Reconnecting")
    board.accessible("without a daemon")
    board.daemon.start()
    board.gone("#banner")
    board.see(".status", "succeeded", 180)
    board.see(".log", "succeeded")
    board.see(".compare .own", "this job")
    assert page.script("return window.sameDocument === true"), "the page was loaded anew"
    texts = [item.text for item in page.find_all(".log li")]
    assert sum("succeeded" in text for text in texts) == 1, texts
    for layer in range(3):
        assert sum(f"layer {layer} in" in text for text in texts) == 1, texts
    assert len(page.find_all(".heat [role=gridcell][data-step]")) == 3 * 16
    names = {item["name"] for item in board.daemon.ask(f"v1/jobs/{job}/artifacts")["data"]}
    files = "[aria-labelledby=files-title] th[scope=row]"
    page.wait_until(lambda: names == {row.text for row in page.find_all(files)}, "every file")
    board.quiet("net::ERR_")


def check_heat_map(board):
    """One stop for the keyboard, arrows inside, the same in words; and tokens in place of errors."""
    page = board.page
    first = page.find(".heat [role=gridcell][tabindex='0']")
    page.script("arguments[0].focus()", first)
    assert first.label.startswith("layer 0, expert 0, relative error"), first.label
    page.press("ArrowRight")
    page.press("ArrowDown")
    assert page.focused.label.startswith("layer 1, expert 1,"), page.focused.label
    assert page.find("[aria-labelledby=heat-title] .told").text == page.focused.label
    page.press("Control", "End")
    assert page.focused.label.startswith("layer 2, expert 15,")
    page.find("label[for=heat-metric-tokens]").click()
    board.see(".scale .key")
    assert page.find("[aria-labelledby=heat-title] [data-step='0']").shown
    page.find("[aria-labelledby=heat-title] summary").click()
    page.wait_until(lambda: len(page.find_all("[aria-labelledby=heat-title] .figures tbody tr")) == 48, "a row each")
    board.quiet()


def check_compare(board, job):
    """Another job beside this one, in the address too."""
    page = board.page
    other = board.daemon.submit(dataset=None, method="rtn", wbits=3, name="nearest", seqlen=256)
    board.daemon.wait_for(other, "succeeded")
    board.open(f"#/jobs/{job}")
    page.wait_until(lambda: page.has(f"#comparison-add option[value='{other}']"), "the other to choose")
    board.choose("#comparison-add", str(other))
    board.see(".compare tbody", "rtn 3 bit")
    assert page.url.endswith(f"?with={other}"), page.url
    page.reload()
    board.see(".compare tbody", "rtn 3 bit")
    page.wait_until(lambda: len(page.find_all("svg.scatter a")) == 2, "a point for each")
    board.open(f"#/?compare={job},{other}")
    board.press("Compare 2 jobs")
    page.wait_until(lambda: len(page.find_all(".compare tbody tr:not(.baseline)")) == 2, "both")
    page.find(".compare tbody .leave").click()
    page.wait_until(lambda: len(page.find_all(".compare tbody tr:not(.baseline)")) == 1, "one left out")
    board.quiet()


def check_cancel_and_retry(board):
    page = board.page
    job = board.daemon.submit(nsamples=2000, seqlen=128, name="long")
    board.open(f"#/jobs/{job}")
    board.see(".status", "running")
    board.press("Cancel")
    board.see("dialog", "Cancel job")
    board.accessible("a question")
    board.press("Let it run")
    board.gone("dialog")
    assert page.focused.text == "Cancel", "the focus comes back"
    board.press("Cancel")
    board.press("Cancel the job")
    board.see(".status", "cancelled")
    board.press("Retry")
    board.see("dialog", "Retry job")
    page.find("dialog .danger").click()
    page.wait_until(lambda: board.job() > job, "the new job")
    again = board.job()
    board.see(".status", "running")
    board.daemon.ask(f"v1/jobs/{again}/cancel", {})
    board.see(".status", "cancelled")
    board.press("Delete")
    board.press("Delete for good")
    board.see("#history", "long")
    assert not page.has(f"[data-job='{again}']")
    board.quiet()


def check_list(board):
    """Filters are in the address; what others do is seen as it happens."""
    page = board.page
    board.open("#/?text=NEAREST")
    board.see("#history tbody", "nearest")
    rows = "#history tbody tr"
    assert len(page.find_all(rows)) == 1
    page.find("#filter-text").fill("")
    page.wait_until(lambda: len(page.find_all(rows)) > 2, "all jobs")
    board.choose("#filter-status", "cancelled")
    page.wait_until(lambda: len(page.find_all(rows)) == 1, "the cancelled one")
    assert page.url.endswith("#/?status=cancelled"), page.url
    page.reload()
    page.wait_until(lambda: len(page.find_all(rows)) == 1, "the filter outlives the page")
    board.press("Clear")
    page.wait_until(lambda: len(page.find_all(rows)) > 2, "all jobs")
    board.see("#connection", "Live")
    job = board.daemon.submit(nsamples=2000, seqlen=128, name="from elsewhere")
    board.see(f"#queue [data-job='{job}'] .status", "running")
    board.daemon.ask(f"v1/jobs/{job}/cancel", {})
    board.see(f"#history [data-job='{job}'] .status", "cancelled")
    board.quiet()


def check_plan(board):
    """The page of a job that plans: each target, what each unit costs, a curve that is drawn."""
    page, daemon = board.page, board.daemon
    job = daemon.submit(target_bits=2.5, plan_only=True, plan_bits=[3.5], target_unit="expert", eval=[],
                        wbits=None)
    daemon.wait_for(job, "succeeded")
    board.open(f"#/jobs/{job}")
    board.see("section[aria-labelledby=plan-title]", "2.50 bits on average")
    plan = next(event["data"] for event in daemon.ask(f"v1/jobs/{job}/events")["data"]
                if event["type"] == "plan.finished")
    shown = [len(table.find_all("tbody tr")) for table in page.find_all("[aria-label='Plan of bits'] table")]
    assert shown == [len(plan["targets"]) + len(plan["curve"]), len(plan["units"])], shown
    targets = page.script("return [...document.querySelectorAll('[aria-label=\"Plan of bits\"] tbody td:first-child')]"
                          ".slice(0, 3).map((cell) => cell.textContent)")
    assert targets == [f"{point['target_bits']:g}" for point in plan["targets"]] + [""], targets
    board.see("section[aria-labelledby=plan-title]", "vLLM")  # which cannot load what was chosen
    board.accessible("a plan")
    board.quiet()


def check_polling(board):
    """Where streams do not get through, the page asks."""
    page = board.page
    page.cdp("Network.enable")
    page.cdp("Network.setBlockedURLs", urls=["*/v1/events"])
    board.open()
    board.see("#connection", "Polling")
    job = board.daemon.submit(nsamples=2000, seqlen=128, name="asked for")
    board.see(f"#queue [data-job='{job}'] .status", "running")
    board.daemon.ask(f"v1/jobs/{job}/cancel", {})
    board.see(f"#history [data-job='{job}'] .status", "cancelled")
    page.cdp("Network.setBlockedURLs", urls=[])
    board.quiet("net::ERR_BLOCKED_BY_CLIENT")


def check_looks(board):
    """Every view in both themes, wide and on a phone."""
    page = board.page
    shots = os.environ.get("DASHBOARD_SHOTS")
    for scheme, phone in (("light", False), ("dark", False), ("dark", True)):
        page.media(scheme, reduced_motion=True)
        page.phone() if phone else page.screen(1280, 900)
        for view in VIEWS:
            board.open(view)
            board.see("h1, #field-model")
            if view == "#/submit":
                board.see("#field-model")
            if view == "#/jobs/1":
                board.see(".heat [role=gridcell]")
                board.see(".log", "queued")
            what = f"{view} {scheme}{' phone' if phone else ''}"
            board.accessible(what)
            if shots:
                name = view.strip("#/").replace("/", "-").partition("?")[0] or "list"
                page.screenshot(f"{shots}/{name}-{scheme}{'-phone' if phone else ''}.png", full=True)
    page.screen(1280, 900)
    page.media("light")
    board.quiet("404")


def check_keyboard(board):
    """Tab goes through the page, in order, to its end; all that can be focused shows it."""
    page = board.page
    board.open()
    board.see("#history tbody tr")
    page.script("document.body.focus()")
    page.press("Tab")
    assert page.focused.text == "Skip to the content", page.focused.text
    page.press("Enter")
    assert page.focused.attribute("id") == "main"
    seen = []
    for _ in range(200):
        page.press("Tab")
        at = page.script("const e = document.activeElement; if (e === document.body) return null;"
                         "const s = getComputedStyle(e); const b = e.getBoundingClientRect();"
                         "return [e.id || e.textContent || e.getAttribute('aria-label'),"
                         "s.outlineStyle, b.top >= 0 && b.bottom <= innerHeight]")
        if at is None:
            break
        assert at[1] != "none", f"{at[0]} does not show that it has the focus"
        assert at[2], f"{at[0]} has the focus out of sight"
        seen.append(at[0])
    assert at is None, "Tab never leaves the page"
    assert seen[:2] == ["Submit a job", "filter-text"], seen[:4]
    page.find("#filter-text").type("none of them", "Tab")
    board.see("#history .empty")
    board.quiet()


def sign_in(board, token):
    board.see("#token").fill(token)
    board.press("Sign in")


def check_tokens(board):
    """As soon as there is a token the page asks for one, and shows what its owner may do."""
    page, daemon = board.page, board.daemon
    hidden = json.loads(daemon.quantctl("--json", "quantize", "olmoe-demo", "--nearest", "--wbits", "4", "--eval",
                                        "none", "--private", "--detach"))["id"]
    board.open()
    tokens = {role: daemon.quantctl("token", "create", role, "--role", role, "--owner", "user").strip()
              for role in ("read", "submit")}
    board.see("h1", "Sign in")  # the page was open
    board.accessible("the prompt")
    sign_in(board, "qd_1_0000")
    board.see("#token-wrong", "not known")
    sign_in(board, tokens["read"])
    board.see("#who", "user (read)")
    board.see("#history tbody tr")
    board.see("main", "needs the role submit")
    page.reload()
    board.see("#who", "user (read)")
    assert page.script("return localStorage.length") == 0, "the token stays in the tab"
    board.open("#/jobs/1")
    board.see("[aria-labelledby=files-title] button", "Download").click()
    assert not page.has("[aria-labelledby=files-title] a"), "a link would go without the token"
    board.open(f"#/jobs/{hidden}")
    board.see("h1", "private")
    page.find("#sign-out").click()
    sign_in(board, tokens["submit"])
    board.see("h1", "private")
    board.open("#/submit?from=2")
    page.wait_until(lambda: page.find("#field-method").prop("value") == "rtn", "the values of job 2")
    page.script("document.querySelectorAll('form details').forEach((d) => { d.open = true; })")
    assert page.find("#field-dataset").prop("value") == ""
    board.choose("#field-method", "gptq")
    page.find("#field-dataset").fill(TEXT)
    page.find("#field-nsamples").fill("4096")
    board.press("Submit the job")
    own = board.job()
    assert board.see("main button", "Cancel").enabled
    daemon.quantctl("cancel", str(own))
    daemon.quantctl("cancel", str(foreign := json.loads(daemon.quantctl(
        "--json", "quantize", "olmoe-demo", TEXT, "--wbits", "4", "--eval", "none", "--detach"))["id"]))
    board.open(f"#/jobs/{foreign}")
    assert not board.see("main button", "Retry").enabled
    board.see("#why-not", "is for its owner")
    daemon.quantctl("token", "revoke", "submit")
    board.see("#token-wrong", "revoked")
    board.quiet("401", "403", "422")


def run(board):
    check_empty(board)
    check_modules(board)
    job = check_submit(board)
    check_restart(board, job)
    check_heat_map(board)
    check_compare(board, job)
    check_cancel_and_retry(board)
    check_list(board)
    check_plan(board)
    check_polling(board)
    check_looks(board)
    check_keyboard(board)
    check_tokens(board)


if __name__ == "__main__":
    sys.exit(main(QUANTD, QUANTCTL, SOURCE, (1280, 900), run))
