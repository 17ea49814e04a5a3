# SPDX-License-Identifier: MIT
"""Trains Halo's demo model from the corpus folder to a .h1b file. halo-demo.md lists the commands.

    python3 train_demo.py prepare  --corpus CORPUS --work WORK
    python3 train_demo.py train    --work WORK
    python3 train_demo.py export   --work WORK --out halo-demo.h1b
    python3 train_demo.py evaluate --work WORK --model halo-demo.h1b

prepare trains the tokenizer, writes synthetic conversations and encodes everything (numpy, regex).
train learns in two phases, plain text and then chat, and saves WORK/model.pt and WORK/log.txt.
export quantises and writes the file. evaluate prints the held-out losses of the exported file.
"""
import argparse
import json
import math
import os
import time

import numpy as np

import demo_data
import export_h1b
import h1b_file


class Trainer:
    def __init__(self, args):
        import torch

        import demo_model

        self.torch, self.args = torch, args
        torch.manual_seed(args.seed)
        torch.set_float32_matmul_precision("high")
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.tokenizer = export_h1b.load_tokenizer(os.path.join(args.work, "tokenizer.npz"))
        self.config = export_h1b.demo_config(self.tokenizer, **json.loads(args.shape))
        attend, self.make_mask = demo_model.ATTENTION[args.attention]
        self.model = demo_model.Model(self.config, attend).to(self.device)
        if args.compile:
            self.model.compile_parts()
        self.bos = self.config["bos_token_id"]
        self.pad = self.tokenizer.special["<|end_of_text|>"]
        self.document_numbers = demo_model.document_numbers
        self.optimizers = self._optimizers(demo_model) if hasattr(args, "lr") else []

    def _optimizers(self, demo_model):
        torch, args = self.torch, self.args
        matrices = [
            p
            for m in self.model.modules()
            if isinstance(m, demo_model.BitLinear)
            for p in m.parameters()
        ]
        norms = [p for p in self.model.parameters() if p.dim() == 1]
        decayed = [self.model.embed_tokens.weight]
        fused = {"fused": True} if self.device == "cuda" else {}
        if args.optimizer == "adamw":
            decayed, stages = matrices + decayed, []
        else:
            stages = [demo_model.Muon(matrices, lr=args.muon_lr)]
        groups = [{"params": decayed}, {"params": norms, "never_decay": True}]
        stages.append(
            torch.optim.AdamW(
                groups, lr=args.lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0, **fused
            )
        )
        for optimizer in stages:
            for group in optimizer.param_groups:
                group["peak"] = group["lr"]
        return stages

    def tensors(self, rows, answers_only):
        """Rows of a Packer to (ids, targets); targets are -1 where nothing is learned."""
        torch = self.torch
        rows = torch.from_numpy(rows.astype(np.int32)).to(self.device, non_blocking=True)
        ids = rows & int(demo_data.ID_MASK)
        learned = ids[:, 1:] != self.bos
        if answers_only:
            learned &= (rows[:, 1:] & int(demo_data.LOSS_BIT)) != 0
        targets = torch.where(learned, ids[:, 1:], -1).long()
        return ids[:, :-1].contiguous(), targets

    def loss(self, ids, targets):
        mask = self.make_mask(self.document_numbers(ids, self.bos))
        with self.torch.autocast(self.device, self.torch.bfloat16, enabled=self.device == "cuda"):
            return self.model(ids, mask, targets)

    def schedule(self, step, total, phase_start):
        """Share of the peak rate: warm-up, a slow fall over the text phase, then down to zero."""
        if step < self.args.warmup:
            return (step + 1) / self.args.warmup
        if step < phase_start:
            return 1.0 - 0.5 * step / phase_start
        return (
            0.5 * 0.5 * (1 + math.cos(math.pi * (step - phase_start) / max(1, total - phase_start)))
        )

    def step(self, rows, answers_only, rate, decay):
        torch, loss_sum = self.torch, 0.0
        ids, targets = self.tensors(rows, answers_only)
        learned = (targets >= 0).sum().clamp_min(1)
        micro = max(1, self.args.micro_tokens // ids.shape[1])
        for start in range(0, len(ids), micro):
            loss = self.loss(ids[start : start + micro], targets[start : start + micro]) / learned
            loss.backward()
            loss_sum += loss.detach()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * rate
                group["weight_decay"] = 0.0 if group.get("never_decay") else decay
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return loss_sum, norm

    def validate(self, data, rows_each):
        """Mean held-out loss per token of every kind; chat kinds count what the assistant says."""
        torch, out = self.torch, {}
        for name in sorted(data):
            kind, what = name.rsplit(".", 1)
            if what != "at":
                continue
            mix = {kind: 1.0}
            packer = demo_data.Packer(data, mix, self.args.eval_length, self.bos, self.pad, seed=0)
            packer._fill()
            total = count = 0
            answers_only = kind.startswith(("chat", "demo", "dialog"))
            for start in range(0, min(rows_each, len(packer.rows)), 16):
                rows = packer.rows[start : min(start + 16, rows_each)]
                rows = (
                    np.concatenate([rows, np.repeat(rows[-1:], 16 - len(rows), 0)])
                    if len(rows) < 16
                    else rows
                )
                ids, targets = self.tensors(rows, answers_only)
                used = min(16, rows_each - start, len(packer.rows) - start)
                targets[used:] = -1
                with torch.no_grad():
                    total += float(self.loss(ids, targets))
                count += int((targets >= 0).sum())
            out[kind] = total / max(1, count)
        return out

    def batch(self, packer, rehearsal):
        """Rows of one step; those of `rehearsal` are learned in full."""
        n = max(1, self.args.batch_tokens // packer.length)
        again = round(n * self.args.rehearsal) if rehearsal else 0
        if again == 0:
            return packer.batch(n)
        return np.concatenate(
            [packer.batch(n - again), rehearsal.batch(again) | demo_data.LOSS_BIT]
        )

    def phase(self, name, packer, rehearsal, steps, first_step, total, phase_start, valid, log):
        args, answers_only = self.args, name == "chat"
        started, last = time.time(), None
        for i in range(steps):
            step = first_step + i
            rows = self.batch(packer, rehearsal)
            rate = self.schedule(step, total, phase_start)
            decay = args.weight_decay if step < total // 2 else 0.0
            loss, norm = self.step(rows, answers_only, rate, decay)
            if i % args.log_every == 0 or i == steps - 1:
                loss, norm = float(loss), float(norm)
                now = time.time()
                speed = 0 if last is None else args.log_every * args.batch_tokens / (now - last)
                last = now
                log(
                    f"{name} {step} loss {loss:.4f} norm {norm:.3f} rate {rate:.3f} tokens/s"
                    f" {speed:.0f} s {now - started:.0f}"
                )
            if args.eval_every and (i + 1) % args.eval_every == 0 or i == steps - 1:
                losses = self.validate(valid, args.eval_rows)
                log(f"valid {step} " + " ".join(f"{k} {v:.3f}" for k, v in losses.items()))
                last = None
            if i + 1 < steps and args.save_every and (i + 1) % args.save_every == 0:
                self.save("partial.pt")

    def save(self, name):
        path = os.path.join(self.args.work, name)
        self.torch.save(self.model.state_dict(), path + ".new")
        os.replace(path + ".new", path)


def open_log(path):
    file = open(path, "a", encoding="utf-8")

    def log(line):
        print(line, flush=True)
        print(line, file=file, flush=True)

    return log


def command_train(args):
    log = open_log(os.path.join(args.work, args.log_name))
    trainer = Trainer(args)
    if args.resume.endswith(".h1b"):
        trainer.model.load_sections(h1b_file.read(args.resume), trainable=True)
    elif args.resume:
        trainer.model.load_state_dict(trainer.torch.load(os.path.join(args.work, args.resume)))
    train, valid = (dict(np.load(os.path.join(args.work, f))) for f in ("train.npz", "valid.npz"))
    parameters = sum(p.numel() for p in trainer.model.parameters())
    log(f"parameters {parameters} device {trainer.device} {vars(args)}")
    ends = dict(bos=trainer.bos, pad=trainer.pad)
    total = args.text_steps + args.chat_steps
    first = args.text_steps if args.skip_text else 0
    if not args.skip_text and args.text_steps:
        packer = demo_data.Packer(
            train, demo_data.TEXT_MIX, args.text_length, seed=args.seed, **ends
        )
        trainer.phase("text", packer, None, args.text_steps, 0, total, args.text_steps, valid, log)
        trainer.save("text.pt")
    if args.chat_steps:
        packer = demo_data.Packer(
            train, demo_data.CHAT_MIX, args.chat_length, seed=args.seed + 1, whole=True, **ends
        )
        rehearsal = demo_data.Packer(
            train, demo_data.REHEARSAL_MIX, args.chat_length, seed=args.seed + 2, **ends
        )
        trainer.phase(
            "chat",
            packer,
            rehearsal,
            args.chat_steps,
            first or args.text_steps,
            total,
            args.text_steps,
            valid,
            log,
        )
    trainer.save("model.pt")
    log("done")


def command_prepare(args):
    demo_data.prepare(args.corpus, args.work, args.conversations, args.seed, args.processes)


def command_export(args):
    import torch

    tokenizer = export_h1b.load_tokenizer(os.path.join(args.work, "tokenizer.npz"))
    config = export_h1b.demo_config(tokenizer, **json.loads(args.shape))
    state = torch.load(os.path.join(args.work, args.checkpoint), map_location="cpu")
    state = {k: v.float().numpy() for k, v in state.items()}
    layers = []
    for i in range(config["num_hidden_layers"]):
        prefix = f"layers.{i}."
        layer = {name: state[f"{prefix}{name}.weight"] for name in export_h1b.norm_shapes(config)}
        for name in export_h1b.layer_shapes(config):
            layer[name] = export_h1b.ternarize(state[f"{prefix}{name}.weight"])
        layers.append(layer)
    print(
        export_h1b.export(
            args.out, config, tokenizer, state["embed_tokens.weight"], state["norm.weight"], layers
        )
    )


def command_evaluate(args):
    """Held-out loss per kind and WikiText-2 perplexity of the file as it is served."""
    args.shape, args.seed = "{}", 0
    sections = h1b_file.read(args.model)
    args.shape = sections["config"].tobytes().decode()
    trainer = Trainer(args)
    trainer.model.load_sections(sections)
    data = dict(np.load(os.path.join(args.work, "valid.npz")))
    for kind, loss in trainer.validate(data, args.eval_rows).items():
        print(f"{kind}: loss {loss:.3f}, perplexity {math.exp(loss):.2f} per token")
    perplexity_wikitext(trainer, data["wikitext.ids"], args)


def perplexity_wikitext(trainer, ids, args, words=241211):
    """Windows without overlap, each after <|begin_of_text|>; every token is predicted once."""
    torch, length = trainer.torch, args.eval_length
    n = min(len(ids) // length, args.wikitext_windows or len(ids))
    used = n * length
    rows = np.concatenate(
        [np.full((n, 1), trainer.bos, np.uint16), ids[:used].reshape(n, length)], 1
    )
    total = 0.0
    for start in range(0, n, 8):
        inputs, targets = trainer.tensors(rows[start : start + 8], answers_only=False)
        with torch.no_grad():
            total += float(trainer.loss(inputs, targets))
    per_word = total / (words * used / len(ids))
    print(
        f"wikitext-2 raw test: {used} of {len(ids)} tokens in windows of {length}, loss"
        f" {total / used:.4f}, perplexity {math.exp(total / used):.2f} per token,"
        f" {math.exp(per_word):.1f} per word"
    )


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name, run):
        sub = commands.add_parser(name, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        sub.set_defaults(run=run)
        sub.add_argument("--work", required=True, help="folder for tokens, checkpoints and logs")
        return sub

    sub = command("prepare", command_prepare)
    sub.add_argument("--corpus", required=True, help="folder of the *.train.jsonl.xz files")
    sub.add_argument(
        "--conversations", type=int, default=300000, help="synthetic conversations to write"
    )
    sub.add_argument("--processes", type=int, default=os.cpu_count())
    sub.add_argument("--seed", type=int, default=1)

    sub = command("train", command_train)
    sub.add_argument("--seed", type=int, default=1)
    sub.add_argument("--text-steps", type=int, default=2500)
    sub.add_argument("--chat-steps", type=int, default=1500)
    sub.add_argument(
        "--rehearsal", type=float, default=0.25, help="share of running text in the chat phase"
    )
    sub.add_argument("--skip-text", action="store_true", help="only the chat phase, on --resume")
    sub.add_argument(
        "--resume", default="", help="checkpoint in WORK, or an .h1b file, to begin with"
    )
    sub.add_argument("--batch-tokens", type=int, default=131072, help="tokens a step")
    sub.add_argument(
        "--micro-tokens", type=int, default=65536, help="tokens a pass; lower it to save memory"
    )
    sub.add_argument(
        "--text-length", type=int, default=1024, help="sequence length of the text phase"
    )
    sub.add_argument(
        "--chat-length", type=int, default=2048, help="sequence length of the chat phase"
    )
    sub.add_argument("--optimizer", choices=["adamw", "muon"], default="muon")
    sub.add_argument("--lr", type=float, default=2e-3, help="peak rate of AdamW")
    sub.add_argument("--muon-lr", type=float, default=0.02, help="peak rate of Muon")
    sub.add_argument(
        "--weight-decay", type=float, default=0.1, help="in the first half of all steps"
    )
    sub.add_argument("--warmup", type=int, default=100)
    sub.add_argument("--log-every", type=int, default=20)
    sub.add_argument("--log-name", default="log.txt")
    sub.add_argument("--eval-every", type=int, default=500)
    sub.add_argument("--save-every", type=int, default=500)
    add_model_options(sub)

    sub = command("export", command_export)
    sub.add_argument("--checkpoint", default="model.pt")
    sub.add_argument("--out", required=True)
    sub.add_argument("--shape", default="{}", help="JSON with changes to the configuration")

    sub = command("evaluate", command_evaluate)
    sub.add_argument("--model", required=True)
    sub.add_argument("--wikitext-windows", type=int, default=0, help="0: all")
    add_model_options(sub)
    return parser.parse_args()


def add_model_options(sub):
    sub.add_argument(
        "--attention", choices=["flex", "dense"], default="flex", help="dense runs without a GPU"
    )
    sub.add_argument("--no-compile", dest="compile", action="store_false")
    sub.add_argument("--eval-rows", type=int, default=48, help="held-out rows of each kind")
    sub.add_argument("--eval-length", type=int, default=1024, help="length of a held-out row")
    sub.add_argument(
        "--shape", default="{}", help="JSON with changes to the configuration, for trials"
    )


if __name__ == "__main__":
    arguments = parse_arguments()
    arguments.run(arguments)
