# SPDX-License-Identifier: Apache-2.0
"""The page of comparisons, over the jobs of history.py: jobs 2 to 97 are a sweep."""
import csv
import glob
import os
import time

SWEEP = range(2, 98)
DOWNLOAD_SECONDS = 20


def rows(page):
    """The numbers of the jobs in the table, in its order, read at once."""
    return page.script("return [...document.querySelectorAll('.compare tbody tr:not(.baseline) th a')]"
                       ".map((a) => Number(a.hash.slice('#/jobs/'.length)))")


def heads(page):
    return page.script("return [...document.querySelectorAll('.compare thead .head-button')]"
                       ".map((b) => b.dataset.key)")


def saved(page, folder, button, name):
    """The file that @button saves."""
    path = f"{folder}/{name}"
    page.script("[...document.querySelectorAll('main button')].find((b) => b.textContent === arguments[0]).click()",
                button)
    page.wait_until(lambda: os.path.exists(path) and not glob.glob(folder + "/*.crdownload"), name, DOWNLOAD_SECONDS)
    with open(path, "rb") as file:
        return file.read()


def check_group(board):
    """All jobs of a label, none cut; what differs has a column, the rest is there to choose."""
    page = board.page
    board.open("#/?label=sweep")
    board.press("Compare all that match")
    page.wait_until(lambda: rows(page) == list(SWEEP), "the jobs of the sweep")
    assert "96 jobs" in board.see(".head").text
    again = board.daemon.submit(method="rtn", dataset=None, eval=[])  # its end loads the jobs anew
    board.daemon.wait_for(again, "succeeded")
    time.sleep(1.5)
    assert rows(page) == list(SWEEP), "the jobs are turned round"
    assert not page.find("main > div > .problem").shown
    found = heads(page)
    assert found[:4] == ["perplexity:wikitext2", "perplexity:c4", "kl_mean:wikitext2", "kl_mean:c4"], found
    assert {"params:wbits", "params:groupsize", "params:grid"} <= set(found) and "params:seqlen" not in found, found
    page.find("details summary").click()
    board.press("All columns")
    page.wait_until(lambda: "params:seqlen" in heads(page), "all columns")
    board.press("Only what differs")
    page.wait_until(lambda: heads(page) == found, "the first ones")
    page.find(".chooser input[type=checkbox]").click()
    page.wait_until(lambda: heads(page) == found[1:], "one column less")


def check_sort_and_link(board):
    """Each column sorts, by the keyboard too; the address shows the same to another browser."""
    page = board.page
    board.open("#/compare?label=sweep")
    page.wait_until(lambda: rows(page) == list(SWEEP), "the jobs of the sweep")
    button = "[data-key='perplexity:wikitext2']"
    page.script("arguments[0].focus()", page.find(button))
    page.press("Enter")
    page.wait_until(lambda: rows(page) != list(SWEEP), "sorted")
    ascending = rows(page)
    page.press("Enter")
    page.wait_until(lambda: rows(page) != ascending, "the other way")
    assert page.focused.attribute("data-key") == "perplexity:wikitext2", "the focus stays"
    assert page.find(f"th:has({button})").attribute("aria-sort") == "descending"
    worst = rows(page)[0]
    assert board.daemon.ask(f"v1/jobs/{worst}")["params"]["method"] == "rtn"
    board.choose("#comparison-base", "30")
    page.wait_until(lambda: "the base" in page.find(".compare tbody").text, "changes from job 30")
    board.choose("#plot-x", "size")
    board.choose("#plot-colour", "params:wbits")
    page.find("#plot-log-x").click()
    url = page.url
    shown = page.script("return document.querySelector('main').innerText")
    page.open("about:blank")
    page.open(url)
    page.wait_until(lambda: len(rows(page)) == 96, "the jobs again")
    page.wait_until(lambda: page.script("return document.querySelector('main').innerText") == shown, "the same view")


