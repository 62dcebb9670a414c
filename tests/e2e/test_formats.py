#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints, whatever their format: types as config.json says them, small files, exports again.

Usage: test_formats.py QUANTD QUANTCTL SOURCE. Prints what it does; exits with 0 when all passed.
"""
import collections
import itertools
import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import zipfile

QUANTD, QUANTCTL, SOURCE = sys.argv[1:4]
sys.path.insert(0, SOURCE + "/scripts")

from own_daemon import Daemon  # noqa: E402

DEMO = SOURCE + "/data/olmoe-demo"
NAMES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}


def read_tensors(path):
    """{name: (type, shape, bytes)}"""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        data = file.read()
    header.pop("__metadata__", None)
    return {name: (entry["dtype"], entry["shape"], data[slice(*entry["data_offsets"])])
            for name, entry in header.items()}


def write_tensors(path, tensors):
    header, at = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, _, data in tensors.values():
            file.write(data)


def as_f32(dtype, shape, data):
    assert dtype == "BF16"
    wide = bytearray(2 * len(data))
    wide[2::4], wide[3::4] = data[0::2], data[1::2]
    return "F32", shape, bytes(wide)


def make_model(models, name, f32=False, files=None, **config):
    """The demo model under another name: @config over its own, None takes a key away."""
    folder = f"{models}/{name}"
    shutil.copytree(DEMO, folder)
    with open(folder + "/config.json", encoding="utf-8") as file:
        merged = {**json.load(file), **config}
    with open(folder + "/config.json", "w", encoding="utf-8") as file:
        json.dump({key: value for key, value in merged.items() if value is not None}, file)
    for shard in os.listdir(folder) if f32 else []:
        if shard.endswith(".safetensors"):
            tensors = read_tensors(f"{folder}/{shard}")
            write_tensors(f"{folder}/{shard}", {n: as_f32(*t) for n, t in tensors.items()})
    for small, content in (files or {}).items():
        with open(f"{folder}/{small}", "w", encoding="utf-8") as file:
            file.write(content)
    return name


def round_model(daemon, model, **request):
    """The job that rounds the model to nearest, when it has ended."""
    job = daemon.submit(model=model, wbits=4, groupsize=128, nearest=True, eval=[], **request)
    return daemon.wait(job)


def artifact(daemon, job):
    assert job["status"] == "succeeded", job["error"]
    return f"{daemon.home}/state/jobs/{job['id']}/artifact"


def test_types(daemon, models):
    """config.json names the type of the weights under whichever key the model has."""
    print("types of an F32 model")
    keys = {"older": {"torch_dtype": "float32", "dtype": None},
            "newer": {"torch_dtype": None, "dtype": "float32"},
            "both": {"torch_dtype": "float32", "dtype": "float32"},
            "neither": {"torch_dtype": None, "dtype": None}}
    for name, config in keys.items():
        make_model(models, name, f32=True, **config)
        folder = artifact(daemon, round_model(daemon, name, format="dense"))
        types = {tensor[0] for shard in os.listdir(folder) if shard.endswith(".safetensors")
                 for tensor in read_tensors(f"{folder}/{shard}").values()}
        with open(folder + "/config.json", encoding="utf-8") as file:
            config_made = json.load(file)
        says = {key: config_made[key] for key in ("dtype", "torch_dtype") if key in config_made}
        wanted = {key for key, value in config.items() if value} or {"torch_dtype"}
        assert types == {"BF16"}, types
        assert says == {key: "bfloat16" for key in wanted}, (name, says)


def test_gptq_types(daemon, models):
    """The rest of a gptq checkpoint stays as it is, and so does what config.json says of it."""
    print("types of an F32 model as gptq")
    folder = artifact(daemon, round_model(daemon, "newer"))
    types = {tensor[0] for name, tensor in
             read_tensors(folder + "/model-00001-of-00004.safetensors").items()
             if name.endswith(".weight")}
    with open(folder + "/config.json", encoding="utf-8") as file:
        config = json.load(file)
    assert types == {"F32"} and config["dtype"] == "float32" and "torch_dtype" not in config


SMALL = {
    "chat_template.jinja": "{% for m in messages %}[{{ m.role }}]{% endfor %}\n",
    "chat_template.json": '{"chat_template": "{{ messages }}"}',
    "added_tokens.json": '{"<a>": 7}\n',
    "vocab.json": '{"a": 0,  "b": 1}',
    "merges.txt": "#version: 0.2\na b\n",
    "generation_config.json": '{"eos_token_id":  0}',
}


def test_small_files(daemon, models):
    """They go along, byte for byte, in each format; one that is none is refused."""
    print("small files")
    make_model(models, "small", files=SMALL)
    for name in ("gptq", "compressed-tensors", "dense", "gguf", "pt"):
        folder = artifact(daemon, round_model(daemon, "small", format=name))
        for small, content in SMALL.items():
            with open(f"{folder}/{small}", encoding="utf-8") as file:
                assert file.read() == content, small
    make_model(models, "wrong", files={"generation_config.json": "token-of-another-program"})
    try:
        round_model(daemon, "wrong")
    except RuntimeError as error:
        assert "generation_config.json" in str(error), error
        assert "token-of-another-program" not in str(error), error
    else:
        raise AssertionError("a model with a damaged file was taken")


class StateDict(pickle.Unpickler):
    """A state dict as {name: (shape, strides, storage)}, by what torch.load lets in and no more."""

    def find_class(self, module, name):
        return {"collections.OrderedDict": collections.OrderedDict,
                "torch._utils._rebuild_tensor_v2": self.rebuild,
                "torch.BFloat16Storage": "BF16"}[f"{module}.{name}"]

    @staticmethod
    def rebuild(storage, offset, shape, strides, requires_grad, hooks):
        assert (offset, requires_grad, hooks) == (0, False, {})
        return shape, strides, storage

    def persistent_load(self, pid):
        assert pid[:2] == ("storage", "BF16") and pid[3] == "cpu", pid
        return pid[2], pid[4]


def read_state_dict(path):
    """What read_tensors() gives of the file that torch.load would read."""
    tensors = {}
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        with archive.open("archive/data.pkl") as file:
            state = StateDict(file).load()
        for name, (shape, strides, (key, n)) in state.items():
            data = archive.read("archive/data/" + key)
            assert strides in ((1,), (shape[-1], 1)) and len(data) == 2 * n, name
            tensors[name] = ("BF16", list(shape), data)
    return tensors


def tensors_of(folder):
    """All tensors of the shards in @folder."""
    return {name: tensor for shard in sorted(os.listdir(folder)) if shard.endswith(".safetensors")
            for name, tensor in read_tensors(f"{folder}/{shard}").items()}


def test_pt(daemon, models):
    """One file with the weights of dense, the same bytes each time; its folder has the rest."""
    print("pt")
    for model in ("small", "newer"):
        jobs = {name: round_model(daemon, model, format=name) for name in ("dense", "pt", "gptq")}
        folder, other = artifact(daemon, jobs["pt"]), artifact(daemon, jobs["dense"])
        assert read_state_dict(folder + "/model.pt") == tensors_of(other)
        names = {name for name in os.listdir(other) if "safetensors" not in name}
        assert set(os.listdir(folder)) == names | {"model.pt"}, os.listdir(folder)
        size = os.path.getsize(folder + "/model.pt")
        assert jobs["pt"]["result"]["size_bytes"] == size, jobs["pt"]["result"]
        for made in ("gptq", "dense", "pt"):
            expect_same(files_of(daemon, export(daemon, jobs[made], "pt")),
                        files_of(daemon, jobs["pt"]))
        expect_same(files_of(daemon, export(daemon, jobs["pt"], "gptq")),
                    files_of(daemon, jobs["gptq"]))


def perplexity(job):
    assert job["status"] == "succeeded", job["error"]
    return {name: one["value"] for name, one in job["result"]["perplexity"].items()}


def test_read_back(daemon, models):
    """A packed checkpoint that is evaluated has the perplexity of the job that made it, and of its
    other packed formats, digit for digit; what such a checkpoint cannot hold is refused."""
    print("evaluation of packed checkpoints")
    measured = {"seqlen": 256, "eval": ["file:demo-evaluation.txt"]}
    jobs = [daemon.wait(daemon.submit(model="small", wbits=3, groupsize=64, nearest=True,
                                      format=name, **measured))
            for name in ("gptq", "compressed-tensors")]
    job = jobs[1]
    jobs.append(daemon.wait(daemon.submit(kind="eval", model=f"job:{job['id']}", **measured)))
    found = [perplexity(one) for one in jobs]
    assert found[0] == found[1] == found[2], found
    try:
        daemon.submit(model="small", wbits=4, groupsize=64, act_order=True,
                      format="compressed-tensors", **GPTQ)
    except RuntimeError as error:
        assert "compressed-tensors cannot hold" in str(error), error
    else:
        raise AssertionError("an order was taken that the format cannot hold")
    with open(f"{artifact(daemon, job)}/config.json", encoding="utf-8") as file:
        config = json.load(file)["quantization_config"]
    assert set(config["ignore"]) == {"lm_head", *(f"model.layers.{i}.mlp.gate" for i in range(3))}
    assert config["config_groups"]["group_0"]["weights"]["num_bits"] == 3


GPTQ = {"dataset": "file:demo-calibration.txt", "nsamples": 4, "seqlen": 64, "batch": 4, "eval": []}
JOBS = [
    {"wbits": 4, "groupsize": 128, "act_order": True},
    {"wbits": 3, "groupsize": 64, "act_order": True, "static_groups": True},
    {"wbits": 2, "groupsize": 64, "sym": True},
    {"wbits": 8, "groupsize": -1, "nearest": True},
]


def files_of(daemon, job):
    """{name: content} of what has to be the same: all but the manifest, which holds their hashes."""
    folder = artifact(daemon, job)
    contents = {}
    for name in os.listdir(folder):
        with open(f"{folder}/{name}", "rb") as file:
            contents[name] = file.read()
    return contents


def expect_same(made, wanted):
    assert made.keys() == wanted.keys(), made.keys() ^ wanted.keys()
    for name, content in wanted.items():
        assert made[name] == content, name


def export(daemon, job, name):
    return daemon.wait(daemon.submit(kind="export", model=f"job:{job['id']}", format=name))


def test_export(daemon, models):
    """A job exported in another format is the job that had asked for that format."""
    make_model(models, "float", f32=True)
    for options in JOBS:
        request = {**options, **({"eval": []} if options.get("nearest") else GPTQ)}
        for model in ("small", "float"):
            print("export", model, options)
            names = [name for name in ("gptq", "dense", "compressed-tensors")
                     if name in ("gptq", "dense") or "static_groups" in options
                     or "act_order" not in options]
            jobs = {name: daemon.wait(daemon.submit(**{**request, "model": model, "format": name}))
                    for name in names}
            for made, wanted in itertools.product(names, names):
                job = export(daemon, jobs[made], wanted)
                expect_same(files_of(daemon, job), files_of(daemon, jobs[wanted]))
                result, other = job["result"], jobs[wanted]["result"]
                for key in ("bits_per_weight", "size_bytes", "perplexity"):
                    assert result[key] == other[key], key
                assert job["kind"] == "export" and job["params"]["wbits"] == options["wbits"]
                assert job["params"]["model"] == f"job:{jobs[made]['id']}"


def test_export_of_preset(daemon, models):
    """What a job was made for says nothing of an export, which is for what it asks for."""
    print("export of a preset")
    made = daemon.wait(daemon.submit(**{**GPTQ, "model": "small", "preset": "llama.cpp", "refine": 1}))
    assert made["params"]["for"] == "llama.cpp", made["params"]
    for engine in (None, "gptqmodel"):
        job = daemon.wait(daemon.submit(kind="export", model=f"job:{made['id']}", format="gptq",
                                        **{"for": engine}))
        with open(artifact(daemon, job) + "/quantd.json", encoding="utf-8") as file:
            params = json.load(file)["params"]
        assert (params["format"], params["for"]) == ("gptq", engine), params
        assert params["grid"] == "hessian" and params["refine"] == 1, params


def folder_of(daemon, job):
    return os.path.dirname(artifact(daemon, job))


def test_kept_codes(daemon, models):
    """Codes are kept beside a checkpoint that does not hold them, and go with the job."""
    print("kept codes")
    jobs = {name: round_model(daemon, "small", format=name) for name in ("gptq", "dense")}
    assert not os.path.exists(folder_of(daemon, jobs["gptq"]) + "/codes")
    codes = folder_of(daemon, jobs["dense"]) + "/codes"
    last = "/model-00004-of-00004.safetensors"
    assert os.path.samefile(codes + last, artifact(daemon, jobs["dense"]) + last)
    assert not os.path.exists(folder_of(daemon, jobs["dense"]) + "/work")
    again = export(daemon, jobs["dense"], "dense")
    assert not os.path.exists(folder_of(daemon, again) + "/codes")
    refuse(daemon, f"job:{again['id']}", "keeps no codes")
    daemon.delete(jobs["dense"]["id"])
    assert not os.path.exists(os.path.dirname(codes))


def test_quantctl(daemon, models):
    """quantctl export follows the job and saves what it has made."""
    print("quantctl export")
    job, wanted = (round_model(daemon, "small", format=name) for name in ("gptq", "dense"))
    for word, saved in ((str(job["id"]), models + "/saved"), (f"job:{job['id']}", models + "/again")):
        done = subprocess.run([QUANTCTL, "--server", "unix:" + daemon.socket, "export", word,
                               "--format", "dense", "--save", saved], capture_output=True,
                              text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert f"export job:{job['id']} as dense" in done.stderr + done.stdout, done.stderr
        made = {}
        for name in os.listdir(saved):
            with open(f"{saved}/{name}", "rb") as file:
                made[name] = file.read()
        expect_same(made, files_of(daemon, wanted))
    done = subprocess.run([QUANTCTL, "--server", "unix:" + daemon.socket, "export", "small"],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr


def test_one_file(daemon, models):
    """--save NAME.pt, or NAME.gguf, asks for that format and saves its one file alone."""
    print("quantctl --save NAME.pt")
    job = round_model(daemon, "small")
    wanted = artifact(daemon, round_model(daemon, "small", format="pt")) + "/model.pt"
    saved = models + "/one.pt"

    def quantctl(*words):
        return subprocess.run([QUANTCTL, "--server", "unix:" + daemon.socket, *words],
                              capture_output=True, text=True, check=False)

    def expect(code, words, *command):
        done = quantctl(*command)
        assert done.returncode == code and words in done.stderr + done.stdout, (command, done)

    expect(0, "saved 1 file", "export", str(job["id"]), "--save", saved)
    with open(wanted, "rb") as file, open(saved, "rb") as other:
        assert file.read() == other.read()
    assert not os.path.exists(saved + ".part")
    expect(0, "saved 1 file", "export", str(job["id"]), "--save", models + "/one.gguf")
    with open(artifact(daemon, round_model(daemon, "small", format="gguf")) + "/model.gguf",
              "rb") as file, open(models + "/one.gguf", "rb") as other:
        assert file.read() == other.read()
    expect(5, "a file is there", "export", str(job["id"]), "--save", saved)
    expect(0, "saved 1 file", "quantize", "small", "--wbits", "4", "--groupsize", "128",
           "--method", "rtn", "--eval", "none", "--save", saved, "--force")
    with open(wanted, "rb") as file, open(saved, "rb") as other:
        assert file.read() == other.read()
    expect(2, "the format of the job is 'gptq'", "export", str(job["id"]), "--format", "gptq",
           "--save", models + "/two.pt")
    done = quantctl("download", str(job["id"]), models + "/two.pt")
    assert done.returncode and "its format is another" in done.stderr, done
    assert not [name for name in os.listdir(models) if name.startswith("two")]


def refuse(daemon, model, words, **request):
    try:
        daemon.submit(kind="export", model=model, **{"format": "gptq", **request})
    except RuntimeError as error:
        assert words in str(error), error
    else:
        raise AssertionError("an export was taken that cannot be made")


def test_refused(daemon, models):
    """What cannot be exported is refused when it is asked for."""
    print("refused exports")
    refuse(daemon, "small", "job:ID")
    refuse(daemon, "job:4000", "no such job")
    job = round_model(daemon, "small")
    refuse(daemon, f"job:{job['id']}", "does not take it", wbits=4)
    refuse(daemon, f"job:{job['id']}", "format", format="other")
    measured = daemon.wait(daemon.submit(kind="eval", model="small", seqlen=64,
                                         eval=["file:demo-evaluation.txt"]))
    refuse(daemon, f"job:{measured['id']}", "no checkpoint")


def main():
    models = tempfile.mkdtemp(prefix="quantd-models-")
    try:
        with Daemon(os.path.dirname(os.path.dirname(QUANTD)), "--device", "cpu", "--model-root",
                    models) as daemon:
            for test in (test_types, test_gptq_types, test_small_files, test_pt, test_export,
                         test_export_of_preset, test_read_back,
                         test_kept_codes, test_quantctl, test_one_file, test_refused):
                test(daemon, models)
    finally:
        shutil.rmtree(models)
    print("all good")


if __name__ == "__main__":
    main()
