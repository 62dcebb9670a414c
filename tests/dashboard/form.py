# SPDX-License-Identifier: Apache-2.0
"""The form for a job, which the daemon checks as one types."""

ESTIMATE = "[aria-labelledby=estimate-title]"


def requests(page):
    """How many estimates were asked for since the last call."""
    return sum(url.endswith("/v1/estimate") for url in page.requests())


def check_first_things(board):
    """What most need is shown, the rest is folded, every field is of the document."""
    page, daemon = board.page, board.daemon
    board.open("#/submit")
    board.see("#field-model")
    for name in ("model", "wbits", "dataset", "eval"):
        assert page.find(f"#field-{name}").shown, name
    folded = page.script("return [...document.querySelectorAll('form details .field [id^=field-]')]"
                         ".filter((n) => n.matches('input, select, textarea')).map((n) => n.id.slice(6))")
    assert {"groupsize", "percdamp", "priority"} <= set(folded), folded
    assert not page.find("#field-groupsize").shown
    known = daemon.ask("openapi.json")["components"]["schemas"]["JobRequest"]["properties"]
    there = page.script("return [...document.querySelectorAll('form [id^=field-]')]"
                        ".filter((n) => n.matches('input, select, textarea')).map((n) => n.id.slice(6))")
    assert sorted(there) == sorted(name for name in known if not known[name].get("deprecated")), there
    board.accessible("the form at first")


def check_suggestions(board):
    """Checkpoints of finished jobs are offered as models; sets are chosen by buttons."""
    page = board.page
    page.wait_until(lambda: page.has("#field-model-examples option[value^='job:']"), "finished jobs")
    page.find("#field-eval").fill("c4")
    button = page.find(".chips [data-value=wikitext2]")
    button.click()
    assert page.find("#field-eval").prop("value") == "c4, wikitext2"
    assert button.attribute("aria-pressed") == "true"
    button.click()
    assert page.find("#field-eval").prop("value") == "c4"
    assert button.attribute("aria-pressed") == "false"
    page.find("#field-eval").fill(" ")


def check_as_one_types(board):
    """An estimate follows the form; what is wrong is said at its field, once it was come to."""
    page = board.page
    page.forget()
    page.find("#field-model").type("olmoe-demo")
    board.see(ESTIMATE, "Calibration text")
    assert not page.find("#field-dataset-problem").shown, "a field that was not come to yet"
    assert requests(page) < len("olmoe-demo"), "a question for each key"
    page.find("#field-dataset").fill("file:short.txt")
    board.see(ESTIMATE, "Host memory")
    size = page.find(ESTIMATE).text
    board.choose("#field-wbits", "8")
    page.wait_until(lambda: "Size" in page.find(ESTIMATE).text and page.find(ESTIMATE).text != size, "another size")
    page.script("document.querySelectorAll('form details').forEach((d) => { d.open = true; })")
    page.find("#field-groupsize").fill("12")
    board.see("#field-groupsize-problem", "multiple of 8")
    assert page.find("#field-groupsize").attribute("aria-invalid") == "true"
    assert not page.has(ESTIMATE + " dd"), "figures of a job that cannot be"
    board.accessible("a mistake in the form")
    page.find("#field-groupsize").fill("64")
    board.see(ESTIMATE, "Bits per weight")
    assert not page.find("#field-groupsize-problem").shown
    assert "1 changed" in page.find("details:has(#field-groupsize) summary").text
    board.quiet("422")


def check_unfolded(board):
    """A mistake in a folded part opens it, and the focus goes there."""
    page = board.page
    page.find("#field-nsamples").fill("0")
    page.script("document.querySelectorAll('form details').forEach((d) => { d.open = false; })")
    board.press("Submit the job")
    board.see("#field-nsamples-problem", "must be at least 1")
    assert page.focused.attribute("id") == "field-nsamples"
    board.open("#/submit?from=26")
    board.see("#field-groupsize")
    assert page.find("#field-groupsize").prop("value") == "64", "a variant shows what it has of its own"
    board.quiet("422")


def run(board):
    check_first_things(board)
    check_suggestions(board)
    check_as_one_types(board)
    check_unfolded(board)
