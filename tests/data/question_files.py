"""Small folders in the layouts of CLINC150, ScienceQA, CommonsenseQA, OpenbookQA and TOFU."""

import json

from tests.data.text_files import write_jsonl

TOPICS = ("biology", "chemistry", "economics", "geography", "grammar", "physics")


def write_clinc(root, domains, train=3, test=2):
    """Write `CLINC150/data_full.json` with some texts of each intent of `domains` {name: [intent]}, and texts out of scope."""
    parts = {"oos_train": [["what is out of scope", "oos"]], "oos_test": [["and this", "oos"]]}
    for part, n in (("train", train), ("val", 1), ("test", test)):
        parts[part] = [[f"{part} {i} {name}", name] for names in domains.values() for name in names for i in range(n)]
    (root / "CLINC150").mkdir(parents=True)
    (root / "CLINC150" / "data_full.json").write_text(json.dumps(parts))
    return root / "CLINC150"


def science(part, topic, i, **said):
    """A row of ScienceQA: the columns of the hub's derek-thomas/ScienceQA that are read, and one that is not."""
    choices = [f"{topic} {i}", "neither", "both"][: 2 + i % 2]
    row = {
        "question": f"{part}: which {i}?",
        "choices": choices,
        "answer": i % 2,
        "hint": "a hint" if i % 2 else "",
        "topic": topic,
    }
    return row | {"image": None, "solution": "because"} | said


def write_scienceqa(root, train=4, test=2, topics=TOPICS):
    for part, n in (("train", train), ("test", test)):
        rows = [science(part, topic, i) for topic in topics for i in range(n)]
        write_jsonl(root / "ScienceQA" / f"{part}.jsonl", [*rows, science(part, "biology", 9, image={"path": "x.png"})])
    return root / "ScienceQA"


def write_beside(root):
    """The two data sets that are learned beside ScienceQA: their choices are objects, and the right one is a letter."""
    choices = {"label": ["A", "B"], "text": ["one", "other"]}
    common = [{"question": f"q{i}?", "choices": choices, "answerKey": "AB"[i % 2]} for i in range(4)]
    book = [{"question_stem": f"s{i}", "choices": choices, "answerKey": "BA"[i % 2]} for i in range(4)]
    write_jsonl(root / "CommonsenseQA" / "train.jsonl", common)
    write_jsonl(root / "CommonsenseQA" / "validation.jsonl", common[:2])
    write_jsonl(root / "CommonsenseQA" / "test.jsonl", [row | {"answerKey": ""} for row in common])
    write_jsonl(root / "OpenbookQA" / "train.jsonl", book)
    write_jsonl(root / "OpenbookQA" / "test.jsonl", book[:2])


def write_tofu(root, authors=200, each=20):
    """Write TOFU's files: a line of JSON per question, authors one after the other."""
    rows = [{"question": f"q{i} a{a}?", "answer": f"{a}.{i}"} for a in range(authors) for i in range(each)]
    write_jsonl(root / "TOFU" / "full.json", rows)
    for name, n in (("real_authors", 8), ("world_facts", 8)):
        write_jsonl(root / "TOFU" / f"{name}.json", [{"question": f"{name} {i}?", "answer": f"it is {i}"} for i in range(n)])
    return root / "TOFU"
