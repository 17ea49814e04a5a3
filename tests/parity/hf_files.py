# SPDX-License-Identifier: MIT
"""Writes what a Hugging Face model directory holds: safetensors, packed ternary codes, a tokenizer.

Written from the formats' descriptions, without their libraries, so that make_fixtures.py needs torch
and transformers only.
"""
import json
import struct

import torch

N_MERGES, N_SPECIAL = 56, 8
VOCAB = 256 + N_MERGES + N_SPECIAL
BOS, EOS = 256 + N_MERGES, 256 + N_MERGES + 1

DTYPES = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.uint8: "U8",
}

LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2_PATTERN = LLAMA3_PATTERN.replace(r"\p{N}{1,3}", r"\p{N}")


def write_safetensors(path, tensors):
    """{name: tensor} to a file: u64 length of the JSON header, header, data."""
    header, blobs, at = {}, [], 0
    for name, tensor in tensors.items():
        tensor = tensor.detach().contiguous()
        raw = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
        header[name] = {
            "dtype": DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [at, at + len(raw)],
        }
        blobs.append(raw)
        at += len(raw)
    text = json.dumps(dict(header, __metadata__={"format": "pt"})).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        out.writelines(blobs)


def pack_codes(codes):
    """-1, 0, +1 as float [out, in] to the U8 [out / 4, in] of transformers' integrations/bitnet:
    bits 2i, 2i + 1 of byte (r, k) hold code + 1 of row i * out / 4 + r."""
    quarters = (codes + 1).to(torch.uint8).chunk(4, 0)
    return quarters[0] | quarters[1] << 2 | quarters[2] << 4 | quarters[3] << 6


def byte_names():
    """GPT-2's printable character of each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    return {b: chr(b) for b in plain} | {b: chr(256 + i) for i, b in enumerate(others)}


MERGES = (
    "th he in er an re on at nd es or en te ed to it is ar st ing al of the and ou le se as hi ve me "
    "ro ne ra li io ea co de ic ri om ma ll ch ut ec si ha wh il be so we wa el"
).split()


def tokenizer_json(pattern):
    """A byte-level BPE tokenizer of VOCAB tokens."""
    names = byte_names()
    vocab = {names[b]: b for b in range(256)}
    merges = []
    for text in MERGES[:N_MERGES]:
        cut = next(i for i in range(1, len(text)) if text[:i] in vocab and text[i:] in vocab)
        vocab[text] = len(vocab)
        merges.append(f"{text[:cut]} {text[cut:]}")
    assert len(vocab) == 256 + N_MERGES, len(vocab)
    special = ["<|begin_of_text|>", "<|end_of_text|>"]
    special += [f"<|reserved_{i}|>" for i in range(N_SPECIAL - 2)]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": len(vocab) + i,
                "content": text,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for i, text in enumerate(special)
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split",
                    "pattern": {"Regex": pattern},
                    "behavior": "Isolated",
                    "invert": False,
                },
                dict(byte_level, use_regex=False),
            ],
        },
        "post_processor": dict(byte_level, use_regex=True),
        "decoder": dict(byte_level, use_regex=True),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocab,
            "merges": merges,
        },
    }


def write_directory(path, config, tensors):
    path.mkdir(parents=True, exist_ok=True)
    pattern = QWEN2_PATTERN if config["model_type"] == "qwen3" else LLAMA3_PATTERN
    files = {
        "config.json": config,
        "tokenizer.json": tokenizer_json(pattern),
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<|begin_of_text|>",
            "eos_token": "<|end_of_text|>",
            "add_bos_token": True,
        },
    }
    for name, value in files.items():
        (path / name).write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    write_safetensors(path / "model.safetensors", tensors)
