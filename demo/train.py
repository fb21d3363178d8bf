# SPDX-License-Identifier: Apache-2.0
"""Trains the demonstration model: a small Jamba of the whole structure.

    bible -f gen1:1-rev22:21 >kjv.txt          # Debian: bible-kjv
    python3 train.py kjv.txt model             # ten minutes on one GPU

needs PyTorch, Triton, transformers 5, tokenizers and matplotlib.  The model is
transformers' JambaForCausalLM.  Its plain Mamba steps through the tokens one
by one, so that here a scan of our own stands in while it trains; check_scan()
first compares outputs and gradients of the two.  The figures at the end are
computed by transformers' own code, in float32, from the weights as saved.

Leaves in the folder `model` config.json, generation_config.json,
model.safetensors (bf16), tokenizer.json and tokenizer_config.json, beside the
chat_template.jinja that stands there; beside it heldout.txt, figures.json and
loss.png.
"""

import argparse
import json
import math
import os
import random
import shutil
import time

import torch
import torch.nn.functional as F
import transformers
import triton
import triton.language as tl
from tokenizers import Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers
from transformers import JambaConfig, JambaForCausalLM
from transformers.models.jamba import modeling_jamba

import corpus

HERE = os.path.dirname(os.path.abspath(__file__))
CONTEXT = 512
BATCH_TEXT, BATCH_DIALOGUE = 10, 22
PEAK_RATE, WARM_UP, DECAY, DROPOUT = 2.5e-3, 150, .3, .3
AUX, AVERAGE = .01, .998
WATCH_EVERY = 200

SPECIAL = ["<|pad|>", "<|startoftext|>", "<|endoftext|>", "<|unk|>",
           "<|eom|>", "<|bom|>", "<|system|>", "<|user|>", "<|assistant|>",
           "<|tool|>", "<tool_definitions>", "</tool_definitions>",
           "<tool_calls>", "</tool_calls>", "<|reserved_0|>", "<|reserved_1|>"]
PAD, BOS, EOS, EOM = 0, 1, 2, 4
VOCAB = 2048

CONFIG = dict(
    vocab_size=VOCAB, hidden_size=192, intermediate_size=128,
    num_hidden_layers=8, num_attention_heads=6, num_key_value_heads=2,
    num_experts=8, num_experts_per_tok=2, attn_layer_period=8,
    attn_layer_offset=4, expert_layer_period=2, expert_layer_offset=1,
    mamba_d_state=16, mamba_d_conv=4, mamba_expand=2, mamba_dt_rank="auto",
    max_position_embeddings=4096, tie_word_embeddings=False,
    pad_token_id=PAD, bos_token_id=BOS, eos_token_id=[EOS, EOM])


# ---- the tokenizer ----


def train_tokenizer(text):
    """BPE as Jamba's: spaces become U+2581 and nothing is prepended, digits
    and punctuation stand alone, unknown characters become bytes.  Merges never
    cross the pieces that the training saw, so that no pre-tokenizer is needed
    afterwards."""
    tok = Tokenizer(models.BPE())
    tok.normalizer = normalizers.Replace(" ", "\u2581")
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split("\n", "removed"),
        pre_tokenizers.Metaspace(prepend_scheme="never", split=True),
        pre_tokenizers.Punctuation("isolated"),
        pre_tokenizers.Digits(individual_digits=True)])
    n_pieces = VOCAB - len(SPECIAL) - 256
    tok.train_from_iterator([text], trainers.BpeTrainer(
        vocab_size=n_pieces, show_progress=False))
    trained = json.loads(tok.to_str())["model"]
    pieces = SPECIAL + [f"<0x{byte:02X}>" for byte in range(256)]
    pieces += sorted(trained["vocab"], key=trained["vocab"].get)
    assert len(pieces) == VOCAB == len(set(pieces))
    merges = [tuple(merge.split(" ")) if isinstance(merge, str) else
              tuple(merge) for merge in trained["merges"]]
    tok = Tokenizer(models.BPE(
        vocab={piece: i for i, piece in enumerate(pieces)}, merges=merges,
        unk_token="<|unk|>", fuse_unk=True, byte_fallback=True))
    tok.add_special_tokens(SPECIAL)
    tok.normalizer = normalizers.Replace(" ", "\u2581")
    tok.decoder = decoders.Sequence([
        decoders.Replace("\u2581", " "), decoders.ByteFallback(),
        decoders.Fuse()])
    tok.post_processor = processors.TemplateProcessing(
        single="<|startoftext|> $A",
        pair="<|startoftext|> $A <|startoftext|> $B",
        special_tokens=[("<|startoftext|>", BOS)])
    return tok


