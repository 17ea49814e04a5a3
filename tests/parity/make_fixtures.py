# SPDX-License-Identifier: MIT
"""Makes the models and logits that tests/parity compares Halo with. Needs torch and transformers.

    build/services/tokenizer/halo-tokenizer --model deploy/models/halo-demo.h1b --encode \\
        <wiki.test.raw >wiki.test.u32
    python3 tests/parity/make_fixtures.py --out tests/parity \\
        --demo deploy/models/halo-demo.h1b --ids wiki.test.u32

For each row of FIXTURES: a directory as on Hugging Face with random weights, the ids of a text, and the
logits that transformers computes for it (with its own classes of linear layers where it has them).
torch_graph.py computes them a second time; how far the two are apart is printed and kept in
reference.json. Without transformers (--no-transformers, or none installed) the logits are torch_graph's.

--demo computes the perplexity of ids (u32, little-endian) under the demo model as a BitNetForCausalLM,
cut into windows as `halo ppl --window 512` does, into demo_ppl.json: one entry for each of --limits
(16384 and 0, which is all ids).

Each fixture stands alone: one that fails is reported, and the others are made. Without transformers all
fixtures take ten seconds on two cores; the demo's 16384 ids 40 s there, all of them seconds on a GPU.
"""
import argparse
import hashlib
import importlib
import json
import math
import os
import pathlib
import platform
import sys
import time
import traceback

os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")  # compiling would take longer than all the rest
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import torch

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent.parent / "deploy" / "models"))

import hf_files
import torch_graph

START = time.monotonic()
N_IDS = 48


def log(text):
    print(f"[{time.monotonic() - START:6.1f} s] {text}", flush=True)


# ---- the models ----

BASE = {
    "vocab_size": hf_files.VOCAB,
    "num_hidden_layers": 2,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "bos_token_id": hf_files.BOS,
    "eos_token_id": hf_files.EOS,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "initializer_range": 0.02,
    "use_cache": True,
}


def shape(hidden, ffn, heads, kv_heads, head_dim):
    return {
        "hidden_size": hidden,
        "intermediate_size": ffn,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
    }


def bitnet(act, **more):
    return {
        "architectures": ["BitNetForCausalLM"],
        "model_type": "bitnet",
        "hidden_act": act,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        **more,
    }


def llama(**more):
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "mlp_bias": False,
        "torch_dtype": "bfloat16",
        **more,
    }


def qwen3(**more):
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "hidden_act": "silu",
        "rope_theta": 1000000.0,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
        "use_sliding_window": False,
        "sliding_window": None,
        "torch_dtype": "float16",
        **more,
    }


def quantization(linear_class, mode):
    return {
        "quant_method": "bitnet",
        "linear_class": linear_class,
        "quantization_mode": mode,
        "modules_to_not_convert": None,
    }


# name, config, how weights are kept, dtype of the rest, which linear layers transformers gets.
# Ways of keeping: packed U8 codes whose scale multiplies or divides; masters, quantised when used;
# "slices" and "groups": values that are already a code times a scale, one per slice of rows (columns
# of o and down) or per group of columns.
FIXTURES = [
    (
        "bitnet-offline",
        bitnet("relu2", quantization_config=quantization("autobitlinear", "offline"))
        | shape(160, 432, 5, 1, 32)
        | {"rope_theta": 500000.0},
        "multiply",
        torch.bfloat16,
        "AutoBitLinear",
    ),
    (
        "bitnet-online",
        bitnet("silu", quantization_config=quantization("autobitlinear", "online"))
        | shape(200, 304, 2, 2, 100),
        "masters",
        torch.bfloat16,
        "AutoBitLinear",
    ),
    (
        "bitnet-1bitllm",
        {
            "architectures": ["BitnetForCausalLM"],
            "model_type": "llama",
            "hidden_act": "silu",
            "tie_word_embeddings": True,
            "torch_dtype": "float16",
            "weight_bits": 1,
            "input_bits": 8,
        }
        | shape(192, 256, 6, 6, 32),
        "masters",
        torch.float16,
        "AutoBitLinear",
    ),
    (
        "llama-bitlinear",
        llama(
            quantization_config={"quant_method": "bitnet", "modules_to_not_convert": None},
            rope_theta=500000.0,
            rope_scaling={
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
            },
        )
        | shape(128, 448, 16, 2, 16),
        "divide",
        torch.bfloat16,
        "BitLinear",
    ),
    (
        "llama-masters",
        llama(rope_scaling={"rope_type": "linear", "factor": 2.0}) | shape(128, 384, 4, 2, 64),
        "masters",
        torch.bfloat16,
        "torch",
    ),
    (
        "llama-trilm",
        llama(torch_dtype="float16") | shape(128, 256, 8, 8, 32),
        "slices",
        torch.float16,
        "plain",
    ),
    ("qwen3", qwen3() | shape(128, 384, 4, 2, 128), "groups", torch.float16, "plain"),
    (
        "qwen3-yarn",
        qwen3(
            tie_word_embeddings=False,
            rope_scaling={
                "rope_type": "yarn",
                "factor": 4.0,
                "original_max_position_embeddings": 64,
            },
        )
        | shape(192, 320, 3, 1, 64),
        "groups64",
        torch.float16,
        "plain",
    ),
    (
        "llama-hadamard",
        llama(
            quantization_config={"quant_method": "bitnet", "modules_to_not_convert": None},
            hadamard_inputs=["o_proj", "down_proj"],
            hadamard_block=64,
        )
        | shape(128, 448, 4, 2, 32),
        "divide",
        torch.bfloat16,
        None,
    ),
]

