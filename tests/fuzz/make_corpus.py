#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the first inputs of each fuzz target to tests/fuzz/corpus; findings are added by hand.

Usage: make_corpus.py [FOLDER]
"""
import gzip
import io
import json
import os
import struct
import sys
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
FOLDER = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "corpus")


def put(target, name, data):
    os.makedirs(os.path.join(FOLDER, target), exist_ok=True)
    with open(os.path.join(FOLDER, target, name), "wb") as file:
        file.write(data if isinstance(data, bytes) else data.encode())


def safetensors(tensors, metadata=None):
    header, at = ({"__metadata__": metadata} if metadata else {}), 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header, separators=(",", ":"))
    text += " " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text.encode() + b"".join(t[2] for t in tensors.values())


def tensor_files():
    good = safetensors({"a": ("BF16", [2, 3], bytes(12)), "b": ("F32", [], bytes(4)),
                        "c.é\"": ("I64", [0, 5], b"")}, {"format": "pt"})
    put("safetensors", "good", good)
    put("safetensors", "none", safetensors({}))
    put("safetensors", "long-header", struct.pack("<Q", 1 << 63) + b"{}")
    put("safetensors", "short-data", good[:-3])
    put("safetensors", "gap", good.replace(b"[12,16]", b"[13,16]"))
    put("safetensors", "huge-shape", good.replace(b"[2,3]", b"[9999999999999999999,3]"))
    put("header", "good", good[8:-16])
    put("header", "escapes", r'{"\u00e9\n\ud83d\ude00":{"dtype":"U8","shape":[1],'
                             r'"data_offsets":[0,1]},"__metadata__":{"a":"\\"}}')
    put("header", "nested", '{"a":' + "[" * 200)
    put("header", "surrogate", r'{"\ud83d":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}')


def gptq(wbits, groups, choice, scale=b"\x00\x3c", dtype="F16", g_idx=None):
    n = 32
    tensors = {
        "self_attn.q_proj.qweight": ("I32", [n * wbits // 32, n], bytes(range(128)) * wbits),
        "self_attn.q_proj.qzeros": ("I32", [groups, n * wbits // 32], b"\x77" * (groups * n // 8 * wbits)),
        "self_attn.q_proj.scales": (dtype, [groups, n], scale * (groups * n)),
    }
    if g_idx is not None:
        tensors["self_attn.q_proj.g_idx"] = ("I32", [n], struct.pack(f"<{n}i", *g_idx))
    return bytes(choice) + safetensors(tensors)


def neutral(wbits, groups, choice, scale=b"\x00\x3c", zero=b"\x01", g_idx=None):
    n = 32
    order = [i % groups for i in range(n)] if g_idx is None else g_idx
    return bytes(choice) + safetensors({
        "self_attn.q_proj.codes": ("I32", [n * wbits // 32, n], bytes(range(128)) * wbits),
        "self_attn.q_proj.scales": ("F16", [groups, n], scale * (groups * n)),
        "self_attn.q_proj.zeros": ("U8", [groups, n], zero * (groups * n)),
        "self_attn.q_proj.g_idx": ("I32", [n], struct.pack(f"<{n}i", *order)),
    })


def compressed(wbits, groups, choice, scale=b"\x00\x3c", dtype="F16", shape=(32, 32), zeros=True,
               g_idx=None):
    n = 32
    tensors = {
        "self_attn.q_proj.weight_packed": ("I32", [n, n * wbits // 32], bytes(range(128)) * wbits),
        "self_attn.q_proj.weight_scale": (dtype, [n, groups], scale * (groups * n)),
        "self_attn.q_proj.weight_shape": ("I64", [2], struct.pack("<2q", *shape)),
    }
    if zeros:
        tensors["self_attn.q_proj.weight_zero_point"] = ("I32", [n * wbits // 32, groups],
                                                         b"\x77" * (groups * n // 8 * wbits))
    if g_idx is not None:
        tensors["self_attn.q_proj.weight_g_idx"] = ("I32", [n], struct.pack(f"<{n}i", *g_idx))
    return bytes(choice) + safetensors(tensors)


def compressed_files():
    put("gptq", "compressed-bits4", compressed(4, 4, (130, 1)))
    put("gptq", "compressed-bits3-row", compressed(3, 1, (129, 0), b"\x80\x3f", "BF16"))
    put("gptq", "compressed-sym", compressed(8, 2, (131, 34), b"\x00\x00\x80\x3f", "F32", zeros=False))
    put("gptq", "compressed-no-zeros", compressed(4, 4, (130, 1), zeros=False))
    put("gptq", "compressed-scale", compressed(4, 4, (130, 1), b"\x00\x7e"))
    put("gptq", "compressed-shape", compressed(4, 4, (130, 1), shape=(32, 1 << 32 | 32)))
    put("gptq", "compressed-g-idx", compressed(4, 4, (130, 17), g_idx=[i % 4 for i in range(32)]))
    put("gptq", "compressed-g-idx-beyond", compressed(4, 4, (130, 17), g_idx=[4] * 32))


def quantized_files():
    compressed_files()
    put("gptq", "neutral-bits4", neutral(4, 4, (66, 1)))
    put("gptq", "neutral-bits3-row", neutral(3, 1, (65, 0)))
    put("gptq", "neutral-scale", neutral(4, 4, (66, 1), scale=b"\x00\x7c"))
    put("gptq", "neutral-zero", neutral(4, 4, (66, 1), zero=b"\x10"))
    put("gptq", "neutral-g-idx", neutral(4, 4, (66, 1), g_idx=[4] * 32))
    put("gptq", "bits4-group8", gptq(4, 4, (2, 1), g_idx=[i // 8 for i in range(32)]))
    put("gptq", "bits3-row-v2", gptq(3, 1, (1, 64)))
    put("gptq", "bits2-group16", gptq(2, 2, (0, 2), b"\x80\x3f", "BF16"))
    put("gptq", "bits8-f32", gptq(8, 1, (3, 3), b"\x00\x00\x80\x3f", "F32"))
    put("gptq", "scale-nan", gptq(4, 4, (2, 1), b"\x00\x7e"))
    put("gptq", "scale-large", gptq(4, 4, (2, 1), b"\xff\xff\x7f\x7f", "F32"))
    put("gptq", "g-idx-beyond", gptq(4, 4, (2, 1), g_idx=[4] * 32))
    put("gptq", "g-idx-negative", gptq(4, 4, (2, 1), g_idx=[-1] * 32))


def byte_letters():
    """The letters by which GPT-2 writes bytes."""
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return keep, [b for b in range(256) if b not in keep]


CL100K = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")


def tokenizer_files():
    keep, rest = byte_letters()
    letters = [chr(b) for b in keep] + [chr(256 + i) for i in range(len(rest))]
    vocab = {letter: i for i, letter in enumerate(letters)}
    for word in ("ab", "abc", "Ġa", "Ġt", "es", "est"):
        vocab[word] = len(vocab)
    with open(os.path.join(HERE, "../../data/olmoe-demo/tokenizer.json"), encoding="utf-8") as file:
        root = json.load(file)
    root["model"].update(vocab=vocab, merges=["a b", "ab c", "Ġ a", "Ġ t", "e s", "es t"])
    root["added_tokens"] = [{"id": len(vocab), "content": "<|endoftext|>", "single_word": False,
                             "lstrip": False, "rstrip": False, "normalized": False,
                             "special": True}]
    put("tokenizer", "small", json.dumps(root, ensure_ascii=False))
    plain = root["pre_tokenizer"]
    root["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": CL100K}, "behavior": "Isolated", "invert": False},
        {"type": "Digits", "individual_digits": True}, {**plain, "use_regex": False}]}
    root["model"].update(ignore_merges=True, byte_fallback=True, dropout=0.0)
    put("tokenizer", "cl100k", json.dumps(root))
    root["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {"Regex": "(a|[)|])+|\\s"}
    put("tokenizer", "unknown-pattern", json.dumps(root))
    root["pre_tokenizer"] = plain
    root["model"]["merges"] = [merge.split(" ") for merge in root["model"]["merges"]]
    root["added_tokens"][0].update(lstrip=True, rstrip=True, normalized=True)
    put("tokenizer", "pairs", json.dumps(root))
    root["model"]["merges"] = [["a", "zz"]]
    put("tokenizer", "unknown-merge", json.dumps(root))
    root["model"].update(merges=[], vocab={"a": 1 << 31})
    put("tokenizer", "huge-id", json.dumps(root))
    put("tokenizer", "empty", "{}")
    put("encode", "mixed", "It's a\u0300 test:  12 <|endoftext|>\n\n caf\u00e9 \u4e16\u754c")
    put("encode", "marks", "a" + "\u0300" * 40 + "\u0323" * 40 + "\u1100\u1161\u11a8")
    put("encode", "invalid", b"ab\xff\xfe\xed\xa0\x80\xf4\x90\x80\x80")
    put("encode", "long-word", "abababab" * 100 + "\0" + " " * 50)


CONFIG = {
    "model_type": "olmoe", "hidden_size": 64, "intermediate_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "num_experts": 4,
    "num_experts_per_tok": 2, "vocab_size": 96, "max_position_embeddings": 64, "clip_qkv": 0.7,
    "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "norm_topk_prob": True, "rope_scaling": None,
    "tie_word_embeddings": False, "hidden_act": "silu", "attention_bias": False,
}
QUANTIZATION = {"quant_method": "gptq", "bits": 4, "group_size": 16, "sym": False,
                "desc_act": True, "checkpoint_format": "gptq_v2", "lm_head": False,
                "dynamic": None, "damp_percent": 0.01, "true_sequential": True}


def config_files():
    put("config", "plain", json.dumps(CONFIG))
    put("config", "quantized", json.dumps({**CONFIG, "quantization_config": QUANTIZATION}))
    put("config", "quantize-config", json.dumps(CONFIG).encode() + b"\0" +
        json.dumps({**QUANTIZATION, "group_size": -1, "checkpoint_format": "gptq"}).encode())
    put("config", "large", json.dumps({**CONFIG, "hidden_size": 1 << 40, "vocab_size": 1e400}))
    put("config", "other", '{"model_type":"llama"}')


def job_files():
    job = {"kind": "quantize", "model": "m", "wbits": 4, "groupsize": 128, "dataset": "wikitext2",
           "nsamples": 128, "seqlen": 2048, "seed": 0, "act_order": True, "percdamp": 0.01,
           "eval": ["wikitext2", "file:a/b.txt"], "format": "gptq", "priority": 5, "name": "n",
           "labels": {"a": "b"}, "sym": True, "mse": False, "true_sequential": True, "batch": 4}
    put("job", "whole", json.dumps(job))
    queue = ("kind", "priority", "name", "labels")
    put("job", "parameters", json.dumps({k: v for k, v in job.items() if k not in queue}))
    put("job", "eval", '{"kind":"eval","model":"m","eval":["ptb"]}')
    put("job", "eval-parameters", '{"model":"m","eval":["ptb","c4-new"],"seqlen":128}')
    put("job", "least", '{"model":"m"}')
    put("job", "up", '{"dataset":"file:../x","model":"../y","wbits":5}')
    put("job", "deep", "[" * 100)
    put("job", "twice", '{"a":1,"a":2}')
    put("job", "large", '{"seed":18446744073709551615,"percdamp":1e999,"nsamples":-1}')


def data_files():
    lines = "".join(json.dumps({"text": text, "timestamp": "2019", "url": "http://a/"}) + "\n"
                    for text in ("one two", "caf\u00e9 \U0001f600", ""))
    put("c4", "good", lines)
    put("c4", "no-newline", lines[:-1])
    put("c4", "no-text", '{"url":"a"}\n')
    put("c4", "nul", '{"text":"a\\u0000b"}\n\n')
    packed = gzip.compress(lines.encode(), mtime=0)
    for i, name in enumerate(("lines", "text", "field")):
        put("text", name, bytes([i]) + lines.encode())
        put("text", name + "-packed", bytes([i]) + packed)
    put("text", "field-a", b'\2{"a":"x"}\r\n\n{"b":1,"a":""}')
    put("text", "no-field", b'\2{"b":"x","c":"y"}')
    put("text", "list", b"\0[1,\n2]")
    for name, magic in (("parquet", b"PAR1\x15\0"), ("gguf", b"GGUF\3\0\0\0"), ("zip", b"PK\3\4"),
                        ("safetensors", b"\x40\0\0\0\0\0\0\0{\"")):
        put("text", name, b"\1" + magic)
    put("gzip", "good", packed)
    put("gzip", "two-members", packed + packed)
    put("gzip", "checksum", packed[:-8] + b"\0" * 8)
    put("gzip", "trailer", packed + b"more")
    put("gzip", "bomb", gzip.compress(bytes(1 << 16), mtime=0))
    for name, method in (("stored", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED),
                         ("bzip2", zipfile.ZIP_BZIP2)):
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", method) as file:
            file.writestr(zipfile.ZipInfo("member.txt", (1980, 1, 1, 0, 0, 0)), lines, method)
        put("zip", name, archive.getvalue())
    put("zip", "checksum", archive.getvalue().replace(b"PK\x01\x02", b"PK\x01\x03"))
    put("zip", "end-only", b"PK\x05\x06" + bytes(18))


def header_files():
    for i, text in enumerate(("bytes=0-499", "bytes=500-", "bytes=-500", "bytes=0-0,5-6", "bytes=",
                              "bytes=5-4", "bytes=99999999999999999999-", "BYTES=1-2", "items=0-1")):
        put("range", str(i), text)
    for i, text in enumerate(('"1234abcd-7"', 'W/"1234abcd-7", "x"', "*", '"a', ",,",
                              '"1234abcd-18446744073709551615"', '"1234abcd-+7"')):
        put("etag", str(i), text)
    for i, text in enumerate(("application/json", "text/*;q=0.5, */*;q=0", "text/event-stream",
                              "application/json; charset=utf-8", ";;,q=", "*/*;q=1.0001")):
        put("media", str(i), text)


def stream_files():
    put("sse", "events", "retry: 500\n\nid: 7\nevent: progress\ndata: {\"a\":1}\ndata: b\n\n"
                         ": heartbeat\n\nid\ndata\n\n")
    put("sse", "ends", b"\xef\xbb\xbfdata: a\r\n\r\ndata:b\r\rdata:c\n\r\nid: a\0b\n\n")
    put("sse", "long-id", "id: " + "x" * 200 + "\ndata: y\n\n")
    put("sse", "retry", "retry: 99999999999999999999\nretry: -1\nretry: 5x\ndata\n\n")
    host = "Host: localhost\r\n"
    requests = {
        "list": f"GET /v1/jobs?limit=5&status=running&after=3 HTTP/1.1\r\n{host}\r\n",
        "submit": f"POST /v1/jobs HTTP/1.1\r\n{host}Content-Type: application/json\r\n"
                  "Idempotency-Key: k\r\nContent-Length: 13\r\n\r\n{\"model\":\"m\"}",
        "chunked": f"POST /v1/jobs HTTP/1.1\r\n{host}Content-Type: application/json\r\n"
                   "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "range": "GET /v1/jobs/1/artifacts/model.safetensors HTTP/1.1\r\n"
                 f"{host}Range: bytes=5-9\r\nIf-None-Match: \"x\"\r\n\r\n",
        "events": f"GET /v1/jobs/1/events?after=0 HTTP/1.1\r\n{host}Accept: text/event-stream\r\n"
                  "Last-Event-ID: 1\r\n\r\n",
        "cancel": f"POST /v1/jobs/1/cancel HTTP/1.1\r\n{host}Content-Length: 0\r\n\r\n",
        "pipelined": f"HEAD /healthz HTTP/1.1\r\n{host}\r\n" * 3,
        "host": "GET / HTTP/1.1\r\nHost: example.org\r\n\r\n",
        "escape": f"GET /v1/jobs/1/artifacts/..%2f..%2fetc%00 HTTP/1.1\r\n{host}\r\n",
        "query": f"GET /v1/jobs?limit=%zz&limit&=&&limit=99999999999999999999 HTTP/1.1\r\n{host}\r\n",
        "bearer": f"GET /v1/jobs HTTP/1.1\r\n{host}Authorization: Bearer quantd_{'a' * 43}\r\n\r\n",
        "bearer-odd": f"GET /v1/whoami HTTP/1.1\r\n{host}Authorization: bearer\t  \r\n"
                      "Authorization: Basic YTpi\r\n\r\n",
        "old": "GET /openapi.json HTTP/1.0\r\n\r\n",
        "method": f"BREW /v1/jobs/1 HTTP/1.1\r\n{host}Origin: http://a\r\n\r\n",
        "lengths": f"POST /v1/jobs HTTP/1.1\r\n{host}Content-Length : 2\r\nContent-Length: 2\r\n"
                   "Transfer-Encoding: chunked\r\n\r\n{}",
        "nul": "GET /healthz\0 HTTP/1.1\r\nHost: localhost\0b\r\nAccept: */*\0\r\n\r\n",
        "fold": f"GET /healthz HTTP/1.1\r\n{host}X-A: 1\r\n 2\r\n\tb\r\nX-B:\r\n\r\n",
    }
    for name, text in requests.items():
        put("http", name, text)


def record_files():
    """The first byte: 0 plan, 1 what follows settings and files in it, 2 report, 3 shard, 4 result of
    an evaluation, 5 result of the job."""
    for i, text in enumerate(('{"settings":{},"files":[],"batch":1,"model":""}', '"batch":1}',
                              '"batch":2147483648,"model":1}', '"batch":-1}',
                              '"model":"x","batch":3}')):
        put("records", f"plan-{i}", bytes([min(i, 1)]) + text.encode())
    for i, text in enumerate(('{"layer":0,"matrices":[]}', '{"layer":7,"matrices":[{}]}', "[]",
                              '{"layer":0,"matrices":[1,{"seconds":[]}],"file":{"sha256":1,'
                              '"bytes":"x"}}', '{"layer":0,"matrices":[],"file":{"sha256":"",'
                              '"bytes":-1}}')):
        put("records", f"report-{i}", b"\2" + text.encode())
    matrix = gptq(4, 1, (0, 0))[2:]
    put("records", "shard-other", b"\3" + matrix)
    put("records", "shard-none", b"\3" + safetensors({}))
    put("records", "eval", b'\4{"model":"","result":{"sha256":""}}')
    put("records", "eval-list", b"\4[]")
    for i, text in enumerate(("null", '{"perplexity":{},"artifacts":[]}', '{"artifacts":{}}')):
        put("records", f"result-{i}", b"\5" + text.encode())


def hub_files():
    commit = "0123456789abcdef0123456789abcdef01234567"
    head = f"HTTP/1.1 200 OK\r\nX-Repo-Commit: {commit}\r\n"
    info = json.dumps({"id": "org/name", "sha": commit, "siblings": [
        {"rfilename": "config.json"}, {"rfilename": "a/b.safetensors"}]})
    put("hub", "info", f"\0{head}Content-Length: {len(info)}\r\n\r\n{info}")
    bad = info.replace("a/b", "../b")
    put("hub", "up", f"\0{head}Content-Length: {len(bad)}\r\n\r\n{bad}")
    put("hub", "chunked", f"\0{head}Transfer-Encoding: chunked\r\n\r\n{len(info):x}\r\n{info}\r\n"
                          "0\r\n\r\n")
    put("hub", "head", f"\1{head}X-Linked-Size: 5784648\r\nX-Linked-Etag: \"{commit[:24] * 2}"
                       f"{commit[:16]}\"\r\nETag: W/\"{commit}\"\r\nContent-Length: 3\r\n\r\n")
    put("hub", "redirect", "\1HTTP/1.1 302 Found\r\nLocation: https://cdn.invalid/x?signed\r\n"
                           f"X-Linked-Etag: {commit}\r\nX-Linked-Size: 7\r\n"
                           "Content-Length: 0\r\n\r\n")
    put("hub", "round", "\0HTTP/1.1 307 Go\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n")
    put("hub", "range", "\2HTTP/1.1 206 Part\r\nContent-Range: bytes 0-9/100\r\n"
                        "Content-Length: 10\r\n\r\n0123456789")
    put("hub", "range-odd", "\2HTTP/1.1 206 Part\r\nContent-Range: bytes 9-1/99999999999999999999\r\n"
                            "Content-Length: 1\r\n\r\n0")
    put("hub", "busy", "\0HTTP/1.1 429 Wait\r\nRetry-After: 99999999999\r\n"
                       "RateLimit: \"api\";r=0;t=18446744073709551616\r\nContent-Length: 2\r\n\r\nno")
    put("hub", "encoded", f"\0{head}Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{{}}")
    put("hub", "error", "\0HTTP/1.1 404 No\r\nX-Error-Code: RevisionNotFound\r\n"
                        "X-Error-Message: none\r\nContent-Length: 0\r\n\r\n")


def daemon_files():
    put("conf", "plain", "[daemon]\nstate-dir = /var/lib/quantd\nlisten = 127.0.0.1:7878\n"
                         "listen = unix:/run/x\ndevice = cuda:0\nmodel-root = /\n# a comment\n"
                         "disk-floor = 10G\nidle-seconds = 60\nlog-level = info\n")
    put("conf", "variables", "[daemon]\n\0QUANTD_DEVICE=cpu,cuda:1\0QUANTD_DISK_FLOOR=1T\0"
                             "HF_ENDPOINT=http://127.0.0.1:1\0QUANTD_LISTEN=,,\0")
    put("conf", "sections", "state-dir = /x\n[other]\ncheck-config = yes\n")
    put("conf", "sizes", "[daemon]\ndisk-floor = 18446744073709551615T\ncache-limit = -1\n")
    put("conf", "long", "[daemon]\nstate-dir = /" + "x" * 5000 + "\n")
    put("conf", "inherit", "[daemon]\nmodel-root = /\n  /tmp\n  ; no\nconfig = /etc/passwd\n")
    put("conf", "sources", "[daemon]\ndata-source = ptb.train=https://a/b\ndata-source = c4=\n"
                           "hub-endpoint = ftp://a\nallowed-host = a:99999\n")
    for i, text in enumerate(("limit=5&status=running&after=3", "limit=%zz&limit&=&&limit=", "%00",
                              "status=running;owner=a", "after=18446744073709551615&limit=0",
                              "owner=%ff%fe%c3&status=" + "x" * 300)):
        put("query", str(i), bytes([i % 4]) + text.encode())


def index_files():
    names = [f"model.layers.0.mlp.experts.{i}.gate_proj.weight" for i in range(3)]
    shard = "model-00001-of-00001.safetensors"
    put("index", "some", json.dumps({"metadata": {}, "weight_map": {n: shard for n in names}}))
    put("index", "up", json.dumps({"weight_map": {names[0]: "../" + shard}}))
    put("index", "missing", json.dumps({"weight_map": {names[0]: "model-2.safetensors"}}))
    put("index", "types", '{"weight_map":{"a":1,"b":null,"c":[]}}')
    put("index", "no-map", '{"weight_map":[]}')
    with open(os.path.join(HERE, "../data/geometry/tied/model.safetensors"), "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    whole = {name: shard for name in header if name != "__metadata__"}
    put("index", "whole", json.dumps({"weight_map": whole}))


class Gguf:
    """A file of a model with one layer of 32 columns, two experts and the tokens of bytes."""

    BLOCKS = {0: (1, 4), 30: (1, 2), 2: (32, 18), 3: (32, 20), 8: (32, 34), 42: (64, 18)}

    def __init__(self, matrices=2, hidden=32, outer=2):
        keep, rest = byte_letters()
        letters = [chr(b) for b in keep] + [chr(256 + i) for i in range(len(rest))]
        tokens = letters + ["ab", "<end>", "  ", "[PAD259]"]
        kinds = [1] * 257 + [3, 4, 5]
        self.keys = {
            "general.architecture": (8, "olmoe"), "olmoe.block_count": (4, 1),
            "olmoe.context_length": (4, 64), "olmoe.embedding_length": (4, hidden),
            "olmoe.feed_forward_length": (4, hidden), "olmoe.attention.head_count": (4, 2),
            "olmoe.attention.head_count_kv": (4, 2), "olmoe.expert_count": (4, 2),
            "olmoe.expert_used_count": (4, 1), "olmoe.rope.freq_base": (6, 10000.0),
            "olmoe.attention.layer_norm_rms_epsilon": (6, 1e-5),
            "tokenizer.ggml.model": (8, "gpt2"), "tokenizer.ggml.pre": (8, "olmo"),
            "tokenizer.ggml.tokens": (9, (8, tokens)),
            "tokenizer.ggml.token_type": (9, (5, kinds)),
            "tokenizer.ggml.merges": (9, (8, ["a b"])),
            "tokenizer.ggml.add_bos_token": (7, False)}
        h, e, vocab = hidden, 2, len(tokens)
        self.tensors = {"token_embd": ([h, vocab], outer), "output_norm": ([h], 0),
                        "output": ([h, vocab], outer)}
        for name in ("attn_norm", "attn_q_norm", "attn_k_norm", "ffn_norm"):
            self.tensors["blk.0." + name] = ([h], 0)
        self.tensors["blk.0.ffn_gate_inp"] = ([h, e], 0)
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            self.tensors["blk.0." + name] = ([h, h], matrices)
        for name in ("ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"):
            self.tensors["blk.0." + name] = ([h, h, e], matrices)

    def text(self, value):
        return struct.pack("<Q", len(value.encode())) + value.encode()

    def value(self, kind, value):
        if kind == 8:
            return self.text(value)
        if kind == 9:
            element, values = value
            return struct.pack("<IQ", element, len(values)) + b"".join(
                self.value(element, v) for v in values)
        return struct.pack({4: "<I", 5: "<i", 6: "<f", 7: "<?"}[kind], value)

    def data(self, fill=0x3c):
        head = b"GGUF" + struct.pack("<IQQ", 3, len(self.tensors), len(self.keys))
        for name, (kind, value) in self.keys.items():
            head += self.text(name) + struct.pack("<I", kind) + self.value(kind, value)
        at, body = 0, b""
        for name, (dims, kind) in self.tensors.items():
            block, size = self.BLOCKS.get(kind, (1, 1))
            head += self.text(name + ".weight") + struct.pack("<I", len(dims))
            head += b"".join(struct.pack("<Q", n) for n in dims) + struct.pack("<IQ", kind, at)
            count = size
            for n in dims:
                count *= n
            count = count // block
            body += bytes([fill] * count) + bytes(-count % 32)
            at += count + -count % 32
        return head + bytes(-len(head) % 32) + body


def gguf_files():
    good = Gguf().data()
    put("gguf", "q4_0", good)
    put("gguf", "q2_0-q8_0", Gguf(42, 64, 8).data())
    put("gguf", "q4_1", Gguf(3).data())
    put("gguf", "dense", Gguf(30, outer=30).data())
    put("gguf", "not-finite", Gguf().data(0x7c))
    put("gguf", "cut", good[:-64])
    put("gguf", "many-keys", good[:16] + struct.pack("<Q", 1 << 40) + good[24:])
    put("gguf", "many-tensors", good[:8] + struct.pack("<Q", 1 << 60) + good[16:])
    for name, key, value in (
            ("one-expert", "olmoe.expert_count", (4, 1)), ("wide", "olmoe.embedding_length", (4, 33)),
            ("no-layer", "olmoe.block_count", (4, 0)), ("layers", "olmoe.block_count", (4, 1024)),
            ("experts", "olmoe.expert_count", (4, 4096)), ("text", "olmoe.block_count", (8, "1")),
            ("alignment", "general.alignment", (4, 3)), ("part", "split.count", (4, 2)),
            ("clamp", "olmoe.attention.clamp_kqv", (6, 8.0)),
            ("pre", "tokenizer.ggml.pre", (8, "llama3")),
            ("twice", "tokenizer.ggml.tokens", (9, (8, ["a"] * 260))),
            ("few", "tokenizer.ggml.tokens", (9, (8, ["a"])))):
        made = Gguf()
        made.keys[key] = value
        put("gguf", name, made.data())
    for name, dims, kind in (("iq", [32, 32, 2], 16), ("overflow", [32, 1 << 60, 1 << 60], 2),
                             ("blocks", [31, 32, 2], 2), ("flat", [32, 64], 2)):
        made = Gguf()
        made.tensors["blk.0.ffn_up_exps"] = (dims if name != "overflow" else [32, 32, 2], kind)
        data = made.data()
        if name == "overflow":
            old = struct.pack("<QQ", 32, 2) + struct.pack("<I", 2)
            data = data.replace(old, struct.pack("<QQ", 1 << 60, 1 << 60) + old[16:])
        put("gguf", name, data)


for make in (gguf_files, tensor_files, quantized_files, tokenizer_files, config_files, job_files, data_files,
             header_files, stream_files, record_files, hub_files, daemon_files, index_files):
    make()
