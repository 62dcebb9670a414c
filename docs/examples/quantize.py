#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Quantizes MODEL by quantd, follows the job, and saves the checkpoint in FOLDER.

Usage: quantize.py MODEL TEXT FOLDER, as in: quantize.py olmoe-demo file:demo-calibration.txt out
"""
import os
import sys

import httpx
import requests
from httpx_sse import connect_sse

SERVER = os.environ.get("QUANTD_SERVER", "http://127.0.0.1:7878")
TOKEN = os.environ.get("QUANTD_TOKEN")
HEADERS = {"Authorization": "Bearer " + TOKEN} if TOKEN else {}
model, text, folder = sys.argv[1:4]

answer = requests.post(SERVER + "/v1/jobs", headers=HEADERS, timeout=60, json={
    "model": model, "dataset": text, "wbits": 4, "groupsize": 128, "eval": [text]})
if not answer.ok:
    sys.exit(f"{answer.json()['detail']}\n{answer.json().get('hint', '')}")
urls = answer.json()["urls"]

# The stream ends with the job; a comment comes every 15 s. To go on after a broken connection,
# connect again with the header Last-Event-ID: the id of the last event.
with httpx.Client(headers=HEADERS, timeout=60) as client:
    with connect_sse(client, "GET", SERVER + urls["events"]) as source:
        for event in source.iter_sse():
            data = event.json().get("data", {})
            print(event.event, data.get("phase", ""), data.get("fraction", ""), flush=True)

job = requests.get(SERVER + urls["self"], headers=HEADERS, timeout=60).json()
if job["status"] != "succeeded":
    sys.exit(f"job {job['id']} {job['status']}: {(job['error'] or {}).get('detail')}")
for name, measured in job["result"]["perplexity"].items():
    print(f"perplexity of {name}: {measured['value']:.3f}")
os.makedirs(folder, exist_ok=True)
for file in job["artifacts"]:
    with requests.get(SERVER + file["url"], headers=HEADERS, timeout=60, stream=True) as data:
        data.raise_for_status()
        with open(os.path.join(folder, file["name"]), "wb") as out:
            for block in data.iter_content(1 << 20):
                out.write(block)