# What the logits are computed with. Halo always quantises activations to int8 (by the groups of their
# weights, where these have such), which a model that was not trained so feels as noise; and it keeps keys
# and values in f16, which moves some of the int8 values by a step. With both the difference is that of
# float rounding, until the first int8 value that lies between two steps. Each has the relative error that
# Halo may have.
ARITHMETIC = {
    "halo": {"int8": True, "half_kv": True, "relative": 0.015},
    "int8": {"int8": True, "half_kv": False, "relative": 0.03},
    "float": {"int8": False, "half_kv": False, "relative": 0.05},
}


def groups_of(way):
    """Projections whose weights have a scale for each group of columns."""
    if way == "slices":
        return {"self_attn.o_proj": 128, "mlp.down_proj": 128}
    group = {"groups": 128, "groups64": 64}.get(way)
    return dict.fromkeys(torch_graph.PROJECTIONS, group) if group else {}


def linear_shapes(c):
    q, kv = (c[k] * c["head_dim"] for k in ("num_attention_heads", "num_key_value_heads"))
    hidden, ffn = c["hidden_size"], c["intermediate_size"]
    sizes = [(q, hidden), (kv, hidden), (kv, hidden), (hidden, q)]
    sizes += [(ffn, hidden), (ffn, hidden), (hidden, ffn)]
    return dict(zip(torch_graph.PROJECTIONS, sizes))


def layer_norms(c):
    """Names as in transformers, with lengths."""
    norms = {"input_layernorm": c["hidden_size"], "post_attention_layernorm": c["hidden_size"]}
    if c["architectures"][0].lower().startswith("bitnet"):
        assert c["num_attention_heads"] * c["head_dim"] == c["hidden_size"]  # in transformers
        norms["self_attn.attn_sub_norm"] = c["hidden_size"]
        norms["mlp.ffn_sub_norm"] = c["intermediate_size"]
    if c["model_type"] == "qwen3":
        norms["self_attn.q_norm"] = norms["self_attn.k_norm"] = c["head_dim"]
    return norms


def ternarize(w):
    """Codes and scale of a part of a master weight, absmean (arXiv 2402.17764)."""
    scale = 1.0 / w.abs().mean().clamp(min=1e-5)
    return (w * scale).round().clamp(-1, 1), 1.0 / scale


def ternarize_parts(w, n_row_parts, n_col_parts):
    """Every part has its own scale, rounded to f16. The values."""
    rows = []
    for part in w.chunk(n_row_parts, 0):
        pairs = [ternarize(p) for p in part.chunk(n_col_parts, 1)]
        rows.append(torch.cat([codes * scale.half().float() for codes, scale in pairs], 1))
    return torch.cat(rows, 0)


