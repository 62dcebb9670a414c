#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What quantctl prints of jobs to come, plans and groups, held to the files in golden/.

Usage: test_submissions.py QUANTCTL [--update]. With --update the files are written anew: look at them.
"""
import json
import os
import tempfile

import fake
from golden_files import check, check_json, finish, run


def check_estimate():
    """All that is known, what is not, and the line before a job."""
    made = fake.Fake()
    made.jobs = {1: fake.job(1)}
    job = ("quantize", "org/olmoe", "wikitext2")
    for width in (40, 80, 120):
        check(f"estimate-{width}", run(made, *job, "--estimate", width=width))
    assert not made.posted, "an estimate was submitted"
    assert check_json(run(made, *job, "--estimate", "--json")) == fake.ESTIMATE
    check("estimate-detach", run(made, *job, "--detach"))
    assert check_json(run(made, *job, "--detach", "--json"))["id"] == 1
    made.answers["/v1/estimate"] = 200, {
        **fake.ESTIMATE, "device": None, "parameters": None, "seqlen": None, "batch": None,
        "memory": {"device": None, "host": None}, "fits": None, "windows": {}, "size_bytes": None,
        "disk": {"needed": None, "free": 5}, "seconds": None, "bits_per_weight": None,
        "reasons": {name: "the model is not here " + fake.HOSTILE
                    for name in ("memory", "size_bytes", "seconds")}}
    check("estimate-unknown", run(made, "eval", "org/olmoe", "--estimate"))
    made.answers["/v1/estimate"] = 200, {
        **fake.ESTIMATE, "fits": False, "reasons": {"fits": "lower batch"}, "same_model": False}
    check("estimate-large", run(made, *job, "--estimate"))
    check("estimate-large-detach", run(made, *job, "--detach"))
    # an older quantd does not know: the job runs all the same
    made.answers["/v1/estimate"] = fake.problem(404, "not_found", "nothing")
    check("estimate-none-detach", run(made, *job, "--detach"))
    assert run(made, *job, "--estimate").returncode == 3
    made.stop()


def check_full_disk():
    """A disk that is full for a moment: the same submission once more. What is wrong stays so."""
    made = fake.Fake()
    made.jobs = {1: fake.job(1)}
    job = ("quantize", "org/olmoe", "wikitext2", "--detach")
    made.refusals = [fake.problem(507, "disk_full", "the disk is full")]
    assert run(made, *job).returncode == 0
    keys = made.keys[-2:]
    assert made.posted[-1] == made.posted[-2] and keys[0] and keys[0] == keys[1], keys
    made.refusals = [fake.problem(422, "invalid_parameter", "wbits: must be 2, 3, 4, 8 or 16")]
    n = len(made.posted)
    assert run(made, *job).returncode == 3 and len(made.posted) == n + 1
    assert not made.refusals
    made.stop()


def check_plan():
    """What each size costs and the options that make it; what is refused is named as it was typed."""
    made = fake.Fake()
    def point(bits, size, kl, **more):
        return {"bits": bits, "bits_per_weight": bits + 0.25, "size_bytes": size, "kl": kl, **more}
    rules = [{"modules": ["self_attn"], "wbits": 8}, {
        "layers": "0-3", "modules": ["gate_proj", "up_proj"], "wbits": 3}]
    targets = [point(2.43, 240_000, 0.2446, target_bits=2.5, rules=rules),
               point(2.0, 200_000, 0.4647, target_bits=2.2, rules=[])]
    plan = {"chosen": targets[0], "targets": targets,
            "curve": [point(2.0, 200_000, 0.4647), point(4.0, 400_000, 0.0266)]}
    made.jobs = {1: fake.job(1, params={"wbits": 2, "plan_only": True, "target_bits": 2.5, "eval": []},
                             result={"plan": plan, "size_bytes": None})}
    words = ("plan", "org/olmoe", "wikitext2", "--target-bits", "2.5,2.2")
    for width in (60, 120):
        check(f"plan-{width}", run(made, *words, width=width))
    check("plan-markdown", run(made, *words, "--markdown"))
    assert made.posted[-1]["plan_bits"] == [2.5, 2.2] and made.posted[-1]["plan_only"], made.posted
    made.answers["/v1/jobs"] = fake.problem(422, "invalid_parameter", "plan_bits: must be at least 2")
    check("plan-refused", run(made, *words), 3)
    made.stop()


def check_groups():
    """A sweep as it is sent, and a group in all verbs that take one."""
    made = fake.Fake()
    members = [
        fake.member(1, size=300_000, loss=0.25, wbits=4, groupsize=128),
        fake.member(2, size=310_000, loss=0.5, wbits=4, groupsize=64),
        fake.member(3, size=230_000, loss=1.5, wbits=3, groupsize=128),
        fake.member(4, "failed", wbits=3, groupsize=64)]
    members[0]["pareto"] = members[2]["pareto"] = True
    members[3]["error"] = {"detail": "out of memory " + fake.HOSTILE}
    group = fake.group(*members, name="sweep " + fake.HOSTILE, status="failed")
    made.answers["/v1/groups"] = 202, group
    made.answers["/v1/groups/3"] = 200, group
    made.answers["/v1/groups?limit=20"] = 200, fake.listing([group])
    made.jobs = {1: fake.job(1, result=fake.result(7.5, 7.25)), 2: fake.job(2),
                 3: fake.job(3, params={"wbits": 3}, result=fake.result(
                     8.75, 7.25, size_bytes=230_000))}
    made.answers["/v1/jobs?group=3&limit=500"] = 200, fake.listing(list(made.jobs.values()))

    job = ("quantize", "org/olmoe", "wikitext2", "--wbits", "3,4", "--groupsize", "64,128")
    check("group-quantize", run(made, *job), 1)
    assert made.asked == {"job": {"kind": "quantize", "model": "org/olmoe", "dataset": "wikitext2"},
                          "lists": {"wbits": [3, 4], "groupsize": [64, 128]}}, made.asked
    check("group-detach", run(made, *job, "--detach"))
    assert check_json(run(made, *job, "--detach", "--json"))["id"] == 3
    for width in (60, 120):
        check(f"group-show-{width}", run(made, "show", "group:3", width=width))
    check("group-list", run(made, "groups"))
    check("group-markdown", run(made, "show", "group:3", "--markdown"))
    check("group-compare", run(made, "compare", "group:3"))
    check("group-compare", run(made, "compare", "group:3", "1", "group:3"))  # each job once
    check("group-wait", run(made, "wait", "group:3", "1"), 1)
    check("group-watch", run(made, "watch", "group:3"), 1)
    made.answers["/v1/groups/3/cancel"] = 202, group
    check("group-cancel", run(made, "cancel", "group:3"))
    many = fake.group(*({**member, "values": {**member["values"], "drift": 0.5, "seed": 1, "rules": []}}
                        for member in members), varies=("wbits", "groupsize", "drift", "seed", "rules"))
    made.answers["/v1/groups/3"] = 200, many
    check("group-show-many", run(made, "show", "group:3"))
    own = fake.group(members[0], {**members[1], "perplexity": {"c4": {"value": 11.5}}, "difference": {
        "c4": {"kl_mean": 0.0625}}, "values": {"eval": ["c4"]}}, varies=["eval"])
    made.answers["/v1/groups/3"] = 200, own
    check("group-show-sets", run(made, "show", "group:3"))
    made.answers["/v1/groups/estimate"] = 200, {"object": "group_estimate", "seconds": 700.0, "members": [
        {"values": {"wbits": 3}, "estimate": {**fake.ESTIMATE, "fits": False}},
        {"values": {"wbits": 4}, "estimate": {**fake.ESTIMATE, "seconds": None}}]}
    check("group-estimate", run(made, *job, "--estimate"))
    check("usage-group-save", run(made, *job, "--save", "d"), 2)
    check("usage-group-verb", run(made, "logs", "group:3"), 2)
    check_group_order(made, group)
    check_evals(made, group)
    for said, *words in [("'quantctl groups'", "show", bad) for bad in ("group:", "group:0", "group:x")] + [
            ("takes a number", "plan", *job[1:3], "--target-bits", bad) for bad in ("", ",", "2,,3")]:
        refused = run(made, *words)
        assert refused.returncode == 2 and said in refused.stderr, refused.stderr
    check_sweep_file(made, job[:3])


def check_group_order(made, group):
    """hold, release and prio of a group, beside jobs."""
    waiting = {**group, "counts": {**group["counts"], "queued": 2}}
    for verb in ("hold", "release", "priority"):
        made.answers[f"/v1/groups/3/{verb}"] = 200, waiting
    made.jobs[8] = fake.job(8, status="queued")
    check("group-hold", run(made, "hold", "group:3", "8"))
    check("group-release", run(made, "release", "group:3"))
    check("group-prio", run(made, "prio", "group:3", "8", "-5"))
    assert made.asked == made.posted[-1] == {"priority": -5} and made.jobs[8]["priority"] == -5, made.posted
    answers = check_json(run(made, "prio", "group:3", "8", "2", "--json"))
    assert [answer["id"] for answer in answers] == [3, 8]
    made.answers["/v1/groups/3/hold"] = fake.problem(409, "group_not_queued", "no job of group '3' waits")
    check("group-hold-refused", run(made, "hold", "group:3"), 3)


def check_evals(made, group):
    """Several models, and those that the jobs of a group made, are a group of evaluations."""
    made.answers["/v1/groups"] = 202, group
    for words, lists in (
            (["org/olmoe", "job:1"], {"model": ["org/olmoe", "job:1"]}),
            (["org/olmoe", "--seqlen", "256,512"], {"seqlen": [256, 512]}),
            (["group:3", "org/olmoe"], {"model": ["job:3", "job:1", "org/olmoe"]}),
            (["job:1", "group:3", "group:3", "job:1"], {"model": ["job:1", "job:3"]})):  # each once
        done = run(made, "eval", *words, "--eval", "wikitext2,c4", "--detach")
        assert done.returncode == 0, done
        assert made.asked["lists"] == lists and made.asked["job"].get("model") in (None, "org/olmoe"), made.asked
        assert made.asked["job"]["kind"] == "eval" and made.asked["job"]["eval"] == ["wikitext2", "c4"]
    many = [f"org/m{number}" for number in range(63)]
    run(made, "eval", *many[:62], "group:3", "--detach")
    assert len(made.asked["lists"]["model"]) == 64
    assert "more than 64" in run(made, "eval", *many, "group:3").stderr
    made.answers["/v1/jobs?group=3&limit=500"] = 200, fake.listing([fake.job(5, status="failed")])
    check("usage-eval-group", run(made, "eval", "group:3"), 2)


def check_sweep_file(made, job):
    """What the command line says wins over the file, and what quantd refuses is sent as it is."""
    with tempfile.TemporaryDirectory() as folder:
        path = folder + "/sweep.json"
        def sweep(value, *words):
            with open(path, "w", encoding="utf-8") as file:
                file.write(value if isinstance(value, str) else json.dumps(value))
            return run(made, *job, "--sweep", path, "--detach", *words)
        rules = [[{"modules": "self_attn", "wbits": 8}], []]
        done = sweep({"name": "n", "job": {"wbits": 4, "seed": 1}, "lists": {"rules": rules},
                      "members": [{"drift": 0.5}]}, "--wbits", "3", "--name", "mine")
        assert done.returncode == 0, done
        assert made.asked == {
            "name": "mine", "lists": {"rules": rules}, "members": [{"drift": 0.5}],
            "job": {"kind": "quantize", "model": "org/olmoe", "dataset": "wikitext2", "wbits": 3,
                    "seed": 1}}, made.asked
        sweep({"lists": {"wbits": [2, 3], "seed": [1, 2]}}, "--wbits", "4", "--seed", "5,6")
        assert made.asked["lists"] == {"seed": [5, 6]} and made.asked["job"]["wbits"] == 4
        sweep({"lists": 4, "colour": 1})
        assert made.asked["lists"] == 4 and made.asked["colour"] == 1
        for text in ("[]", "{", "4"):
            assert sweep(text).returncode == 2, text
        os.unlink(path)
        assert run(made, *job, "--sweep", path).returncode == 5


check_estimate()
check_full_disk()
check_plan()
check_groups()
finish()
