"""The chapters: their code does what the package does, their prose is short."""

import re

import torch
import yaml
from command import train_epoch
from conftest import PROJECT
from torch import nn

from cifar_study import data
from cifar_study.stages import STAGES
from cifar_study.training.engine import Engine
from cifar_study.training.model import Rescale, build_model

QUESTIONS = [PROJECT / "index.qmd", *sorted((PROJECT / "chapters").glob("q*.qmd"))]
APART = [PROJECT / "chapters" / name for name in ("extras.qmd", "methods.qmd")]
TEXT = {path: path.read_text(encoding="utf-8") for path in (*QUESTIONS, *APART)}
CELL = re.compile(r"^```\{python\}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LITERAL = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`\{python\} ([^`]+)`")
# Settings, shapes and numbers of stages: what may be typed in the prose.
SETTINGS = {20, 28, 30, 32, 36, 50, 64, 70, 90, 100, 150} | set(range(12))


def code(chapter):
    """The blocks of code that stand literally in a chapter."""
    (text,) = (text for path, text in TEXT.items() if path.name.startswith(chapter))
    return LITERAL.findall(text)


def run(text, **names):
    space = {"nn": nn, "Rescale": Rescale, **names}
    exec(text, space)
    return space


def assert_same_network(number, *layers):
    """With the package's weights they give its bits, dropout and batch statistics too."""
    built, model = build_model(STAGES[number].network, seed=3), nn.Sequential(*layers)
    values = built.state_dict().values()
    model.load_state_dict(dict(zip(model.state_dict(), values, strict=True)))
    pictures = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    for training in (True, False):
        outputs = []
        for network in (built, model):
            torch.manual_seed(1)
            outputs.append(network.train(training)(pictures))
        assert torch.equal(*outputs)


def test_networks_written_out_are_those_that_are_trained(monkeypatch, tmp_path):
    model = run(code("q03")[0])["model"]
    assert_same_network(1, *model)
    assert eval(code("q04")[0], {"model": model}) == 1180
    answers = run(code("q05")[0], model=model, pictures=torch.zeros(2, 3, 32, 32))["probabilities"]
    assert torch.allclose(answers.sum(1), torch.ones(2))
    sizes = [(3, 20), (20, 40), (40, 80), (80, 160)]
    space = run("".join(code("q09")))
    two, block = run("".join(code("q09")[:2]))["model"], space["conv_block"]
    assert_same_network(3, *two)
    assert_same_network(4, Rescale(), block(3, 20), block(20, 40), nn.Flatten(), two[-1])
    assert_same_network(5, *space["model"])
    block, dense = run(code("q10")[0])["conv_block"], nn.Linear(640, 10)
    assert_same_network(6, Rescale(), *(block(*size) for size in sizes), nn.Flatten(), dense)
    block, rates = run(code("q11")[0])["conv_block"], re.findall(r"0\.\d", code("q11")[0])
    blocks = [block(*size, float(rate)) for size, rate in zip(sizes, rates, strict=True)]
    assert_same_network(7, Rescale(), *blocks, nn.Flatten(), dense)
    blocks[-1][-2], dense = (eval(line, {"nn": nn}) for line in code("q12")[0].splitlines())
    assert_same_network(8, Rescale(), *blocks, nn.Flatten(), dense)
    monkeypatch.chdir(tmp_path)
    run(code("q12")[-1], model=nn.Sequential(*blocks))  # saves and loads


def test_the_two_loops_give_the_engines_bits():
    stage, drawn, epochs = STAGES[1], data.synthetic(train=128, test=20), iter((1, 2))
    engine, other = (Engine(stage.network, stage.recipe, drawn) for _ in range(2))

    def batches(size):
        for batch in other._order(next(epochs)).split(size):
            yield other.train_images[batch].permute(0, 3, 1, 2), other.train_labels[batch]

    loop = code("q06")[0].replace("range(150)", "range(2)")
    # The engine's steps are fused: the same arithmetic in one call, rounded once less.
    loop = loop.replace("momentum=0.9)", "momentum=0.9, fused=True)")
    run(loop, model=other.model, batches=batches)
    for epoch in (1, 2):
        train_epoch(engine, epoch)
    for mine, its in zip(other.model.parameters(), engine.model.parameters(), strict=True):
        assert torch.equal(mine, its)


def test_are_in_the_book_short_and_type_no_result():
    book = yaml.safe_load((PROJECT / "_quarto.yml").read_text(encoding="utf-8"))["book"]
    parts = [part["chapters"] for part in book["chapters"] if isinstance(part, dict)]
    assert [PROJECT / name for part in parts for name in part] == [*QUESTIONS[1:], APART[0]]
    words = {}
    for path, text in TEXT.items():
        assert all(len(block.splitlines()) <= 12 for block in LITERAL.findall(text))
        assert all(len(caption.split()) <= 30 for caption in re.findall(r'-cap: "(.*)"', text))
        prose = INLINE.sub("NUMBER", LITERAL.sub("", CELL.sub("", text)))
        prose = re.sub(r"\{[#.][^}]*\}|^:+.*$|\|", " ", prose, flags=re.MULTILINE)
        words[path] = len(re.findall(r"\S*\w\S*", prose))
        if path in QUESTIONS:  # the others have other people's numbers and the benchmarks'
            prose = re.sub(r"\$\$?[^$]+\$\$?|\]\([^)]*\)|@\w+|`[^`]*`|CIFAR-10", "", prose)
            assert {int(number) for number in re.findall(r"\d+", prose)} <= SETTINGS
            assert path == QUESTIONS[0] or text.index("**Asked:**") < text.index("## Answer")
    assert sum(words[path] for path in QUESTIONS) <= 4000
    assert sum(words[path] for path in APART) <= 2000
