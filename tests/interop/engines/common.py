# SPDX-License-Identifier: Apache-2.0
"""What the scripts beside this one share: arguments, packages, windows, rows of a table.

A checkpoint is a folder of exports.py, or one that quantctl has downloaded; its quantd.json says
what quantd measured. Windows and mean are quantd's (NUMERICS.md): whole windows of the text, the
mean over all tokens but the first of each.
"""
import argparse
import importlib.metadata
import json
import math
import os
import sys

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
sys.path.insert(0, SOURCE + "/tests/interop")

from own_venv import need  # noqa: E402


def parse(doc, options=lambda parser: None, **packages):
    """The arguments, once all @packages (module=requirement) are there, of the versions that
    --package asks for."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0], epilog=doc.partition("\n\n")[2],
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", action="append", default=[], metavar="NAME==VERSION",
                        help="take this version")
    options(parser)
    parser.add_argument("venv", help="folder of a virtual environment, made when it is not there")
    parser.add_argument("text", help="the file that the jobs were evaluated on")
    parser.add_argument("checkpoints", nargs="+", help="folders; those of other formats are passed by")
    args = parser.parse_args()
    pinned = {one.partition("==")[0]: one for one in args.package}
    need(args.venv, **{module: pinned.get(name, name) for module, name in packages.items()})
    return args


def said_of(folder):
    with open(os.path.join(folder, "quantd.json"), encoding="utf-8") as file:
        return json.load(file)


def rule_text(rule):
    """"self_attn:wbits=8\""""
    chosen = [",".join(rule["modules"])] if "modules" in rule else []
    chosen += [f"{key}={rule[key]}" for key in ("layers", "experts") if key in rule]
    settings = [f"{key}={rule[key]}" for key in rule if key not in ("modules", "layers", "experts")]
    return "/".join(chosen) + ":" + ",".join(settings)


def name_of(said):
    """"gptq, 4 bits, groups of 64, sym, act-order, static\""""
    if "name" in said:
        return said["name"]
    params = said["params"]
    rows = "rows" if params["groupsize"] == -1 else f"groups of {params['groupsize']}"
    parts = [params["format"]]
    parts += [params["gguf_type"]] if params.get("gguf_type") else [
        f"{params['wbits']} bits", rows, "sym" if params["sym"] else "asym"]
    parts += [word for key, word in (("act_order", "act-order"), ("static_groups", "static"))
              if params[key]]
    parts += map(rule_text, params.get("rules", []))
    return ", ".join(parts + (["q8_0 embedding"] if params.get("gguf_embedding") == "q8_0" else []))


def windows_of(folder, text, seqlen):
    """[[ids of a window]] by the tokenizers library"""
    from tokenizers import Tokenizer

    with open(text, encoding="utf-8") as file:
        ids = Tokenizer.from_file(folder + "/tokenizer.json").encode(
            file.read(), add_special_tokens=False).ids
    return [ids[i:i + seqlen] for i in range(0, len(ids) - seqlen + 1, seqlen)]


def torch_perplexity(model, windows):
    """Of a model of transformers, or one that is called like it."""
    import torch

    total = 0.0
    with torch.no_grad():
        for window in torch.tensor(windows):
            logits = model(window[None]).logits[0, :-1].float()
            total += torch.nn.functional.cross_entropy(logits, window[1:]).item()
    return math.exp(total / len(windows))


def versions(*packages):
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)


def table(args, engine, formats, measure, limit=0.0005):
    """A row for each checkpoint of @formats, which measure(folder, windows) gives the perplexity
    of. Return: the exit status, 1 when a figure differs by more than @limit or there is none."""
    measured = differ = refused = 0
    print(f"| {engine} | engine | quantd | difference |\n|---|---|---|---|")
    for folder in args.checkpoints:
        said = said_of(folder)
        if said["params"]["format"] not in formats:
            continue
        windows = windows_of(folder, args.text, said["params"]["seqlen"])
        wanted = [one["value"] for one in said["perplexity"].values()
                  if one["windows"] == len(windows)]
        if len(wanted) != 1:
            sys.exit(f"{folder}: quantd measured no set of {len(windows)} windows")
        try:
            value = measure(folder, windows)
        except Exception as error:  # pylint: disable=broad-except
            refused += 1
            text = " ".join(str(error).split())[:120]
            print(f"| {name_of(said)} | {type(error).__name__}: {text} | {wanted[0]:.4f} | |",
                  flush=True)
            continue
        measured += 1
        difference = value / wanted[0] - 1
        differ += not abs(difference) <= limit
        print(f"| {name_of(said)} | {value:.4f} | {wanted[0]:.4f} | {100 * difference:+.3f} % |",
              flush=True)
    print(f"{measured} measured, {differ} of them differ by more than {100 * limit:g} %, {refused} "
          "did not load")
    return int(differ > 0 or measured == 0)