def encode(tok, texts):
    return [e.ids for e in tok.encode_batch(texts, add_special_tokens=False)]


# ---- what the model sees ----


class Text:
    """Windows of the training chapters, each from the beginning of a verse; a
    quarter of them from that of a chapter and a twentieth from that of a book,
    because that is where texts begin."""

    def __init__(self, chapters, tok, seed):
        self.random = random.Random(seed)
        ids, self.verses, self.chapters, self.books = [], [], [], []
        last = None
        for book, chapter, verses in chapters:
            if last is not None:
                joined = last == (book, chapter - 1)
                ids += newline(tok) if joined else [EOS, BOS]
            self.chapters.append(len(ids))
            if chapter == 1:
                self.books.append(len(ids))
            for verse in encode(tok, [verse + "\n" for verse in verses]):
                self.verses.append(len(ids))
                ids += verse
            last = book, chapter
        ids += [EOS] + [PAD] * CONTEXT
        self.ids = torch.tensor(ids)

    def draw(self):
        starts, = self.random.choices(
            (self.verses, self.chapters, self.books), (.7, .25, .05))
        at = self.random.choice(starts)
        window = torch.cat([torch.tensor([BOS]), self.ids[at:at + CONTEXT]])
        labels = window.clone()
        labels[window == PAD] = -100
        labels[0] = -100
        return window, labels


def newline(tok):
    return encode(tok, ["\n"])[0]


class Chat:
    """Dialogues one after the other; only what the assistant says is learnt."""

    def __init__(self, text, tok, seed, n):
        source = corpus.Dialogues(text, seed)
        rows = [corpus.pieces(source.draw()) for _ in range(n)]
        ids = encode(tok, [piece for row in rows for piece, _ in row])
        window, labels, at = [], [], 0
        for row in rows:
            window.append(BOS)
            labels.append(-100)
            for _, said in row:
                window += ids[at]
                labels += ids[at] if said else [-100] * len(ids[at])
                at += 1
        n = len(window) // (CONTEXT + 1) * (CONTEXT + 1)
        self.window = torch.tensor(window[:n]).view(-1, CONTEXT + 1)
        self.labels = torch.tensor(labels[:n]).view(-1, CONTEXT + 1)
        self.next = 0

    def draw(self):
        i = self.next % len(self.window)
        self.next += 1
        return self.window[i], self.labels[i]


def batch(text, chat, device):
    rows = [text.draw() for _ in range(BATCH_TEXT)]
    rows += [chat.draw() for _ in range(BATCH_DIALOGUE)]
    ids = torch.stack([ids for ids, _ in rows]).to(device)
    labels = torch.stack([labels for _, labels in rows]).to(device)
    return ids, labels


# ---- the selective scan (Gu and Dao 2023, algorithm 2), over whole rows ----


@triton.jit
def scan_forward(u, dt, a, b, c, y, h, T, D, N: tl.constexpr, BD: tl.constexpr):
    """y[t] = h[t]·c[t], h[t] = exp(dt[t]·a)·h[t-1] + dt[t]·u[t]·b[t], for BD
    channels of one sequence; every h[t] is kept for the way back."""
    d = tl.program_id(1) * BD + tl.arange(0, BD)
    n = tl.arange(0, N)
    at = tl.program_id(0).to(tl.int64) * T
    a_dn = tl.load(a + d[:, None] * N + n[None, :])
    state = tl.zeros([BD, N], tl.float32)
    for t in range(T):
        row = at + t
        dt_d = tl.load(dt + row * D + d)
        u_d = tl.load(u + row * D + d)
        b_n = tl.load(b + row * N + n)
        c_n = tl.load(c + row * N + n)
        state = tl.exp(dt_d[:, None] * a_dn) * state + \
            (dt_d * u_d)[:, None] * b_n[None, :]
        tl.store(h + (row * D + d)[:, None] * N + n[None, :], state)
        tl.store(y + row * D + d, tl.sum(state * c_n[None, :], 1))


