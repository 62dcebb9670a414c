#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A client that openapi-python-client makes of openapi.json, and what it can do with a real quantd.

Usage: generated_client.py BUILD VENV

It submits a job, follows its events, lists jobs, layers, files and devices, and reads figures and
errors by attribute. A warning of the generator fails. VENV is a folder for a virtual environment,
which is made and filled from the Python package index when it is not there. No suite runs it.
"""
import os
import subprocess
import sys
import tempfile
import time

from own_venv import need

BUILD, VENV = sys.argv[1:3]
SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TEXT = "file:demo-calibration.txt"
need(VENV, openapi_python_client="openapi-python-client", httpx="httpx")
sys.path.insert(0, SOURCE + "/scripts")

from own_daemon import Daemon, free_port  # noqa: E402


def generate(folder):
    done = subprocess.run(
        [sys.executable, "-m", "openapi_python_client", "generate", "--path",
         SOURCE + "/api/openapi.json", "--output-path", folder + "/made"],
        capture_output=True, text=True, check=True)
    lines = (done.stdout + done.stderr).splitlines()
    # It formats what it made by a program that need not be there.
    bad = [line for line in lines if "Unable" in line or "WARNING" in line or "omitted" in line]
    assert not bad, "\n".join(lines)
    sys.path.insert(0, folder + "/made")


def follow(client, job_id):
    """All events of the job until it has ended, by asking."""
    from quantd_client.api.default import get_job, list_job_events
    after, events = 0, []
    for _ in range(3000):
        ended = get_job.sync(job_id, client=client).finished_at is not None
        page = list_job_events.sync(job_id, client=client, after=after)
        events += page.data
        after = page.data[-1].seq if page.data else after
        if ended and not page.has_more:
            return events
        time.sleep(0.1)
    raise AssertionError(f"job {job_id} does not end")


def check_job(client):
    from quantd_client.api.default import create_job, get_job, list_layers
    from quantd_client.models import Job, JobRequest, JobRequestBitsPerWeight, Status
    request = JobRequest(model="olmoe-demo", dataset=TEXT, eval_=[TEXT], groupsize=64, nsamples=8,
                         seqlen=64, wbits=JobRequestBitsPerWeight(4), name="generated")
    made = create_job.sync(client=client, body=request)
    assert isinstance(made, Job) and made.status == Status.QUEUED, made
    events = follow(client, made.id)
    assert [events[0].type_, events[-1].type_] == ["job.queued", "job.succeeded"], events
    job = get_job.sync(made.id, client=client)
    perplexity = job.result.perplexity[TEXT]
    assert 1 < perplexity.value < 100 and perplexity.windows > 1, perplexity
    assert job.model.layers == 3 and job.result.seconds["total"] > 0 and job.error is None
    layers = list_layers.sync(made.id, client=client).data
    assert len(layers) == 3 and 0 < layers[0].matrices[0].error < 1, layers[0]
    print(f"ok: job {job.id}, perplexity {perplexity.value:.3f}, {len(events)} events")
    return job


def check_lists(client, job):
    from quantd_client.api.default import (get_artifact, list_artifacts, list_devices, list_events,
                                           list_jobs, list_models, list_orphans)
    from quantd_client.models import JobList, ListJobsKind, Problem
    jobs = list_jobs.sync(client=client, kind=ListJobsKind.QUANTIZE, limit=10)
    assert isinstance(jobs, JobList) and jobs.data[0].id == job.id and not jobs.has_more
    assert jobs.data[0].labels.additional_properties == {}
    files = {file.name: file.bytes_ for file in list_artifacts.sync(job.id, client=client).data}
    assert files == {file.name: file.bytes_ for file in job.artifacts} and "config.json" in files
    data = get_artifact.sync_detailed(job.id, "config.json", client=client).content
    assert len(data) == files["config.json"]
    assert list_devices.sync(client=client).data[0].kind == "cpu"
    assert "olmoe-demo" in [model.id for model in list_models.sync(client=client).data]
    assert list_events.sync(client=client, limit=3).has_more
    refused = list_orphans.sync(client=client)
    assert isinstance(refused, Problem) and refused.code == "forbidden", refused
    print("ok: lists")


def check_errors(client):
    from quantd_client.api.default import create_job, get_job
    from quantd_client.models import JobRequest, Problem
    answer = get_job.sync(999, client=client)
    assert isinstance(answer, Problem) and answer.code == "job_not_found" and answer.hint, answer
    answer = create_job.sync(client=client, body=JobRequest(model="nothing", dataset=TEXT))
    assert isinstance(answer, Problem) and answer.field == "model", answer
    print("ok: errors")


def main():
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, Daemon(BUILD, "--device", "cpu", "--disk-floor",
                                                         "0", port=port):
        generate(folder)
        from quantd_client import Client
        client = Client(base_url=f"http://127.0.0.1:{port}", timeout=60)
        job = check_job(client)
        check_lists(client, job)
        check_errors(client)


main()