def keep_linear(name, w, way, dtype):
    """(tensors of the checkpoint, value) of one weight; names of the tensors are suffixes."""
    codes, scale = ternarize(w)
    if way == "multiply":
        scale = scale.to(torch.bfloat16).reshape(1)
        return {"": hf_files.pack_codes(codes), "_scale": scale}, codes * scale.float()
    if way == "divide":
        scale = (1 / scale).to(torch.bfloat16).reshape(1)
        return {"": hf_files.pack_codes(codes), "_scale": scale}, codes / scale.float()
    if way == "masters":
        kept = w.to(dtype)
        codes, scale = ternarize(kept.float())
        return {"": kept}, codes * scale
    if way == "slices":
        is_split_by_columns = name in ("self_attn.o_proj", "mlp.down_proj")
        value = ternarize_parts(w, *((1, 2) if is_split_by_columns else (2, 1)))
    else:
        value = ternarize_parts(w, len(w), w.shape[1] // groups_of(way)[name])
    return {"": value.to(dtype)}, value


def make_model(config, way, dtype, seed):
    """(checkpoint, values): what the file holds, and the float tensors that the graph multiplies."""
    gen = torch.Generator().manual_seed(seed)

    def normal(*size):
        return torch.randn(*size, generator=gen)

    kept, values = {}, {}

    def add(name, tensor):
        kept[name] = tensor.to(dtype)
        values[name] = kept[name].float()

    # Where the head is the embedding, a small one, lest every token predicts itself.
    gain = 0.25 if config["tie_word_embeddings"] else 0.7
    add("model.embed_tokens.weight", normal(config["vocab_size"], config["hidden_size"]) * gain)
    for i in range(config["num_hidden_layers"]):
        for name, (rows, cols) in linear_shapes(config).items():
            gain = (normal(rows, 1) * 0.2).exp()  # rows of trained weights differ in size
            w = normal(rows, cols) * gain * cols**-0.5
            full = f"model.layers.{i}.{name}.weight"
            tensors, values[full] = keep_linear(name, w, way, dtype)
            kept.update({full + suffix: t for suffix, t in tensors.items()})
        for name, length in layer_norms(config).items():
            add(f"model.layers.{i}.{name}.weight", (normal(length) * 0.25).exp())
    add("model.norm.weight", (normal(config["hidden_size"]) * 0.25).exp())
    if not config["tie_word_embeddings"]:
        add("lm_head.weight", normal(config["vocab_size"], config["hidden_size"]) * 0.7)
    return kept, values


def choose_ids(graph, n_tries):
    """Ids after each of which the best token leads clearly, so that top-1 does not hang on rounding:
    token by token the best of a few."""
    gen = torch.Generator().manual_seed(1)
    ids, least = [hf_files.BOS], math.inf
    while len(ids) < N_IDS:
        found = []
        for token in torch.randint(0, 256 + hf_files.N_MERGES, (n_tries,), generator=gen).tolist():
            logits = graph.logits(torch.tensor([*ids, token]))[-1]
            top = logits.topk(2).values
            found.append((float((top[0] - top[1]) / logits.std()), token))
        lead, token = max(found)
        least = min(least, lead)
        ids.append(token)
    return torch.tensor(ids), least


# ---- transformers ----


class FakeQuantLinear(torch.nn.Module):
    """Linear layer on int8 activations, where transformers has none."""

    def __init__(self, value, group):
        super().__init__()
        self.weight = torch.nn.Parameter(value, requires_grad=False)
        self.group = group

    def forward(self, x):
        return torch.nn.functional.linear(torch_graph.quantize(x, self.group), self.weight)


def make_linear(kind, way, kept, name, value):
    rows, cols = value.shape
    if kind == "torch":
        group = groups_of(way).get(".".join(name.split(".")[3:5]), 0)
        return FakeQuantLinear(value, group)
    hf_bitnet = importlib.import_module("transformers.integrations.bitnet")
    if kind == "BitLinear":
        layer = hf_bitnet.BitLinear(cols, rows, bias=False, dtype=torch.float32)
        layer.weight.copy_(kept[name])
        layer.weight_scale.copy_(kept[name + "_scale"].float())
        return layer
    is_online = way == "masters"
    layer = hf_bitnet.AutoBitLinear(
        cols, rows, bias=False, dtype=torch.float32, online_quant=is_online
    )
    if is_online:
        layer.weight.data = kept[name].float()
    else:
        layer.weight.data = hf_bitnet.unpack_weights(kept[name], dtype=torch.float32)
        layer.weight_scale.data = kept[name + "_scale"].float()
    return layer


def hf_model(config, values, scratch):
    """The model class of transformers, built from the config alone, with plain linear layers."""
    import transformers

    plain = {k: v for k, v in config.items() if k != "quantization_config"}
    if config["architectures"] == ["BitnetForCausalLM"]:  # custom code of 1bitLLM: the same graph
        plain |= {"architectures": ["BitNetForCausalLM"], "model_type": "bitnet"}
    plain["torch_dtype"] = "float32"
    scratch.mkdir(parents=True, exist_ok=True)
    (scratch / "config.json").write_text(json.dumps(plain), encoding="utf-8")
    hf_config = transformers.AutoConfig.from_pretrained(str(scratch))
    model = transformers.AutoModelForCausalLM.from_config(hf_config, attn_implementation="eager")
    model = model.float().eval()
    missing, unexpected = model.load_state_dict(values, strict=False)
    missing = [m for m in missing if m != "lm_head.weight" or not config["tie_word_embeddings"]]
    if missing or unexpected:
        raise ValueError(f"missing {missing}, unexpected {unexpected}")
    model.tie_weights()
    return model


def swap_linears(model, kind, way, kept, values):
    for name, value in values.items():
        if any(name.endswith(p + ".weight") for p in torch_graph.PROJECTIONS):
            parent, leaf = name[: -len(".weight")].rsplit(".", 1)
            layer = make_linear(kind, way, kept, name, value)
            setattr(model.get_submodule(parent), leaf, layer)
    return model.float() if kind == "torch" else model


def hf_logits(model, ids, has_half_kv=False):
    if not has_half_kv:
        return model(input_ids=ids[None]).logits[0].float()
    module = sys.modules[type(model).__module__]
    plain, calls = module.eager_attention_forward, []

    def with_half_kv(layer, query, key, value, *args, **kwargs):
        calls.append(layer)
        return plain(layer, query, key.half().float(), value.half().float(), *args, **kwargs)

    module.eager_attention_forward = with_half_kv
    try:
        logits = model(input_ids=ids[None]).logits[0].float()
    finally:
        module.eager_attention_forward = plain
    if not calls:
        raise ValueError("the attention is not where it was expected")
    return logits


def from_pretrained_logits(path, ids):
    """The way of a user of transformers, quantiser and all."""
    import transformers

    kwargs = {"attn_implementation": "eager"}
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(
            str(path), dtype=torch.float32, **kwargs
        )
    except TypeError:
        model = transformers.AutoModelForCausalLM.from_pretrained(
            str(path), torch_dtype=torch.float32, **kwargs
        )
    return hf_logits(model.eval(), ids)


def relative(a, b):
    return float((a.double() - b.double()).norm() / b.double().norm())


def attempt(what, function, notes):
    """The result, or None and a note of why there is none."""
    try:
        return function()
    except Exception as e:
        if os.environ.get("FIXTURES_TRACE"):
            traceback.print_exc()
        notes[what] = f"{type(e).__name__}: {e}"[:300]
        log(f"  {what}: {notes[what]}")
        return None


def reference_of(fixture, what, kept, values, ids, args, notes):
    """Logits and where they come from: transformers if it can, else torch_graph."""
    name, config, way, _, kind = fixture
    has_int8, has_half_kv = ARITHMETIC[what]["int8"], ARITHMETIC[what]["half_kv"]
    own = torch_graph.Graph(config, values, has_int8, has_half_kv, groups_of(way)).logits(ids)
    if kind is None or args.no_transformers:
        return own, "torch_graph.py"
    kind = "torch" if kind == "plain" else kind

    def by_transformers(linear):
        model = hf_model(config, values, args.scratch / name)
        if has_int8:
            model = swap_linears(model, linear, way, kept, values)
        return hf_logits(model, ids, has_half_kv)

    import transformers

    class_name = config["architectures"][0].replace("Bitnet", "BitNet")
    source = f"transformers {transformers.__version__} {class_name}"
    for linear in dict.fromkeys([kind, "torch"]):
        got = attempt(f"{what} by {linear}", lambda: by_transformers(linear), notes)
        if got is None:
            continue
        notes[f"{what} by {linear}, torch_graph relative"] = relative(own, got)
        log(f"  {what} by {linear}: torch_graph is {relative(own, got):.2e} away")
        if relative(own, got) < 0.05:
            return got, f"{source}, linear layers: {linear if has_int8 else 'plain'}"
        notes[f"{what} by {linear}"] = "too far from torch_graph"
    return own, "torch_graph.py"


def make_fixture(fixture, args, seed):
    name, config, way, dtype, kind = fixture
    config = BASE | config
    fixture = (name, config, way, dtype, kind)
    path, notes = args.out / name, {}
    kept, values = make_model(config, way, dtype, seed)
    if "BitnetForCausalLM" in config["architectures"]:
        renames = {"attn_sub_norm": "inner_attn_ln", "ffn_sub_norm": "ffn_layernorm"}
        stored = {}
        for key, tensor in kept.items():
            for old, new in renames.items():
                key = key.replace(old, new)
            stored[key] = tensor
    else:
        stored = kept
    hf_files.write_directory(path, config, stored)
    ids, lead = choose_ids(torch_graph.Graph(config, values, True), args.tries)
    references, logits = {}, {}
    for what in ("halo", "float" if kind == "plain" else "int8"):
        logits[what], source = reference_of(fixture, what, kept, values, ids, args, notes)
        np.save(path / f"logits_{what}.npy", logits[what].numpy().astype("<f4"))
        references[what] = {"source": source, "relative": ARITHMETIC[what]["relative"], "top1": 1.0}
        log(f"  {what}: {source}")
        if what != "halo":
            notes[f"halo to {what}, relative"] = relative(logits["halo"], logits[what])
    if config.get("quantization_config") and kind and not args.no_transformers:
        got = attempt("from_pretrained", lambda: from_pretrained_logits(path, ids), notes)
        if got is not None:
            away = notes["from_pretrained, relative"] = relative(got, logits["int8"])
            log(f"  from_pretrained: {away:.2e} away")
    reference = {
        "ids": ids.tolist(),
        "references": references,
        "convert": ["--quantize", "absmean"] if kind == "torch" else [],
        "least_lead": round(lead, 4),
        "torch": torch.__version__,
        "notes": notes,
    }
    (path / "reference.json").write_text(json.dumps(reference, indent=1) + "\n", encoding="utf-8")
    size = sum(f.stat().st_size for f in path.iterdir())
    log(f"  {size / 1e6:.2f} MB, least lead {lead:.3f}, notes {json.dumps(notes)}")


# ---- the demo's perplexity ----


def read_demo(path):
    """(config as transformers has it, values, {name: (codes, scale)}) of an .h1b file."""
    import h1b_file

    sections = h1b_file.read(path)
    config = json.loads(sections["config"].tobytes())
    keep = set(BASE) | set(shape(1, 1, 1, 1, 1))
    hf = {k: config[k] for k in keep if k in config}
    hf = BASE | bitnet(config["hidden_act"]) | hf | {"eos_token_id": config["eos_token_ids"]}
    values, parts = {}, {}
    for name, tensor in sections.items():
        if isinstance(tensor, h1b_file.Ternary):
            codes = torch.from_numpy(tensor.values.astype(np.float32))
            scale = torch.from_numpy(sections[name + "_scale"].copy())
            parts[name] = (codes, scale)
            values[name] = codes * scale.repeat_interleave(len(codes) // len(scale))[:, None]
        elif name.startswith("model.") and not name.endswith("_scale"):
            values[name] = torch.from_numpy(tensor.astype(np.float32))
    return config, hf, values, parts


def demo_model(hf, values, parts, args):
    """ids [batch, n] to logits on the device, and its description."""
    import transformers

    hf_bitnet = importlib.import_module("transformers.integrations.bitnet")
    model = hf_model(hf, values, args.scratch / "demo")
    for name, (codes, scale) in parts.items():
        rows, cols = codes.shape
        layer = hf_bitnet.AutoBitLinear(
            cols, rows, bias=False, dtype=torch.float32, online_quant=False
        )
        layer.weight.data, layer.weight_scale.data = codes, scale
        parent, leaf = name[: -len(".weight")].rsplit(".", 1)
        setattr(model.get_submodule(parent), leaf, layer)
    model = model.to(args.device).eval()
    source = f"transformers {transformers.__version__} BitNetForCausalLM, AutoBitLinear, f32"
    return lambda ids: model(input_ids=ids.to(args.device)).logits, source


def windows_of(n_ids, window, stride, n_bos):
    """(from, to, scored_from) as services/engine/ppl.h cuts a text; indices into the ids."""
    cap, scored, at, out = window - n_bos, 0, 0, []
    while scored < n_ids:
        end = min(at + cap, n_ids)
        first = max(scored, at + 1 - n_bos)
        if end - at + n_bos >= 2:
            out.append((at, end, first))
        scored, at = end, at + (stride or cap)
    return out


def run_windows(forward, ids, bos, args):
    """Sum of -ln p and the number of scored tokens, and the sums by window."""
    n_bos = 0 if bos is None else 1
    windows, sums, n_scored, i = windows_of(len(ids), args.window, args.stride, n_bos), [], 0, 0
    while i < len(windows):
        length = windows[i][1] - windows[i][0]
        batch = [w for w in windows[i : i + args.batch] if w[1] - w[0] == length]
        rows = torch.stack([ids[a:b] for a, b, _ in batch])
        if n_bos:
            rows = torch.cat([torch.full((len(rows), 1), bos), rows], 1)
        logits = forward(rows[:, :-1]).float()
        targets = rows[:, 1:].to(logits.device)
        nll = -logits.log_softmax(-1).gather(-1, targets[:, :, None])[:, :, 0].double().cpu()
        for (a, b, first), row in zip(batch, nll):
            scored = row[first - a - 1 + n_bos :]
            sums.append(float(scored.sum()))
            n_scored += len(scored)
        i += len(batch)
    return math.fsum(sums), n_scored, sums


def demo_perplexity(args):
    config, hf, values, parts = read_demo(args.demo)
    raw = pathlib.Path(args.ids).read_bytes()
    ids = torch.from_numpy(np.frombuffer(raw, "<u4").astype(np.int64))
    notes = {}
    made = None
    if not args.no_transformers:
        made = attempt("demo", lambda: demo_model(hf, values, parts, args), notes)
    if made is None:
        graph = torch_graph.Graph(hf, values, True)
        made = (lambda rows: torch.stack([graph.logits(r) for r in rows])), "torch_graph.py"
    forward, source = made
    bos = config["bos_token_id"] if config.get("add_bos") else None
    runs = []
    for limit in args.limits:
        part = ids[: limit or len(ids)]
        with torch.no_grad():
            total, n, sums = run_windows(forward, part, bos, args)
        used = raw[: 4 * len(part)]
        runs.append(
            {
                "limit": limit,
                "n_ids": len(part),
                "ids_sha256": hashlib.sha256(used).hexdigest(),
                "n_scored": n,
                "nll": total / n,
                "ppl": math.exp(total / n),
                "windows_nll": [round(s, 4) for s in sums],
            }
        )
        log(f"  demo: {n} tokens, ppl {math.exp(total / n):.5f}")
        result = {
            "source": source,
            "device": str(args.device),
            "window": args.window,
            "stride": args.stride,
            "bos": bos,
            "runs": runs,
            "notes": notes,
        }
        (args.out / "demo_ppl.json").write_text(json.dumps(result, indent=1) + "\n")


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, default=HERE)
    parser.add_argument("--scratch", type=pathlib.Path, default=pathlib.Path("/tmp/halo-parity"))
    parser.add_argument("--only", nargs="*", help="names of fixtures; none of them: only the demo")
    parser.add_argument("--tries", type=int, default=8, help="tokens to choose one from")
    parser.add_argument("--no-transformers", action="store_true")
    parser.add_argument("--demo", help="halo-demo.h1b")
    parser.add_argument("--ids", help="u32 token ids of the text for --demo")
    parser.add_argument("--limits", default="16384,0", help="ids to use; 0: all")
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("--stride", type=int, default=0, help="0: windows do not overlap")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    args.limits = [int(n) for n in args.limits.split(",")]
    return args


def main():
    args = parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.set_grad_enabled(False)
    log(f"python {platform.python_version()}, torch {torch.__version__}, device {args.device}")
    if not args.no_transformers:
        try:
            import transformers

            transformers.logging.set_verbosity_error()
            log(f"transformers {transformers.__version__}")
        except Exception as e:
            log(f"no transformers: {e}")
            args.no_transformers = True
    failed = []
    for seed, fixture in enumerate(FIXTURES):
        if args.only is not None and fixture[0] not in args.only:
            continue
        log(fixture[0])
        try:
            make_fixture(fixture, args, 100 + seed)
        except Exception:
            traceback.print_exc()
            failed.append(fixture[0])
    if args.demo and args.ids:
        log("demo")
        try:
            demo_perplexity(args)
        except Exception:
            traceback.print_exc()
            failed.append("demo")
    log(f"failed: {failed}" if failed else "all made")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
