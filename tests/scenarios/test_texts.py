"""Data sets of texts one after another: one pool, labels that are shared or not, answers side by side, the papers' orders."""

import json

import pytest
import torch

from clbench.data import answer_tokens
from clbench.data.tokenizers import Bytes
from clbench.errors import ClbenchError, ConfigError, DataError, RefusedError
from clbench.runs.run import assemble
from clbench.testing.make_run import make_spec
from clbench.testing.scenario_checks import check_scenario
from tests.data.text_files import DOMAINS, write_jsonl, write_sections
from tests.scenarios.test_shipped_scenarios import node

WORDS = Bytes()
FORMS = {"classes": "model=tiny_bert", "answers": "model=tiny_gpt"}


def write_benchmark(root):
    """A folder CL_Benchmark with a few samples of each class of the fifteen sets, in the layout of O-LoRA's repository."""
    for name, dataset in node("long_sequence")["datasets"].items():
        for part, each in (("train", 3), ("test", 2)):
            classes = dataset["class_names"]
            rows = [{"sentence": f"{name} {part} {i}", "label": classes[i % len(classes)]} for i in range(each * len(classes))]
            path = root / dataset["path"] / f"{part}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(rows))
    return root


def write_trace(root):
    for name, dataset in node("trace")["datasets"].items():
        for part, count in (("train", 4), ("test", 2)):
            rows = [{"prompt": f"{part} {i} of {name}", "answer": f"a free answer, number {i} of {name}"} for i in range(count)]
            path = root / dataset["path"] / f"{part}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(rows))
    return root


def write_own(root, contents):
    """Folders of one's own texts, {name: (classes, texts)}, and the overrides that make a sequence of them."""
    for name, (classes, texts) in contents.items():
        for part in ("train", "test"):
            rows = [{"text": f"{part} {text}", "label": classes[i % len(classes)]} for i, text in enumerate(texts)]
            write_jsonl(root / name / f"{part}.jsonl", rows)
    overrides = []
    for name, (classes, _) in contents.items():
        about = {"name": name, "path": name, "class_names": classes}
        overrides.append(f"+scenario/dataset@scenario.datasets.{name}=text_folder")
        overrides += [f"scenario.datasets.{name}.{key}={json.dumps(value)}" for key, value in about.items()]
    return overrides


def stream(scenario, *overrides, root=None, n_tasks="null"):
    place = () if root is None else (f"data.root={root}",)
    spec = make_spec("naive", [f"scenario={scenario}", f"scenario.n_tasks={n_tasks}", *place, *overrides])
    return assemble(spec, torch.device("cpu"))[0]


def texts_of(made, split):
    raw = answer_tokens.tokens(split.raw())
    return [made.decode(row[row < 256].tolist()) for row in raw]


OWN = {
    "one": (["a", "b"], [f"first {i}" for i in range(6)]),
    "two": (["c", "d", "e"], [f"second {i} which is longer" for i in range(6)]),
}


@pytest.mark.parametrize("form", FORMS)
def test_one_pool_holds_all_and_classes_do_not_meet(tmp_path, form):
    made = stream("texts", FORMS[form], *write_own(tmp_path, OWN), root=tmp_path)
    assert [task.classes for task in made.tasks] == [(0, 1), (2, 3, 4)]
    assert [task.name for task in made.tasks] == ["one", "two"]
    pool = made.tasks[0].train.pool
    assert pool is made.tasks[1].train.pool
    assert made.pad == WORDS.pad
    assert made.tasks[1].train.labels.tolist() == [2, 3, 4, 2, 3, 4]
    assert texts_of(made, made.tasks[1].train)[0].startswith("train second 0 which is longer")
    assert texts_of(made, made.evaluation[0].split)[1].startswith("test first 1")
    if form == "answers":
        assert pool.answers.tolist() == [[*f" {c}".encode(), WORDS.eos] for c in "abcde"]
        assert texts_of(made, made.tasks[1].train)[1] == "train second 1 which is longer d"
        assert made.head_sizes == (WORDS.size,)
        assert {column.metric for column in made.evaluation} == {"exact_match"}
    else:
        assert made.head_sizes == (5,)
        assert {column.metric for column in made.evaluation} == {"accuracy"}


@pytest.mark.parametrize("form", FORMS)
def test_settings_of_labels_of_their_own(tmp_path, form):
    own = write_own(tmp_path, OWN)
    assert stream("texts", FORMS[form], *own, "scenario.setting=task", root=tmp_path).tasks[1].train.labels.tolist()[:3] == [
        0,
        1,
        2,
    ]
    if form == "answers":
        assert stream("texts", FORMS[form], *own, "scenario.setting=domain", root=tmp_path).setting == "domain"
    else:
        with pytest.raises(RefusedError, match="setting=domain for data sets with unrelated labels"):
            stream("texts", FORMS[form], *own, "scenario.setting=domain", root=tmp_path)


