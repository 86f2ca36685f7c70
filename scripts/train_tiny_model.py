"""Trains the tiny model: `scripts/train_tiny_model.py --out elastic_deploy/rehearsal/tiny`.

The result is a real Llama checkpoint of about a million parameters with its own tokenizer and chat template, and is
committed; run this again only to change it. It reads `tiny_corpus.toml` beside it and nothing else, takes about
two minutes of one core, and gives the same files each time on the same machine with the same libraries.

Its shape is chosen for rehearsals: heads divide by 1, 2, 4 and 8, layers by 1, 2 and 4, so it is served by tensor
parallel over a node of up to eight GPUs and by pipeline parallel over up to four nodes; its context (2048 tokens) is
longer than any rehearsal's answer.
"""

import argparse
import itertools
import math
import random
import re
import shutil
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SEED = 7
VOCABULARY = 1024
CONTEXT = 2048
BEGIN, END, SYSTEM, USER, ASSISTANT = "<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] | trim + eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
STAGES = ((200, 32, 128), (30, 8, 512), (10, 4, 1024))
"""(steps, sequences a step, tokens a sequence). Short ones teach words fast; long ones keep it sane far out."""
PEAK_LEARNING_RATE = 4e-3
WARM_UP_STEPS = 30


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the tiny model of elastic-deploy.")
    parser.add_argument("--out", type=Path, required=True, help="the directory to write; what is in it is replaced")
    out: Path = parser.parse_args().out

    # With more, sums are taken in another order on a machine with other cores, and the files differ.
    torch.set_num_threads(1)
    random.seed(SEED)
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(True)
    corpus = tomllib.loads(Path(__file__).with_name("tiny_corpus.toml").read_text())
    tokenizer = make_tokenizer(list(itertools.islice(documents(corpus), 4000)))
    model = train(tokenizer, corpus)
    save(model, tokenizer, out)
    for question in ("Hello! What are you?", "What is a node?", "Write me a function in Haskell."):
        print(f"{question} -> {answer(model, tokenizer, question)}")


def documents(corpus: dict[str, Any]) -> Iterator[str]:
    """An endless stream of texts and conversations, each from BEGIN to END, as the model will see them."""
    texts = [told for text in corpus["text"] for told in text["tell"]]
    while True:
        if random.random() < 0.25:
            yield BEGIN + fill(random.choice(texts), corpus["words"]) + END
        else:
            yield conversation(corpus)


def conversation(corpus: dict[str, Any]) -> str:
    """One to four questions with their answers, sometimes after a system message."""
    parts = [BEGIN]
    if random.random() < 0.2:
        parts.append(SYSTEM + random.choice(corpus["chat"]["system"]) + END)
    for _ in range(random.choice((1, 1, 2, 3, 4))):
        if random.random() < 0.15:
            asked = strange_question(corpus["chat"]["strange_words"])
            answered = random.choice(corpus["chat"]["strange"])
        else:
            dialogue = random.choice(corpus["dialogue"])
            # Filled together, so that the answer is about the animal that the question names.
            both = random.choice(dialogue["ask"]) + "\0" + random.choice(dialogue["answer"])
            asked, answered = fill(both, corpus["words"]).split("\0")
        parts.append(USER + asked + END + ASSISTANT + answered + END)
    return "".join(parts)


def strange_question(words: list[str]) -> str:
    """Words in no order, so that the model learns what to say to what it does not understand."""
    question = " ".join(random.choices(words, k=random.randint(2, 10)))
    return question.capitalize() + random.choice(("?", ".", "", "!"))


def fill(template: str, words: dict[str, list[str]]) -> str:
    """Put a word for every brace; no word stands for two different braces of one kind."""
    chosen: dict[str, str] = {}
    for name in re.findall(r"{(\w+)}", template):
        if name not in chosen:
            kind = name.rstrip("0123456789")
            chosen[name] = random.choice([word for word in words[kind] if word not in chosen.values()])
    return template.format(**chosen)


def make_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer: every text can be written, and the corpus's words are mostly one token each."""
    special = [BEGIN, END, SYSTEM, USER, ASSISTANT]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    plain = (re.sub(r"<\|\w+\|>", " ", text) for text in texts)
    bpe.train_from_iterator(plain, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=END,
        additional_special_tokens=[SYSTEM, USER, ASSISTANT],
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def train(tokenizer: PreTrainedTokenizerFast, corpus: dict[str, Any]) -> LlamaForCausalLM:
    """Train from nothing and print the loss (nats a token) as it falls."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=8,
        head_dim=32,
        num_key_value_heads=8,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    steps = sum(stage[0] for stage in STAGES)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_factor(step, steps))
    tokens = token_stream(tokenizer, corpus)
    began, step = time.monotonic(), 0
    for stage_steps, sequences, length in STAGES:
        for _ in range(stage_steps):
            batch = torch.tensor(list(itertools.islice(tokens, sequences * length))).view(sequences, length)
            loss = model(input_ids=batch, labels=batch).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            if step % 20 == 0:
                print(f"step {step:4d}  loss {loss.item():.3f}  {time.monotonic() - began:5.0f} s", flush=True)
            step += 1
    return model.eval()


def learning_rate_factor(step: int, steps: int) -> float:
    """Up in a straight line, then down in half a cosine to a fiftieth."""
    if step < WARM_UP_STEPS:
        return (step + 1) / WARM_UP_STEPS
    done = (step - WARM_UP_STEPS) / (steps - WARM_UP_STEPS)
    return 0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2


def token_stream(tokenizer: PreTrainedTokenizerFast, corpus: dict[str, Any]) -> Iterator[int]:
    """Token ids of documents one after the other: an engine told to ignore the end then begins another text."""
    for document in documents(corpus):
        yield from tokenizer(document, add_special_tokens=False).input_ids


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write the checkpoint, in half precision to halve its size (engines read it as float32)."""
    if out.exists():
        shutil.rmtree(out)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.half().save_pretrained(out)
    model.float()
    tokenizer.save_pretrained(out)
    for file in out.iterdir():
        file.chmod(0o644)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters in {out}")


def answer(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, question: str) -> str:
    """The greedy answer to one question."""
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    produced = model.generate(**prompt, max_new_tokens=80, do_sample=False)
    return str(tokenizer.decode(produced[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True))


if __name__ == "__main__":
    main()
