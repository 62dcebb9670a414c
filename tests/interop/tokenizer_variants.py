#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/data/tokenizer-variants.json: what Hugging Face tokenizers (pip install tokenizers)
gives for variants of one small tokenizer, without special tokens.

Its merges were trained without words, so that how a text is split into words shows in its ids.
Texts keep to characters of Unicode 14, which every library here knows.

Usage: tokenizer_variants.py [FILE]
"""
import json
import os
import random
import sys
import unicodedata

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
FILE = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "../data/tokenizer-variants.json")

CL100K = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
SINGLE = CL100K.replace(r"\p{N}{1,3}", r"\p{N}")
TIKTOKEN = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*"
            r"|\s*[\r\n]|\s+(?!\S)|\s+")
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
PARTS = ["a", "B", "the", "don't", "'S", "'LL", "'\u017f", "'s", "we'RE", "caf\u00e9", "e\u0301",
         "1", "12345", "\u0661\u0662", "\u2167", "\u00bd", " ", "  ", "\t", "\n", "\r\n", "\n\n\n",
         " \n", "\u00a0", "\u3000", "\u2028", "\u0085", "\u180e", "\u200b", "\ufeff", ".", "...",
         "!?", "-", "_", "(", "\u20ac", "\u4e16\u754c", "\u0301", "\u1112\u1161\u11ab",
         "\U0001f600", "\u200d", "\0", "\x1c", "\x7f", "\U0001d7d8", "\u0e01\u0e33", "\u02bc",
         "  \n  x", "\n/"]


def byte_level(regex=False):
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
            "use_regex": regex}


def split(regex, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": invert}


def sequence(*stages):
    return {"type": "Sequence", "pretokenizers": list(stages)}


def template(*single):
    text = {"Sequence": {"id": "A", "type_id": 0}}
    token = {"SpecialToken": {"id": "a", "type_id": 0}}
    parts = [text if part == "text" else token for part in single]
    return {"type": "TemplateProcessing", "single": parts,
            "pair": [text, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"a": {"id": "a", "ids": [64], "tokens": ["a"]}}}


def variants(model):
    few = {**model, "merges": model["merges"][:60], "ignore_merges": True}
    return {
        "byte-level": {},
        "sequence-of-one": {"pre_tokenizer": sequence(byte_level(True))},
        "no-words": {"pre_tokenizer": byte_level()},
        "cl100k": {"pre_tokenizer": sequence(split(CL100K), byte_level())},
        "cl100k-removed": {"pre_tokenizer": sequence(split(CL100K, "Removed", True), byte_level())},
        "cl100k-gpt2": {"pre_tokenizer": sequence(split(CL100K), byte_level(True))},
        "single-digits": {"pre_tokenizer": sequence(split(SINGLE), byte_level())},
        "tiktoken": {"pre_tokenizer": sequence(split(TIKTOKEN), byte_level())},
        "gpt2": {"pre_tokenizer": sequence(split(GPT2), sequence(byte_level()))},
        "digits": {"pre_tokenizer": sequence({"type": "Digits", "individual_digits": True},
                                             byte_level(True))},
        "digit-runs": {"pre_tokenizer": sequence({"type": "Digits", "individual_digits": False},
                                                 byte_level(True))},
        "nfc-sequence": {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}]}},
        "empty-sequence": {"normalizer": {"type": "Sequence", "normalizers": []}},
        "bos": {"post_processor": template("token", "text")},
        "eos": {"post_processor": {"type": "Sequence",
                                   "processors": [byte_level(), template("text", "token")]}},
        "dropout": {"model": {**model, "dropout": 0.0}},
        "byte-fallback": {"model": {**model, "byte_fallback": True}},
        "ignore-merges": {"model": few},
        "ignore-merges-cl100k": {"model": few, "pre_tokenizer": sequence(split(CL100K),
                                                                         byte_level())},
    }


def sample(rng):
    return "".join(rng.choice(PARTS) for _ in range(rng.randint(1, 24)))


def train(rng):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.train_from_iterator(
        [unicodedata.normalize("NFC", sample(rng)) for _ in range(3000)],
        trainers.BpeTrainer(vocab_size=600, show_progress=False,
                            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    return json.loads(tokenizer.to_str())["model"]


def main():
    rng = random.Random(11)
    model = train(rng)
    base = {"version": "1.0", "added_tokens": [], "normalizer": {"type": "NFC"},
            "pre_tokenizer": byte_level(True), "post_processor": None, "decoder": None,
            "model": model}
    texts = [sample(rng) for _ in range(30)]
    result = {"base": base, "texts": texts, "variants": {}}
    for name, change in variants(model).items():
        tokenizer = Tokenizer.from_str(json.dumps({**base, **change}))
        result["variants"][name] = {
            "change": change,
            "ids": [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]}
        if "model" in change:  # the vocabulary is there once
            kept = {k: v for k, v in change["model"].items() if k != "vocab"}
            if kept["merges"] == model["merges"]:
                del kept["merges"]
            result["variants"][name]["change"] = {**change, "model": kept}
    with open(FILE, "w", encoding="utf-8") as file:
        json.dump(result, file, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main()