def test_shared_labels_have_to_be_the_same(tmp_path):
    own = write_own(tmp_path, OWN)
    with pytest.raises(ConfigError, match="labels=shared, but the classes of one are a, b"):
        stream("texts", FORMS["classes"], *own, "scenario.labels=shared", "scenario.setting=domain", root=tmp_path)
    with pytest.raises(RefusedError, match="setting=class for data sets that share their labels"):
        stream("texts", FORMS["classes"], *own, "scenario.labels=shared", root=tmp_path)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("scenario.labels=mixed", "scenario.labels='mixed'"),
        ("scenario.order=7", "scenario.order=7 is unknown"),
        ("scenario.n_tasks=3", "more than the 2 data sets"),
        ("scenario.datasets.two.tokenizer=elsewhere", "tokenizer elsewhere"),
        ("scenario.datasets.two.form=answers", "different values of form: one classes, two answers"),
        ("scenario.metric=exact_match", "has no effect with model.form=classes"),
        ("+scenario.orders.5=[one,three]", "names 'three', which is no data set"),
        ("+scenario.orders.5=[one,one]", "or one twice"),
    ],
)
def test_values_that_cannot_be_used(tmp_path, override, message):
    more = ["scenario.order=5"] if "orders" in override else []
    with pytest.raises(ClbenchError, match=message):
        stream("texts", FORMS["classes"], *write_own(tmp_path, OWN), override, *more, root=tmp_path)


def test_no_data_sets():
    with pytest.raises(ConfigError, match=r"scenario\.datasets is empty"):
        stream("texts", FORMS["classes"])


def test_the_same_texts_make_the_same_stream_and_another_template_another(tmp_path):
    own = [FORMS["answers"], *write_own(tmp_path, OWN)]
    first = stream("texts", *own, root=tmp_path).fingerprint
    assert stream("texts", *own, root=tmp_path).fingerprint == first
    others = ["scenario.datasets.two.template='x {text}'", "scenario.order_seed=1", "scenario.metric=label_words"]
    assert len({first, *(stream("texts", *own, each, root=tmp_path).fingerprint for each in others)}) == 4


ORDERS = {
    "standard_cl": {
        1: "dbpedia amazon yahoo agnews",
        2: "dbpedia amazon agnews yahoo",
        3: "yahoo amazon agnews dbpedia",
    },
    "long_sequence": {
        4: "mnli cb wic copa qqp boolqa rte imdb yelp amazon sst2 dbpedia agnews multirc yahoo",
        5: "multirc boolqa wic mnli cb copa qqp rte imdb sst2 dbpedia agnews yelp amazon yahoo",
        6: "yelp amazon mnli cb copa qqp rte imdb sst2 dbpedia agnews yahoo multirc boolqa wic",
    },
}
"""O-LoRA: scripts/order_1.sh to order_3.sh and long.sh (6) of its repository; 4 and 5 as programs that build on it list them."""


@pytest.mark.parametrize(("name", "order"), [(name, order) for name, known in ORDERS.items() for order in known])
def test_the_orders_of_the_papers(tmp_path, name, order):
    root = write_benchmark(tmp_path)
    made = stream(name, FORMS["answers"], f"scenario.order={order}", root=root)
    assert [task.name for task in made.tasks] == ORDERS[name][order].split()
    prompt = made.decode(answer_tokens.prompt(made.tasks[0].train.raw(), WORDS.pad)[0].tolist())
    assert f"{made.tasks[0].name} train 0" in prompt
    assert prompt.endswith("\nAnswer:")


def test_every_set_of_the_long_sequence_says_what_its_numbers_mean():
    """The hub's numbers of each label, which the authors' files spell out."""
    hub = {
        "mnli": ["entailment", "neutral", "contradiction"],
        "cb": ["entailment", "contradiction", "neutral"],
        "rte": ["entailment", "contradiction"],
        **{name: ["False", "True"] for name in ("wic", "qqp", "boolqa", "multirc")},
        "imdb": ["Bad", "Good"],
        "sst2": ["Bad", "Good"],
        "copa": ["A", "B"],
    }
    datasets = node("long_sequence")["datasets"]
    assert len(datasets) == 15
    for name, dataset in datasets.items():
        assert dataset["label_names"] == hub.get(name)
        assert len(dataset["class_names"]) == dataset["n_classes"]
        assert dataset["train_per_class"] == 1000
    assert sum(dataset["n_classes"] for dataset in node("standard_cl")["datasets"].values()) == 14 + 5 + 10 + 4


