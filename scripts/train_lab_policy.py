"""Train the lab's policy (tier B) from scratch: a small Llama that imitates the population of buggy students.

    python scripts/train_lab_policy.py --out src/gradatim/problems/lab/data/policy

The tokenizer is a byte-level BPE trained on lab text; problems come from the "policy" split only. The loss is taken on
the solution's tokens. In the first part some samples are practice, what a solution needs most without the rest: say the
definitions again (looking things up), or only name what to work out, in an order that works. Resumes from OUT.state
after an interruption. About an hour on 2 CPU cores.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from gradatim.problems.lab import students, world

EOS, PAD = "<eos>", "<pad>"
EASY = world.WorldConfig(steps=(3, 4), definitions=(4, 6))


@dataclass(frozen=True)
class Mix:
    """Shares of the samples while a share of the time has not passed."""

    until: float
    easy: float
    """Problems with few steps."""
    repeat: float
    """Practice: the definitions again."""
    order: float
    """Practice: the names, in an order that works."""


PHASES = (
    Mix(0.08, 0.5, 0.5, 0.0),
    Mix(0.18, 0.05, 0.5, 0.0),
    Mix(0.40, 0.05, 0.15, 0.0),
    Mix(0.75, 0.05, 0.05, 0.5),
    Mix(1.0, 0.05, 0.0, 0.0),
)


def samples(seed: int, mix: Mix) -> Iterator[tuple[str, str]]:
    """(prompt, solution) without end."""
    rng = Random(seed)
    hard, easy = world.graphs(rng), world.graphs(rng, EASY)
    while True:
        graph = next(easy if rng.random() < mix.easy else hard)
        if world.split_of(graph) != "policy":
            continue
        kind = rng.random()
        if kind < mix.repeat:
            yield definitions_again(graph, rng)
        elif kind < mix.repeat + mix.order:
            yield names_in_order(graph, rng)
        else:
            yield graph.prompt() + "\n", "".join(students.write(graph, students.pick_student(rng), rng))


def definitions_again(graph: world.Graph, rng: Random) -> tuple[str, str]:
    """All definitions, as steps begin, in another order. The last line of the prompt tells practice from a problem."""
    lines = [students.state(d) if d.value is not None else f"{d};" for d in graph.definitions.values()]
    rng.shuffle(lines)
    return graph.prompt().rsplit("\n", 1)[0] + "\nRepeat.\n", "".join(f"{line}\n" for line in lines)


def names_in_order(graph: world.Graph, rng: Random) -> tuple[str, str]:
    """What a faultless solution works out, without the work."""
    names = [line.split(":")[0] for line in students.write(graph, students.Student(), rng)[:-1]]
    return graph.prompt() + "\nOrder.\n", "".join(f"{name}:\n" for name in names)


def train_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    # A stated value, " loom=12", is one token: to look it up takes one look back. As two tokens it takes two in a row,
    # and a model this small settles for guessing before it finds them. Sums are between number tokens.
    words = pre_tokenizers.Split(Regex(r" [a-z]+=\d+| ?[A-Za-z]+:?| ?\d+| ?[^\sA-Za-z\d]|\s"), "isolated")
    bytewise = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, bytewise])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2048,
        special_tokens=[EOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    stream = samples(0, Mix(1.0, 0.0, 0.1, 0.0))
    tokenizer.train_from_iterator(("".join(next(stream)) for _ in range(20000)), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=EOS, pad_token=PAD)


def batches(
    tokenizer: PreTrainedTokenizerFast, seed: int, mix: Mix, tokens: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """(ids, labels), right padded, sorted by length within a pool so that little is padding."""
    stream = samples(seed, mix)
    while True:
        rows = []
        pool = [next(stream) for _ in range(1024)]
        prompts = tokenizer([p for p, _ in pool]).input_ids
        solutions = tokenizer([s for _, s in pool]).input_ids
        for prompt, solution in zip(prompts, solutions, strict=True):
            rows.append((len(prompt), prompt + solution + [tokenizer.eos_token_id]))
        rows.sort(key=lambda row: len(row[1]))
        made, start = [], 0
        while start < len(rows):
            stop = start + 1
            while stop < len(rows) and (stop + 1 - start) * len(rows[stop][1]) <= tokens:
                stop += 1
            made.append(rows[start:stop])
            start = stop
        Random(seed).shuffle(made)
        seed += 1
        for group in made:
            width = max(len(ids) for _, ids in group)
            ids = torch.full((len(group), width), tokenizer.pad_token_id)
            labels = torch.full((len(group), width), -100)
            for i, (skip, row) in enumerate(group):
                ids[i, : len(row)] = torch.tensor(row)
                labels[i, skip : len(row)] = torch.tensor(row[skip:])
            yield ids, labels


class Muon(torch.optim.Optimizer):
    """Momentum whose matrix updates are orthogonalised (Jordan et al. 2024), in float32, equal shapes as one batch.

    torch.optim.Muon does the same one matrix at a time in bfloat16, which is several times slower on a CPU.
    """

    def __init__(self, params: list[torch.nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            shapes: dict[torch.Size, list[torch.nn.Parameter]] = {}
            for parameter in group["params"]:
                shapes.setdefault(parameter.shape, []).append(parameter)
            for shape, parameters in shapes.items():
                updates = []
                for parameter in parameters:
                    buffer = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
                    buffer.lerp_(parameter.grad, 1 - group["momentum"])
                    updates.append(parameter.grad.lerp(buffer, group["momentum"]))
                scale = 0.2 * math.sqrt(max(shape))
                for parameter, update in zip(parameters, orthogonal(torch.stack(updates)), strict=True):
                    parameter.mul_(1 - group["lr"] * 0.01).add_(update, alpha=-group["lr"] * scale)


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """The nearest semi-orthogonal matrices, roughly: five quintic Newton-Schulz steps. Shape (batch, rows, columns)."""
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices if wide else matrices.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x if wide else x.mT


def optimizers(model: LlamaForCausalLM, lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for embeddings and norms."""
    inner = {name: p.ndim == 2 and "embed" not in name for name, p in model.named_parameters()}
    matrices = [p for name, p in model.named_parameters() if inner[name]]
    rest = [p for name, p in model.named_parameters() if not inner[name]]
    return [Muon(matrices, lr=lr), torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.95), weight_decay=0.0)]