@triton.jit
def scan_backward(u, dt, a, b, c, h, dy, du, ddt, da, db, dc, T, D,
                  N: tl.constexpr, BD: tl.constexpr):
    """Gradients; those of a, b and c as partial sums, one for each program."""
    d = tl.program_id(1) * BD + tl.arange(0, BD)
    n = tl.arange(0, N)
    at = tl.program_id(0).to(tl.int64) * T
    part = (tl.program_id(1).to(tl.int64) * tl.num_programs(0)) * T
    a_dn = tl.load(a + d[:, None] * N + n[None, :])
    carry = tl.zeros([BD, N], tl.float32)
    sum_a = tl.zeros([BD, N], tl.float32)
    for back in range(T):
        t = T - 1 - back
        row = at + t
        dt_d = tl.load(dt + row * D + d)
        u_d = tl.load(u + row * D + d)
        dy_d = tl.load(dy + row * D + d)
        b_n = tl.load(b + row * N + n)
        c_n = tl.load(c + row * N + n)
        here = tl.load(h + (row * D + d)[:, None] * N + n[None, :])
        before = tl.load(h + ((row - 1) * D + d)[:, None] * N + n[None, :],
                         mask=(d[:, None] >= 0) & (t > 0), other=0.)
        tl.store(dc + (part + row) * N + n, tl.sum(dy_d[:, None] * here, 0))
        ds = carry + dy_d[:, None] * c_n[None, :]
        decay = tl.exp(dt_d[:, None] * a_dn)
        d_log = ds * before * decay
        ds_b = tl.sum(ds * b_n[None, :], 1)
        tl.store(ddt + row * D + d, tl.sum(d_log * a_dn, 1) + ds_b * u_d)
        tl.store(du + row * D + d, ds_b * dt_d)
        tl.store(db + (part + row) * N + n,
                 tl.sum(ds * (dt_d * u_d)[:, None], 0))
        sum_a += d_log * dt_d[:, None]
        carry = ds * decay
    tl.store(da + (tl.program_id(0) * D + d)[:, None] * N + n[None, :], sum_a)


