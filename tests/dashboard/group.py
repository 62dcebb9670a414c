# SPDX-License-Identifier: Apache-2.0
"""The pages of groups, over the jobs of history.py and over one that is submitted by the form."""
from compare import heads, rows

PLOTTED = "return [...document.querySelectorAll(`#${arguments[0]}`)].length && " \
    "[...document.querySelector(`section:has(#${arguments[0]})`).querySelectorAll('svg.scatter a')]" \
    ".map((a) => a.getAttribute('aria-label'))"


def check_list(board):
    """Groups are listed, the newest first, and chosen in the list of jobs."""
    page = board.page
    board.open("#/groups")
    page.wait_until(lambda: len(page.find_all(".groups tbody tr")) == 2, "two groups")
    first = page.find(".groups tbody tr")
    assert "bits by night" in first.text and "4 failed" in first.text and "wbits, seed" in first.text, first.text
    board.see(".groups a", "gptq or rtn").click()
    board.see("h1", "gptq or rtn")
    board.press("In the list of jobs")
    group = board.daemon.ask("v1/groups/1")
    page.wait_until(lambda: len(page.find_all("#history tbody tr")) == len(group["members"]), "its jobs alone")
    assert page.find("#filter-group").prop("value") == "1"
    board.see("#history .labels a", "group 1").click()
    board.see("h1", "gptq or rtn")
    board.press("Groups")
    board.quiet()


def check_ended(board):
    """What differs has columns, both plots are against size, their links open members."""
    page = board.page
    board.open("#/groups/1")
    members = [member["id"] for member in board.daemon.ask("v1/groups/1")["members"]]
    page.wait_until(lambda: rows(page) == members, "the members as they were submitted")
    found = heads(page)
    assert {"params:wbits", "params:groupsize", "params:method"} <= set(found), found
    assert not {"params:act_order", "params:grid", "params:seqlen"} & set(found), found
    assert not page.find(".progress").shown, "nothing is left to be done"
    for plot, figure in (("plot-x", "Divergence on wikitext2"), ("plot2-x", "Perplexity on wikitext2")):
        labels = page.script(PLOTTED, plot)
        assert len(labels) == len(members) and all(figure in label and "Size" in label for label in labels), labels
        best = [label for label in labels if "on the Pareto front" in label]
        assert 2 <= len(best) < len(labels) and all("method gptq" in label for label in best), best
    board.choose("#plot2-y", "perplexity:c4")
    page.wait_until(lambda: "y2=perplexity:c4" in page.url, "the address of the second plot")
    page.find("[data-key='perplexity:wikitext2']").click()
    page.wait_until(lambda: rows(page) != members, "sorted")
    order, url = rows(page), page.url
    page.open("about:blank")
    page.open(url)
    page.wait_until(lambda: rows(page) == order, "the same view by its address")
    assert page.find("#plot2-y").prop("value") == "perplexity:c4"
    board.see(".compare tbody th a").click()
    board.see(".crumbs a", "gptq or rtn").click()
    page.wait_until(lambda: "#/groups/1" in page.url, "back at the group")
    board.open("#/groups/2")
    board.see(".members", "the job needs 18.2 GB of the device")
    board.open("#/groups/99")
    board.see("h1", "There is no group 99")
    board.quiet("404")


def check_form(board):
    """Lists in the form make a group; its page follows the members until they have ended."""
    page, daemon = board.page, board.daemon
    board.open("#/groups")
    board.press("Submit a group")
    board.see("#lists-0")
    page.find("#field-model").type("olmoe-demo")
    page.find("#field-dataset").fill("file:short.txt")
    page.find("#field-eval").fill("file:short.txt")
    page.script("document.querySelectorAll('form details').forEach((d) => { d.open = true; })")
    for name, value in (("nsamples", "4"), ("seqlen", "128"), ("name", "made by lists")):
        page.find(f"#field-{name}").fill(value)
    page.find("#lists-0").fill("3, 5")
    board.see("#lists-0-problem", "is none of 2, 3, 4, 8, 16")
    page.find("#lists-0").fill("3, 4")
    page.find("#lists-1").fill("32, 12")
    board.see("#lists-1-problem", "multiple of 8")  # by the daemon
    page.find("#lists-1").fill("32, 64")
    board.see("button", "Submit 4 jobs")
    board.see("[aria-labelledby=estimate-title]", "Jobs")
    board.accessible("lists in the form")
    page.forget()
    board.press("Submit 4 jobs")
    board.see("h1", "made by lists")
    page.script("window.sameDocument = true")
    number = int(page.url.partition("#/groups/")[2])
    board.see(".progress", "queued")
    board.accessible("a group that runs")
    members = daemon.ask(f"v1/groups/{number}")["members"]
    values = [(member["values"]["wbits"], member["values"]["groupsize"]) for member in members]
    assert values == [(3, 32), (3, 64), (4, 32), (4, 64)], values
    for member in members:
        daemon.wait_for(member["id"], "succeeded")
    board.see(".titled .status", "succeeded")
    page.wait_until(lambda: not page.find(".progress").shown, "nothing left")
    page.wait_until(lambda: len(page.find_all("svg.scatter a")) == 8, "all members in both plots")
    assert page.script("return window.sameDocument === true"), "the page was loaded anew"
    board.accessible("a group that has ended")
    board.quiet()


def check_hold(board):
    """What waits of a group is held and released by one button each."""
    page, daemon = board.page, board.daemon
    made = daemon.ask("v1/groups", {"job": {"model": "olmoe-demo", "dataset": "file:short.txt", "eval": [],
                                            "nsamples": 4000}, "lists": {
        "rules": [[], [{"modules": "self_attn", "wbits": 8}]], "wbits": [3, 4]}})
    states = lambda: sorted(status.text for status in page.find_all(".members .status"))
    board.open(f"#/groups/{made['id']}")
    page.wait_until(lambda: states() == ["queued"] * 3 + ["running"], "one that runs")
    assert "rules self_attn:wbits=8, wbits 4" in page.find(".members").text, page.find(".members").text
    board.press("Hold all")
    page.wait_until(lambda: states() == ["held"] * 3 + ["running"], "three that are held")
    board.press("Release all")
    page.wait_until(lambda: states() == ["queued"] * 3 + ["running"], "three that wait")
    page.wait_until(lambda: page.has(".compare tbody tr"), "the table")
    assert "[object" not in page.find(".compare").text, page.find(".compare").text
    daemon.ask(f"v1/groups/{made['id']}/cancel", {})
    board.see(".titled .status", "cancelled")
    board.quiet()


def check_cancel(board):
    """One button cancels what has not ended."""
    page, daemon = board.page, board.daemon
    made = daemon.ask("v1/groups", {"job": {"model": "olmoe-demo", "dataset": "file:short.txt", "eval": [],
                                            "nsamples": 4000}, "lists": {"wbits": [3, 4]}})
    board.open(f"#/groups/{made['id']}")
    board.see(".members .status", "running")
    board.press("Cancel all")
    board.press("Cancel its jobs")
    board.see(".titled .status", "cancelled")
    page.wait_until(lambda: [s.text for s in page.find_all(".members .status")] == ["cancelled"] * 2, "both")
    board.quiet()


def run(board):
    check_list(board)
    check_ended(board)
    check_form(board)
    check_hold(board)
    check_cancel(board)