def compose_embeddings(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, seed: int) -> None:
    """Start tokens that share a name or a number close together: " loom=12" at the sum of what " loom" and " 12" are.

    From independent random starts a model this small has to find out 1,100 times what number a token states.
    """
    generator = torch.Generator().manual_seed(seed)
    width = model.config.hidden_size
    parts: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        for token, index in tokenizer.get_vocab().items():
            text = tokenizer.convert_tokens_to_string([token]).strip()
            found = re.fullmatch(r"([a-z]{3,4})?(?:=?(\d+))?(:)?", text)
            names = [part for part in found.groups() if part] if found else []
            for part in names:
                if part not in parts:
                    parts[part] = 0.06 * torch.randn(width, generator=generator)
            if names:
                model.model.embed_tokens.weight[index] += torch.stack([parts[part] for part in names]).sum(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=45.0)
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    tokenizer = train_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        rope_theta=100000.0,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    compose_embeddings(model, tokenizer, args.seed)
    print(f"vocabulary {len(tokenizer)}, {sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    opts = optimizers(model, args.lr)
    spent, step, tokens = 0.0, 0, 0
    log = []
    state = args.out.with_suffix(".state")
    if state.exists():
        saved = torch.load(state, weights_only=True)
        model.load_state_dict(saved["model"])
        for opt, opt_state in zip(opts, saved["opts"], strict=True):
            opt.load_state_dict(opt_state)
        spent, step, tokens, log = saved["spent"], saved["step"], saved["tokens"], saved["log"]
    phase, stream = -1, None
    last = time.monotonic()
    running = []
    while spent < args.minutes * 60:
        share = spent / (args.minutes * 60)
        now_in = next(index for index, mix in enumerate(PHASES) if share <= mix.until)
        if stream is None or now_in != phase:
            phase = now_in
            stream = batches(tokenizer, args.seed * 1000 + 500 * phase + step, PHASES[phase], args.batch_tokens)
        rate = min(1.0, step / 100) * min(1.0, (1 - share) / 0.5)
        for opt, share_of_lr in zip(opts, (1.0, 0.25), strict=True):  # embeddings jitter at the matrices' rate
            for group in opt.param_groups:
                group["lr"] = args.lr * share_of_lr * max(rate, 0.01)
        ids, labels = next(stream)
        loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for opt in opts:
            opt.step()
            opt.zero_grad(set_to_none=True)
        step, tokens = step + 1, tokens + int(ids.numel())
        running.append(loss.item())
        now = time.monotonic()
        spent, last = spent + now - last, now
        if step % 100 == 0:
            mean = sum(running) / len(running)
            log.append({"step": step, "tokens": tokens, "minutes": spent / 60, "loss": mean})
            print(
                f"step {step} {tokens / 1e6:.1f}M tokens {spent / 60:.1f} min loss {mean:.4f} "
                f"({tokens / spent / 1e3:.1f}k tok/s)",
                flush=True,
            )
            running = []
        if step % 500 == 0:
            _save_state(state, model, opts, {"spent": spent, "step": step, "tokens": tokens, "log": log})
            model.save_pretrained(args.out)
            tokenizer.save_pretrained(args.out)
    if any(math.isnan(entry["loss"]) for entry in log):
        raise SystemExit("the loss became NaN")
    model.to(torch.bfloat16).save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)
    (args.out / "training.json").write_text(json.dumps({"seed": args.seed, "lr": args.lr, "log": log}, indent=1))
    state.unlink(missing_ok=True)


def _save_state(path: Path, model: LlamaForCausalLM, opts: list[torch.optim.Optimizer], done: dict[str, Any]) -> None:
    saved = {"model": model.state_dict(), "opts": [o.state_dict() for o in opts], **done}
    torch.save(saved, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


if __name__ == "__main__":
    main()
