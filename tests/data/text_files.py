"""Small text corpora and tokenizers on disk, in the formats of the real ones."""

import hashlib
import json

DOMAINS = ("tweets", "amazon", "movies", "nyt")
COMMON = {
    "n_classes": None,
    "tokenizer": "bytes",
    "form": "classes",
    "length": 64,
    "mean": (),
    "std": (),
}


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_sentiment(root, rows):
    """Write `rows` {domain: [(id, score, text)]} as the four files have them; return their sums by relative path."""
    (root / "sentiment").mkdir(parents=True, exist_ok=True)
    sums = {}
    for domain in DOMAINS:
        path = root / "sentiment" / f"{domain}.tsv"
        path.write_bytes(b"".join(f"{name}\t{score}\t{text}\r\n".encode() for name, score, text in rows.get(domain, [])))
        sums[f"sentiment/{domain}.tsv"] = sha256(path)
    return sums


def write_sections(root, rows, extra=""):
    """Write `rows` [(section, text)] as Debian's file has them; return its sum by relative path."""
    path = root / "debian-sections" / "descriptions.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{section}\tpackage{i}\t{text}\n" for i, (section, text) in enumerate(rows)) + extra)
    return {"debian-sections/descriptions.tsv": sha256(path)}


def write_jsonl(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_tokenizer(folder, texts, specials=True, config=None):
    """Train a byte-level tokenizer of merged pairs on `texts` and write it as a model's folder has it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    if specials:
        made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    made.enable_padding(length=7, pad_id=0, pad_token="<pad>")  # files come with such settings: they must not matter
    made.enable_truncation(7)
    folder.mkdir(parents=True, exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    named = {"eos_token": {"content": "</s>"}, "pad_token": "<pad>", "bos_token": "<s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(named if config is None else config))
    return made
