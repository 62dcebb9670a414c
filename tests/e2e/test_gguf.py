#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The format gguf, by a reader of the test's own; and formats of one file, measured.

Usage: test_gguf.py QUANTD QUANTCTL SOURCE. Prints what it does; exits with 0 when all passed.
"""
import json
import math
import os
import shutil
import struct
import tempfile

from test_formats import (DEMO, QUANTD, Daemon, artifact, as_f32, expect_same, export, files_of,
                          make_model, refuse, round_model, tensors_of)


class Gguf:
    """A file of GGUF, read from front to back: keys, and tensors as (dims, type, bytes)."""

    SCALARS = {4: "<I", 5: "<i", 6: "<f", 7: "<?"}
    BLOCKS = {0: (1, 4), 30: (1, 2), 2: (32, 18), 6: (32, 22), 8: (32, 34), 10: (256, 84),
              11: (256, 110), 12: (256, 144), 42: (64, 18)}

    def __init__(self, path):
        with open(path, "rb") as file:
            self.data, self.at = file.read(), 4
        assert self.data[:4] == b"GGUF" and self.number("<I") == 3
        n_tensors, n_keys = self.number("<q"), self.number("<q")
        self.keys = {self.text(): self.value(self.number("<i")) for _ in range(n_keys)}
        table = [self.entry() for _ in range(n_tensors)]
        self.at += -self.at % 32
        self.tensors, end = {}, 0
        for name, dims, kind, offset in table:
            block, size = self.BLOCKS[kind]
            n = math.prod(dims) // block * size
            assert offset == end and dims[0] % block == 0, name
            self.tensors[name] = dims, kind, self.data[self.at + offset:self.at + offset + n]
            end = offset + n + -n % 32
        assert self.at + end == len(self.data)

    def number(self, form):
        (value,) = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return value

    def text(self):
        n = self.number("<Q")
        self.at += n
        return self.data[self.at - n:self.at].decode()

    def value(self, kind):
        if kind == 8:
            return self.text()
        if kind == 9:
            kind = self.number("<i")
            return [self.value(kind) for _ in range(self.number("<Q"))]
        return self.number(self.SCALARS[kind])

    def entry(self):
        return (self.text(), [self.number("<q") for _ in range(self.number("<I"))],
                self.number("<i"), self.number("<Q"))


def q4_0(data):
    """{element: (bits of the scale, code - 8)} of the first and the last block."""
    n = len(data) // 18
    return {(block, j): (data[18 * block:18 * block + 2],
                         (data[18 * block + 2 + j % 16] >> 4 * (j // 16) & 15) - 8)
            for block in {0, n - 1} for j in range(32)}


def gptq_weight(tensors, name, row, column):
    """(bits of the scale, code - 8) of a matrix of 4 bits, groups of 128, sym."""
    _, (_, rows), words = tensors[name + ".qweight"]
    word = struct.unpack_from("<I", words, 4 * (column // 8 * rows + row))[0]
    scales = tensors[name + ".scales"][2]
    at = 2 * (column // 128 * rows + row)
    return scales[at:at + 2], (word >> 4 * (column % 8) & 15) - 8


def expect_codes(gguf, tensors):
    """The first and the last block of some tensors have the codes of the gptq checkpoint."""
    prefix = "model.layers.1."
    for name, first, last in (("attn_k", "self_attn.k_proj", "self_attn.k_proj"),
                              ("ffn_up_exps", "mlp.experts.0.up_proj", "mlp.experts.15.up_proj"),
                              ("ffn_down_exps", "mlp.experts.0.down_proj",
                               "mlp.experts.15.down_proj")):
        dims, kind, data = gguf.tensors[f"blk.1.{name}.weight"]
        assert kind == 2 and dims[2:] == ([16] if "exps" in name else []), (name, dims, kind)
        for (block, j), weight in q4_0(data).items():
            matrix, row, column = ((first, 0, j) if block == 0 else
                                   (last, dims[1] - 1, dims[0] - 32 + j))
            assert weight == gptq_weight(tensors, prefix + matrix, row, column), (name, block, j)


def test_gguf(daemon, models):
    """One file with the codes of gptq; the job stands for them, and nothing is lost on the way."""
    print("gguf")
    with open(f"{models}/short.txt", "w", encoding="utf-8") as file:
        file.write(TEXT * 150)
    for model in (make_model(models, "small"), make_model(models, "tied", tie_word_embeddings=True)):
        jobs = {name: daemon.wait(daemon.submit(
            model=model, wbits=4, groupsize=128, sym=True, nearest=True, eval=[], format=name))
                for name in ("gptq", "gguf")}
        folder = artifact(daemon, jobs["gguf"])
        gguf, tensors = Gguf(folder + "/model.gguf"), tensors_of(artifact(daemon, jobs["gptq"]))
        expect_codes(gguf, tensors)
        assert len(gguf.tensors) == 3 + 3 * 12, len(gguf.tensors)
        embedding = tensors["model.embed_tokens.weight"][2]
        head = embedding if model == "tied" else tensors["lm_head.weight"][2]
        assert gguf.tensors["token_embd.weight"] == ([256, 4096], 30, embedding)
        assert gguf.tensors["output.weight"] == ([256, 4096], 30, head)
        assert gguf.tensors["blk.2.ffn_gate_inp.weight"][2] == as_f32(
            *tensors["model.layers.2.mlp.gate.weight"])[2]
        assert not [name for name in os.listdir(folder) if "safetensors" in name]
        assert jobs["gguf"]["result"]["size_bytes"] == len(gguf.data)
        assert jobs["gguf"]["result"]["bits_per_weight"] == 4.5
        for made in ("gptq", "gguf"):
            expect_same(files_of(daemon, export(daemon, jobs[made], "gguf")),
                        files_of(daemon, jobs["gguf"]))
        expect_same(files_of(daemon, export(daemon, jobs["gguf"], "gptq")),
                    files_of(daemon, jobs["gptq"]))
    expect_keys(gguf.keys)


def expect_keys(keys):
    with open(DEMO + "/tokenizer.json", encoding="utf-8") as file:
        tokenizer = json.load(file)
    tokens, kinds = keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.token_type"]
    assert keys["general.architecture"] == "olmoe" and keys["olmoe.expert_used_count"] == 4
    assert len(tokens) == len(kinds) == 4096
    for text, token in tokenizer["model"]["vocab"].items():
        assert tokens[token] == text
    for token in tokenizer["added_tokens"]:
        assert tokens[token["id"]] == token["content"]
        assert kinds[token["id"]] == (3 if token["special"] else 4), token
    assert keys["tokenizer.ggml.merges"] == tokenizer["model"]["merges"]
    assert keys["tokenizer.ggml.eos_token_id"] == 4095


def test_embedding(daemon, models):
    """Embedding and head in Q8_0: smaller, measured as saved, the same from an export."""
    print("embedding")
    request = {"wbits": 4, "groupsize": 128, "sym": True, "nearest": True, "format": "gguf",
               "seqlen": 512, "eval": ["file:short.txt"]}
    jobs = {}
    for model in ("small", "tied"):
        for kind in ("bf16", "q8_0"):
            job = daemon.wait(daemon.submit(model=model, gguf_embedding=kind, **request))
            assert job["status"] == "succeeded", job["error"]
            jobs[model, kind] = job
        plain, packed = (Gguf(artifact(daemon, jobs[model, kind]) + "/model.gguf")
                         for kind in ("bf16", "q8_0"))
        for name, (dims, kind, data) in packed.tensors.items():
            if name not in ("token_embd.weight", "output.weight"):
                assert plain.tensors[name] == (dims, kind, data), name
                continue
            assert kind == 8 and dims == [256, 4096], (name, dims, kind)
            expect_q8_0(data, plain.tensors[name][2])
        assert jobs[model, "q8_0"]["result"]["size_bytes"] == len(packed.data)
        values = [jobs[model, kind]["result"]["perplexity"]["file:short.txt"]["value"]
                  for kind in ("bf16", "q8_0")]
        assert values[0] != values[1] and abs(values[0] / values[1] - 1) < 0.02, values
        again = measure(daemon, kind="eval", model=f"job:{jobs[model, 'q8_0']['id']}")
        assert again == jobs[model, "q8_0"]["result"]["perplexity"]["file:short.txt"], again
        differences = [jobs[model, kind]["result"]["difference"]["file:short.txt"]["kl_mean"]
                       for kind in ("bf16", "q8_0")]
        assert differences[0] != differences[1], differences
        for name in ("bf16", "q8_0"):
            assert (jobs[model, name]["result"]["baseline"]["file:short.txt"] ==
                    jobs[model, "bf16"]["result"]["baseline"]["file:short.txt"])
    made = daemon.wait(daemon.submit(kind="export", model=f"job:{jobs['tied', 'bf16']['id']}",
                                     format="gguf", gguf_embedding="q8_0"))
    with open(artifact(daemon, made) + "/model.gguf", "rb") as file:
        assert file.read() == packed.data
    assert made["result"]["perplexity"] == {}, made["result"]["perplexity"]
    refuse_eval(daemon, "small", "has no such embedding", kind="quantize", wbits=4, nearest=True,
                eval=[], gguf_embedding="q8_0")


def expect_q8_0(blocks, floats):
    """Blocks of 34 bytes are the rounded values of 32 of BF16."""
    for block in range(0, len(blocks) // 34, 997):
        (d,) = struct.unpack_from("<e", blocks, 34 * block)
        codes = struct.unpack_from("<32b", blocks, 34 * block + 2)
        values = [struct.unpack("<f", b"\0\0" + floats[at:at + 2])[0]
                  for at in range(64 * block, 64 * block + 64, 2)]
        step = max(map(abs, values)) / 127
        assert abs(d - step) <= max(step * 2 ** -11, 2 ** -25), (d, step)
        assert max(map(abs, codes)) == 127
        for code, value in zip(codes, values):
            assert abs(code - value / step) <= 0.5001, (code, value, step)


TEXT = "The history of the city is a history of its people. Its caf\u00e9s, 1,234 of them. "


def measure(daemon, **request):
    job = daemon.wait(daemon.submit(seqlen=512, eval=["file:short.txt"], **request))
    assert job["status"] == "succeeded", job["error"]
    return job["result"]["perplexity"]["file:short.txt"]


def test_read_back(daemon, models):
    """A file measures what its job measured, bit for bit, with or without a tokenizer beside it."""
    print("read back")
    make_model(models, "whole")
    types = set()
    for name in ("q2_k", "q3_k", "q4_k"):
        job = daemon.wait(daemon.submit(model="whole", gguf_type=name, nearest=True, seqlen=512,
                                        eval=["file:short.txt"], rules=["down_proj:wbits=8"]))
        assert job["status"] == "succeeded", job["error"]
        found = measure(daemon, kind="eval", model=f"job:{job['id']}")
        assert found == job["result"]["perplexity"]["file:short.txt"], (name, found)
    for wbits, groupsize, sym in ((4, 128, True), (8, 32, True), (4, 32, False), (2, 64, True),
                                  (3, 256, True), (2, -1, False), (4, -1, False), (3, 64, False)):
        rules = [] if groupsize != 256 else ["down_proj:groupsize=128"]
        job = daemon.wait(daemon.submit(model="whole", wbits=wbits, groupsize=groupsize, sym=sym,
                                        nearest=True, format="gguf", seqlen=512, rules=rules,
                                        eval=["file:short.txt"]))
        assert job["status"] == "succeeded", job["error"]
        made = artifact(daemon, job)
        shutil.copy(made + "/model.gguf", models + "/alone.gguf")
        wanted = job["result"]["perplexity"]["file:short.txt"]
        for model in ("alone.gguf", f"job:{job['id']}"):
            found = measure(daemon, kind="eval", model=model)
            assert found == wanted, (model, found, wanted)
        types |= {kind for _, kind, _ in Gguf(models + "/alone.gguf").tensors.values()}
    assert types == {0, 30, 2, 6, 8, 10, 11, 12, 42}, types
    listed = [model["id"] for model in daemon.get("/v1/models")["data"]]
    assert "alone.gguf" in listed and "whole" in listed, listed


def test_file_refused(daemon, models):
    """What cannot be read back is refused with what to do."""
    print("file refused")
    with open(models + "/alone.gguf", "rb") as file:
        data = bytearray(file.read())
    os.mkdir(models + "/beside")

    def expect(what, changed, **request):
        with open(models + "/beside/bad.gguf", "wb") as file:
            file.write(changed)
        refuse_eval(daemon, "beside/bad.gguf", what, **request)

    kind = data.index(b"blk.0.attn_q.weight") + len("blk.0.attn_q.weight") + 4 + 16
    changed = bytearray(data)
    changed[kind] = 16
    expect("'blk.0.attn_q.weight' is of type IQ2_XXS", changed)
    expect("ends after the end of the file", data[:-4096])
    expect("does not begin with 'GGUF'", b"X" + data[1:])
    pre = data.index(b"tokenizer.ggml.pre") + len("tokenizer.ggml.pre") + 4 + 8
    changed = bytearray(data)
    changed[pre:pre + 4] = b"bloo"
    expect("tokenizer.ggml.pre is not 'olmo'", changed)
    shutil.copy(DEMO + "/tokenizer.json", models + "/beside")
    assert measure(daemon, kind="eval", model="beside/bad.gguf") == measure(
        daemon, kind="eval", model="alone.gguf")
    with open(DEMO + "/tokenizer.json", encoding="utf-8") as file:
        tokenizer = json.load(file)
    vocab = tokenizer["model"]["vocab"]
    vocab["a"], vocab["b"] = vocab["b"], vocab["a"]
    with open(models + "/beside/tokenizer.json", "w", encoding="utf-8") as file:
        json.dump(tokenizer, file)
    expect("has other tokens than", data)
    refuse_eval(daemon, "alone.gguf", "only evaluated", kind="quantize", wbits=4, nearest=True,
                groupsize=128, eval=[])
    refuse_eval(daemon, "short.txt", "neither a folder nor a GGUF file")


def refuse_eval(daemon, model, what, **request):
    try:
        daemon.submit(**{"kind": "eval", "model": model, "eval": ["file:short.txt"], "seqlen": 512,
                         **request})
    except RuntimeError as error:
        assert what in str(error), error
    else:
        raise AssertionError(f"{model} is not refused")


def test_one_file_measured(daemon, models):
    """job:ID of a format that is one file is evaluated by the codes that the job keeps."""
    print("one file, measured")
    request = {"dataset": "file:demo-calibration.txt", "nsamples": 2, "seqlen": 512, "wbits": 4,
               "groupsize": 128, "sym": True, "eval": ["file:short.txt"]}
    for name in ("gguf", "pt"):
        made = daemon.wait(daemon.submit(**request, format=name))
        assert made["status"] == "succeeded", made["error"]
        again = daemon.wait(daemon.submit(kind="eval", model=f"job:{made['id']}", seqlen=512,
                                          eval=request["eval"]))
        assert again["status"] == "succeeded", again["error"]
        values = [job["result"]["perplexity"]["file:short.txt"]["value"] for job in (made, again)]
        assert values[0] == values[1], values


def test_refused(daemon, models):
    """What the file cannot hold is refused when it is asked for."""
    print("refused")
    job = daemon.wait(daemon.submit(wbits=8, groupsize=128, nearest=True, eval=[]))
    refuse(daemon, f"job:{job['id']}", "asymmetric grids", format="gguf")
    for name, config, what in (("clipped", {"clip_qkv": 8.0}, "clip_qkv"),
                               ("normed", {"norm_topk_prob": True}, "norm_topk_prob")):
        make_model(models, name, **config)
        refuse(daemon, f"job:{round_model(daemon, name)['id']}", what, format="gguf")


def main():
    models = tempfile.mkdtemp(prefix="quantd-models-")
    try:
        with Daemon(os.path.dirname(os.path.dirname(QUANTD)), "--device", "cpu", "--model-root",
                    models, "--data-root", models) as daemon:
            for test in (test_gguf, test_embedding, test_read_back, test_file_refused, test_one_file_measured,
                         test_refused):
                test(daemon, models)
    finally:
        shutil.rmtree(models)
    print("all good")


if __name__ == "__main__":
    main()