def test_trace_has_free_answers_and_a_metric_for_each_task(tmp_path):
    made = stream("trace", FORMS["answers"], root=write_trace(tmp_path))
    metrics = [column.metric for column in made.evaluation]
    assert [metric == "rouge_l" for metric in metrics] == [False, False, True, True, True, False, False, True]
    assert made.tasks[0].train.pool.answers is None
    order = ["c_stance", "fomc", "meetingbank", "py150", "scienceqa", "numglue_cm", "numglue_ds", "20minuten"]
    assert [task.name for task in made.tasks] == order
    assert texts_of(made, made.tasks[2].train)[1] == "train 1 of meetingbank\na free answer, number 1 of meetingbank"
    every = stream("trace", FORMS["answers"], "scenario.metric=exact_match", root=tmp_path)
    assert {column.metric for column in every.evaluation} == {"exact_match"}
    with pytest.raises(ConfigError, match="has written answers"):
        stream("trace", FORMS["classes"], "scenario.setting=task", root=tmp_path)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("scenario", "write"), [("standard_cl", write_benchmark), ("long_sequence", write_benchmark)])
def test_promises_of_sequences(tmp_path, scenario, write, form):
    check_scenario(
        scenario, [FORMS[form], "scenario.n_tasks=null", f"data.root={write(tmp_path)}", "scenario.valid_fraction=0.4"]
    )


def test_promises_of_trace(tmp_path):
    check_scenario("trace", [FORMS["answers"], "scenario.n_tasks=null", f"data.root={write_trace(tmp_path)}"])


@pytest.mark.parametrize("scenario", ["standard_cl", "long_sequence", "trace"])
def test_missing_data_names_the_layout(tmp_path, scenario):
    with pytest.raises(DataError, match="was not found") as caught:
        stream(scenario, FORMS["answers"], root=tmp_path)
    assert str(tmp_path) in caught.value.what
    assert "train.json" in caught.value.remedy or "train.parquet" in caught.value.remedy


def real(*overrides, **said):
    try:
        return stream(*overrides, **said)
    except DataError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("form", FORMS)
def test_sentiment_domains(form):
    made = real("sentiment_domains", FORMS[form])
    assert [task.name for task in made.tasks] == list(DOMAINS)
    assert made.setting == "domain"
    assert made.head_sizes == ((2,) if form == "classes" else (WORDS.size,))
    for task, column in zip(made.tasks, made.evaluation, strict=True):
        assert torch.bincount(task.train.labels).tolist() == [200, 200]
        assert torch.bincount(column.split.labels).tolist() == [100, 100]
    check_scenario("sentiment_domains", [FORMS[form], "scenario.n_tasks=null", "scenario.setting=task"])
    with pytest.raises(RefusedError, match="share their labels"):
        stream("sentiment_domains", FORMS[form], "scenario.setting=class")


def test_its_own_data_leaves_the_scenario_its_name():
    spec = make_spec("naive", ["scenario=debian_sections", FORMS["classes"], "scenario.n_tasks=10"])
    assert spec.names["scenario"] == "debian_sections"


@pytest.mark.parametrize("form", FORMS)
def test_debian_sections(form):
    made = real("debian_sections", FORMS[form], n_tasks=10)
    assert len(made) == 10
    assert {len(task.classes) for task in made.tasks} == {4}
    assert {len(task.train) for task in made.tasks} == {400}
    assert made.head_sizes == ((40,) if form == "classes" else (WORDS.size,))
    if form == "answers":
        table = made.tasks[0].train.pool.answers
        assert made.decode(table[0][table[0] >= 0].tolist()) == " admin"
        labels = [made.decode(row[row >= 0].tolist()) for row in answer_tokens.answer_table(made.tasks[0].train.raw(), -1)]
        assert labels == [made.decode(table[i][table[i] >= 0].tolist()) for i in made.tasks[0].train.labels.tolist()]
        every = stream("debian_sections", FORMS[form], "scenario.metric=label_words", n_tasks=10)
        assert {column.metric for column in every.evaluation} == {"label_words"}
    check_scenario("debian_sections", [FORMS[form], "scenario.n_tasks=10"])


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("setting", ["task", "domain"])
def test_debian_sections_in_other_settings(form, setting):
    real("debian_sections", FORMS[form], n_tasks=10)
    check_scenario("debian_sections", [FORMS[form], "scenario.n_tasks=10", f"scenario.setting={setting}"])


def test_debian_sections_from_a_small_file(tmp_path):
    """The scenario's path through `split`, without the real file."""
    sums = write_sections(tmp_path, [(f"section{i % 6}", f"description {i}") for i in range(300)])
    ((relative, found),) = sums.items()
    small = [f"scenario.dataset.files={{{relative}:'{found}'}}", "scenario.dataset.sections=6", "scenario.dataset.n_classes=6"]
    made = stream("debian_sections", FORMS["classes"], *small, root=tmp_path, n_tasks=3)
    assert [task.classes for task in made.tasks] == [(0, 1), (2, 3), (4, 5)]
    assert sum(len(task.train) for task in made.tasks) + sum(len(column.split) for column in made.evaluation) == 300
