#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Quantizes a model with GPTQModel on the cpu, and times it.

Prints one JSON object: seconds and seconds of processors of each phase, versions. The windows are
those that quantd and reference_torch.py draw. Nothing is saved, and the evaluation is left out.

Its first run on a machine compiles an extension while it quantizes, into ~/.cache/gptqmodel.
"""
import argparse
import json
import os
import random
import sys
import time

os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["TORCHDYNAMO_DISABLE"] = "1"  # compiling costs more than it saves here


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--calibration", metavar="FILE", required=True)
    parser.add_argument("--nsamples", type=int, default=128)
    parser.add_argument("--seqlen", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--wbits", type=int, default=4)
    parser.add_argument("--groupsize", type=int, default=128)
    parser.add_argument("--act-order", action="store_true")
    parser.add_argument("model", help="folder with config.json, weights and tokenizer.json")
    parser.add_argument("evaluation", help="not read")
    return parser.parse_args()


def drawn_windows(args):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(os.path.join(args.model, "tokenizer.json"))
    with open(args.calibration, encoding="utf-8") as file:
        ids = tokenizer.encode(file.read(), add_special_tokens=False).ids
    random.seed(args.seed)
    starts = [random.randint(0, len(ids) - args.seqlen - 1) for _ in range(args.nsamples)]
    return [{"input_ids": ids[i:i + args.seqlen], "attention_mask": [1] * args.seqlen}
            for i in starts]


def main():
    args = arguments()
    os.environ["GPTQMODEL_CPU_WORKERS"] = str(max(args.threads, 2))  # it does not start with one
    output, sys.stdout = sys.stdout, sys.stderr  # its progress is no result
    import torch
    from gptqmodel import BACKEND, GPTQModel, QuantizeConfig, __version__

    torch.set_num_threads(args.threads)
    result = {"seconds": {}, "processor_seconds": {}, "gptqmodel": __version__,
              "torch": torch.__version__}

    def timed(phase, function):
        begin, busy = time.perf_counter(), time.process_time()
        value = function()
        result["seconds"][phase] = round(time.perf_counter() - begin, 3)
        result["processor_seconds"][phase] = round(time.process_time() - busy, 3)
        return value

    config = QuantizeConfig(bits=args.wbits, group_size=args.groupsize, desc_act=args.act_order,
                            sym=False, damp_percent=0.01, offload_to_disk=False)
    model = timed("load", lambda: GPTQModel.load(args.model, config, device="cpu"))
    windows = drawn_windows(args)
    timed("quantize", lambda: model.quantize(windows, batch_size=1,
                                             backend=BACKEND.GPTQ_TORCH))
    print(json.dumps(result), file=output)


if __name__ == "__main__":
    main()