class Scan(torch.autograd.Function):
    BLOCK = 32

    @staticmethod
    def forward(ctx, u, dt, a, b, c):
        u, dt, a, b, c = (x.contiguous() for x in (u, dt, a, b, c))
        (B, T, D), N = u.shape, a.shape[1]
        y, h = torch.empty_like(u), u.new_empty(B, T, D, N)
        scan_forward[(B, D // Scan.BLOCK)](u, dt, a, b, c, y, h, T, D, N,
                                           Scan.BLOCK, num_warps=1)
        ctx.save_for_backward(u, dt, a, b, c, h)
        return y

    @staticmethod
    def backward(ctx, dy):
        u, dt, a, b, c, h = ctx.saved_tensors
        (B, T, D), N = u.shape, a.shape[1]
        du, ddt = torch.empty_like(u), torch.empty_like(u)
        da = u.new_empty(B, D, N)
        db = u.new_empty(D // Scan.BLOCK, B, T, N)
        dc = torch.empty_like(db)
        scan_backward[(B, D // Scan.BLOCK)](
            u, dt, a, b, c, h, dy.contiguous(), du, ddt, da, db, dc, T, D, N,
            Scan.BLOCK, num_warps=1)
        return du, ddt, da.sum(0), db.sum(0), dc.sum(0)


def scanned_mixer(self, hidden_states, *args, **kwargs):
    """JambaMambaMixer.forward over whole sequences from an empty state."""
    x, z = self.in_proj(hidden_states).chunk(2, dim=-1)
    T = x.shape[1]
    u = F.silu(self.conv1d(x.transpose(1, 2))[..., :T]).transpose(1, 2)
    dt, b, c = torch.split(self.x_proj(u), [
        self.time_step_rank, self.ssm_state_size, self.ssm_state_size], -1)
    dt = F.softplus(self.dt_proj(self.dt_layernorm(dt)))
    y = Scan.apply(u, dt, -torch.exp(self.A_log.float()),
                   self.b_layernorm(b), self.c_layernorm(c))
    return self.out_proj((y + u * self.D) * F.silu(z))


MIXER = modeling_jamba.JambaMambaMixer
OWN_FORWARD = MIXER.forward


def use_scan(on):
    MIXER.forward = scanned_mixer if on else OWN_FORWARD


def check_scan(model, device):
    """Loss and gradients with transformers' own Mamba and with the scan."""
    ids = torch.randint(16, VOCAB, (3, 97), device=device)
    found = []
    for on in (False, True):
        use_scan(on)
        model.zero_grad()
        loss = model(ids, labels=ids, use_cache=False).loss
        loss.backward()
        found.append([loss.detach()] + [p.grad.clone() for p in
                                        model.parameters()])
    model.zero_grad()
    worst = max(((x - y).norm() / x.norm()).item() for x, y in zip(*found)
                if x.norm() > 0)
    print(f"scan: loss and gradients agree to {worst:.1e}", flush=True)
    assert worst < 1e-4
    return worst


# ---- training ----


def make_model(device):
    config = JambaConfig(**CONFIG, use_mamba_kernels=False)
    model = JambaForCausalLM(config).to(device)
    for layer in model.model.layers:
        mixer = getattr(layer, "mamba", None)
        if mixer is None:
            continue
        # Steps between 1/1000 and 1/10, evenly on a log scale (Gu and Dao).
        dt = torch.exp(torch.empty_like(mixer.dt_proj.bias).uniform_(
            math.log(1e-3), math.log(1e-1)))
        mixer.dt_proj.bias.data = dt + torch.log(-torch.expm1(-dt))
        mixer.out_proj.weight.data /= math.sqrt(2 * config.num_hidden_layers)
    return model


def drop_out(model):
    """Dropout on what each layer adds; transformers' Jamba has none."""
    def drop(module, args, out):
        if not module.training:
            return out
        if isinstance(out, tuple):
            return (F.dropout(out[0], DROPOUT), *out[1:])
        return F.dropout(out, DROPOUT)
    for layer in model.model.layers:
        for name in ("mamba", "self_attn", "feed_forward"):
            if getattr(layer, name, None) is not None:
                getattr(layer, name).register_forward_hook(drop)
    model.model.embed_tokens.register_forward_hook(drop)


class Routers:
    """What keeps the experts evenly used: the loss of Fedus et al. 2021 (2.2),
    over the logits of every router."""

    def __init__(self, model):
        self.logits = []
        for name, module in model.named_modules():
            if name.endswith("feed_forward.router"):
                module.register_forward_hook(self.keep)

    def keep(self, module, args, out):
        out = out[0] if isinstance(out, tuple) else out
        self.logits.append(out.reshape(-1, out.shape[-1]))

    def loss(self):
        total = 0.
        for logits in self.logits:
            p = logits.float().softmax(-1)
            E = p.shape[-1]
            top = p.topk(CONFIG["num_experts_per_tok"], -1).indices
            share = F.one_hot(top, E).float().mean((0, 1))
            total = total + E * (share * p.mean(0)).sum()
        total = total / len(self.logits)
        self.logits.clear()
        return total


def groups(model):
    decayed, plain = [], []
    for name, p in model.named_parameters():
        matrix = p.dim() >= 2 and "A_log" not in name and "conv1d" not in name
        (decayed if matrix else plain).append(p)
    return [dict(params=decayed, weight_decay=DECAY),
            dict(params=plain, weight_decay=0.)]


def rate(step, n_steps):
    if step < WARM_UP:
        return PEAK_RATE * (step + 1) / WARM_UP
    done = (step - WARM_UP) / max(1, n_steps - WARM_UP)
    return PEAK_RATE * (.03 + .97 * .5 * (1 + math.cos(math.pi * done)))


def windows(n, context, stride):
    """The rule of weir-eval(1): windows of `context` ids begin every `stride`
    ids, and the last ends with the text; each counts the ids that no earlier
    window counted, save its own first, for which it has no context.  Yields
    (begin, end, first id counted)."""
    begin = counted = 0
    while True:
        end = min(begin + context, n)
        yield begin, end, max(counted, begin + 1)
        if end == n:
            return
        counted = end
        begin += stride


@torch.no_grad()
def perplexity(model, ids, context, stride):
    model.eval()
    device = next(model.parameters()).device
    ids = torch.tensor(ids, device=device)
    total, n = 0., 0
    equal = {}
    for begin, end, first in windows(len(ids), context, stride):
        equal.setdefault(end - begin, []).append((begin, first - begin))
    for length, group in equal.items():
        rows = torch.stack([ids[at:at + length] for at, _ in group])
        logits = model(rows, use_cache=False).logits
        for row, scores, (_, first) in zip(rows, logits, group):
            scores = scores[first - 1:-1].double().log_softmax(-1)
            total -= scores.gather(1, row[first:, None]).sum().item()
            n += length - first
    model.train()
    return dict(context=context, stride=stride, tokens=n, nll=total / n,
                ppl=math.exp(total / n))


class Average:
    """An average of the weights over the last steps; it is what is kept."""

    def __init__(self, model):
        self.weights = [p.detach().clone() for p in model.parameters()]

    def step(self, model, step):
        share = 1 - min(AVERAGE, (step + 1) / (step + 10))
        torch._foreach_lerp_(self.weights, list(model.parameters()), share)

    def swap(self, model):
        for kept, p in zip(self.weights, model.parameters()):
            kept_data = kept.clone()
            kept.copy_(p.data)
            p.data.copy_(kept_data)


def train(model, text, chat, watch, n_steps, seconds):
    device = next(model.parameters()).device
    routers = Routers(model)
    optimizer = torch.optim.AdamW(groups(model), lr=PEAK_RATE,
                                  betas=(.9, .95), fused=True)
    average, curve, losses = Average(model), [], []
    started = time.time()
    use_scan(True)
    model.train()
    for step in range(n_steps):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, n_steps)
        ids, labels = batch(text, chat, device)
        logits = model(ids[:, :-1], use_cache=False).logits
        each = F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(),
                               reduction="none").view(len(ids), -1)
        counted = labels[:, 1:] != -100
        loss = each.sum() / counted.sum()
        (loss + AUX * routers.loss()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.)
        optimizer.step()
        optimizer.zero_grad()
        average.step(model, step)
        losses.append(torch.stack([
            each[:BATCH_TEXT].sum() / counted[:BATCH_TEXT].sum(),
            each[BATCH_TEXT:].sum() / counted[BATCH_TEXT:].sum()]).detach())
        last = step + 1 == n_steps or time.time() - started > seconds
        if (step + 1) % WATCH_EVERY == 0 or last:
            average.swap(model)
            seen = perplexity(model, watch, CONTEXT, CONTEXT)["nll"]
            routers.logits.clear()
            average.swap(model)
            on_text, on_chat = torch.stack(losses).mean(0).tolist()
            losses.clear()
            curve.append((step + 1, on_text, on_chat, seen))
            print(f"step {step + 1}  text {on_text:.3f}  dialogues "
                  f"{on_chat:.3f}  watched text {seen:.3f}  "
                  f"{time.time() - started:.0f} s", flush=True)
        if last:
            break
    average.swap(model)
    return curve, time.time() - started


def plot(curve, path):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    steps, on_text, on_chat, seen = zip(*curve)
    figure, axes = plt.subplots(figsize=(6.4, 4), dpi=100)
    axes.plot(steps, on_text, label="text trained on (with dropout)")
    axes.plot(steps, seen, label="text held out for watching")
    axes.plot(steps, on_chat, label="dialogues (with dropout)")
    axes.set(xlabel="step", ylabel="nats per token", ylim=(0, 4))
    axes.grid(alpha=.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)


# ---- what is kept ----


def save(model, tok, folder):
    os.makedirs(folder, exist_ok=True)
    model.generation_config = transformers.GenerationConfig(
        do_sample=True, temperature=.7, top_p=.9, bos_token_id=BOS,
        eos_token_id=[EOS, EOM], pad_token_id=PAD)
    model.to(torch.bfloat16).save_pretrained(folder)
    tok.save(os.path.join(folder, "tokenizer.json"))
    with open(os.path.join(folder, "tokenizer_config.json"), "w") as file:
        json.dump(dict(
            tokenizer_class="PreTrainedTokenizerFast",
            bos_token="<|startoftext|>", eos_token="<|endoftext|>",
            pad_token="<|pad|>", unk_token="<|unk|>",
            clean_up_tokenization_spaces=False,
            model_max_length=CONFIG["max_position_embeddings"]), file, indent=2)
    template = os.path.join(folder, "chat_template.jinja")
    if not os.path.exists(template):
        shutil.copy(os.path.join(HERE, "model", "chat_template.jinja"),
                    template)


@torch.no_grad()
def go_on(model, tok, text, n, temperature=0.):
    """What follows `text`, by whole passes."""
    device = next(model.parameters()).device
    ids = tok.encode(text).ids
    start = len(ids)
    for _ in range(n):
        logits = model(torch.tensor([ids], device=device),
                       use_cache=False).logits[0, -1].float()
        following = logits.argmax() if temperature == 0 else \
            torch.multinomial((logits / temperature).softmax(-1), 1)[0]
        ids.append(following.item())
        if ids[-1] in (EOS, EOM):
            break
    return ids[start:]


QUESTIONS = ["Hello.", "Speak of mercy.", "Repeat after me: the king of Moab",
             "Which book comes after Exodus?", "Who are you?"]


def show(model, tok):
    for prompt in ("In the beginning", "And Jesus said", "Blessed"):
        for temperature in (0., .7):
            answer = go_on(model, tok, prompt, 100, temperature)
            print(f"--- {prompt} ({temperature}):{tok.decode(answer)}")
    for question in QUESTIONS:
        prompt = f"<|bom|><|user|> {question}<|eom|><|bom|><|assistant|>"
        print(f"--- {question} ->{tok.decode(go_on(model, tok, prompt, 60))}")
    prompt = "".join(piece for piece, _ in corpus.pieces([
        ("system", corpus.TOOLS), ("user", "Read Amos 5:24.")]))
    answer = tok.decode(go_on(model, tok, prompt + "<|bom|><|assistant|>", 60),
                        skip_special_tokens=False)
    print(f"--- tool: {answer}")
    prompt += f"<|bom|><|assistant|>{answer}" + "".join(
        piece for piece, _ in corpus.pieces([
            ("tool", "But let judgment run down as waters, and righteousness "
             "as a mighty stream.")])) + "<|bom|><|assistant|>"
    print(f"--- its answer:{tok.decode(go_on(model, tok, prompt, 60))}",
          flush=True)


def figures(folder, tok, heldout, device):
    """By transformers' own code, from the files, in float32."""
    use_scan(False)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    model = JambaForCausalLM.from_pretrained(
        folder, dtype=torch.float32, use_mamba_kernels=False).to(device)
    short = heldout.split("\n\n")[0] + "\n"
    out = {"heldout.txt": [], "first chapter": []}
    for context, stride in ((512, 512), (512, 256), (1024, 512)):
        out["heldout.txt"].append(
            perplexity(model, tok.encode(heldout).ids, context, stride))
    for context, stride in ((256, 256), (256, 100), (4096, 4096)):
        out["first chapter"].append(
            perplexity(model, tok.encode(short).ids, context, stride))
    prompt = "In the beginning"
    ids = tok.encode(prompt).ids
    generated = model.generate(torch.tensor([ids], device=device),
                               do_sample=False, max_new_tokens=64,
                               temperature=None, top_p=None)[0].tolist()
    out["greedy"] = dict(prompt=prompt, ids=ids, generated=generated[len(ids):])
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("text", help="kjv.txt")
    parser.add_argument("folder", help="where the model is written")
    parser.add_argument("--steps", type=int, default=5500)
    parser.add_argument("--seconds", type=float, default=3600,
                        help="stop training after so long")
    args = parser.parse_args()
    device = "cuda"
    began = time.time()
    torch.manual_seed(1)
    text = corpus.Corpus(args.text)
    source = corpus.Dialogues(text, 2)
    tok = train_tokenizer(
        corpus.as_text(text.part("train")) + "\n".join(
            content for _ in range(4000) for _, content in source.draw()))
    heldout = corpus.as_text(text.part("heldout"))
    watch = tok.encode(corpus.as_text(text.part("watch"))).ids
    model = make_model(device)
    n_parameters = sum(p.numel() for p in model.parameters())
    print(f"{n_parameters} parameters, {2 * n_parameters / 1e6:.1f} MB",
          flush=True)
    agreement = check_scan(model, device)
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    verses = Text(text.part("train"), tok, 3)
    chat = Chat(text, tok, 4, max(1000, 20 * args.steps))
    print(f"{len(verses.ids)} tokens of text, {chat.window.numel()} of "
          f"dialogues, {time.time() - began:.0f} s", flush=True)
    drop_out(model)
    curve, seconds = train(model, verses, chat, watch, args.steps,
                           args.seconds)
    model.eval()
    show(model, tok)
    save(model, tok, args.folder)
    beside = os.path.dirname(os.path.abspath(args.folder))
    plot(curve, os.path.join(beside, "loss.png"))
    with open(os.path.join(beside, "heldout.txt"), "w") as file:
        file.write(heldout)
    found = dict(
        transformers=transformers.__version__, torch=torch.__version__,
        device=torch.cuda.get_device_name(), parameters=n_parameters,
        steps=curve[-1][0], steps_planned=args.steps, seconds=round(seconds),
        scan_agrees_to=agreement,
        tokens_of_text=len(verses.ids), curve=curve,
        **figures(args.folder, tok, heldout, device))
    with open(os.path.join(beside, "figures.json"), "w") as file:
        json.dump(found, file, indent=1)
    print(json.dumps({key: found[key] for key in
                      ("heldout.txt", "first chapter", "greedy")}))
    print(f"{time.time() - began:.0f} s in all")


if __name__ == "__main__":
    main()