def check_plot(board):
    """A point for each job, the front among them; arrows go along it, Enter opens the job."""
    page = board.page
    board.open("#/compare?label=sweep&base=30")
    page.wait_until(lambda: len(page.find_all("svg.scatter a")) == 96, "a point for each")
    labels = page.script("return [...document.querySelectorAll('svg.scatter a')]"
                         ".map((a) => a.getAttribute('aria-label'))")
    best = [label for label in labels if "on the Pareto front" in label]
    assert 5 <= len(best) < 40 and all("gptq" in label for label in best), best
    page.script("arguments[0].focus()", page.find("svg.scatter a[tabindex='0']"))
    first = page.focused.label
    page.press("End")
    last = page.focused.label
    assert first != last and page.find(".scatter + .told").text == last
    page.press("ArrowRight")
    assert page.focused.label == last, "the end is the end"
    page.press("Home")
    assert page.focused.label == first
    job = first.split()[1].rstrip(",")
    page.press("Enter")
    page.wait_until(lambda: page.url.endswith(f"#/jobs/{job}"), "the job")
    page.back()


def check_files(board):
    """CSV with the numbers in full, the plot as SVG and PNG, as they are on the page."""
    page = board.page
    folder = os.path.join(board.daemon.home, "saved")
    os.makedirs(folder)
    page.cdp("Browser.setDownloadBehavior", behavior="allow", downloadPath=folder)
    board.open("#/compare?label=sweep&sort=-bits")
    page.wait_until(lambda: len(page.find_all("svg.scatter a")) == 96, "the plot")
    order = rows(page)
    table = list(csv.DictReader(saved(page, folder, "Save as CSV", "comparison.csv").decode().splitlines()))
    assert [int(row["Job"]) for row in table] == order
    job = board.daemon.ask(f"v1/jobs/{order[0]}")
    entry = job["result"]["perplexity"]["wikitext2"]
    assert float(table[0]["Perplexity on wikitext2"]) == entry["value"]
    assert float(table[0]["Perplexity on wikitext2, standard error"]) == entry["stderr"]
    change = float(table[0]["Perplexity on wikitext2, change"])
    assert abs(change - (entry["value"] / job["result"]["baseline"]["wikitext2"] - 1)) < 1e-12
    assert float(table[0]["Divergence on wikitext2"]) == job["result"]["difference"]["wikitext2"]["kl_mean"]
    picture = saved(page, folder, "Save as SVG", "comparison.svg").decode()
    assert picture.startswith("<svg") and "var(--" not in picture and "href" not in picture and ">rtn<" in picture
    assert saved(page, folder, "Save as PNG", "comparison.png")[:8] == b"\x89PNG\r\n\x1a\n"


def check_pair(board):
    """Two heat maps in the same colours; the address has them."""
    page = board.page
    board.open("#/compare?label=sweep")
    page.wait_until(lambda: page.has("#pair-Left option[value='3']"), "jobs to choose")
    board.choose("#pair-Left", "3")
    board.choose("#pair-Right", "4")
    page.wait_until(lambda: len(page.find_all(".pair .heat")) == 2, "two maps")
    assert "heat=3,4" in page.url, page.url
    step = "return [...document.querySelectorAll('.pair .heat')].map((h) => " \
        "Math.max(...[...h.querySelectorAll('[data-step]')].map((c) => Number(c.dataset.step))))"
    # Errors of job 4 are twice those of job 3 (history.py): in one scale it alone is darkest.
    left, right = page.script(step)
    assert right == 6 and left < right, (left, right)
    page.find("label[for=heat-metric-tokens]").click()
    page.wait_until(lambda: page.script(step) == [6, 6], "tokens, which are the same")
    url = page.url
    page.open("about:blank")
    page.open(url)
    page.wait_until(lambda: len(page.find_all(".pair .heat")) == 2 and page.script(step) == [6, 6],
                    "the same maps for another browser")
    board.accessible("two heat maps")


def check_many(board):
    """200 jobs by their numbers, all of them; of more than 500 it is said how many."""
    page = board.page
    wanted = list(range(1, 201))
    began = time.monotonic()
    board.open("#/compare?jobs=" + ",".join(map(str, wanted)))
    page.wait_until(lambda: rows(page) == wanted, "200 jobs")
    print(f"200 jobs are compared after {time.monotonic() - began:.1f} s")
    page.find(".compare .leave").click()
    page.wait_until(lambda: rows(page) == wanted[1:], "one left out")
    board.open("#/compare?kind=nonsense")
    board.see(".problem", "kind")
    board.open("#/compare?jobs=" + ",".join(map(str, range(1, 511))))
    board.see(".problem", "The first 500 of 510 jobs are compared.")
    board.quiet("404", "422")


def run(board):
    check_group(board)
    check_sort_and_link(board)
    check_plot(board)
    check_files(board)
    check_pair(board)
    board.quiet()
    check_many(board)
