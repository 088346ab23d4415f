"""The benchmark's arithmetic by hand, its workers by stand-ins, its tables by a small example."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from runs import needs_bfloat16
from torch import nn
from tqdm import tqdm

from benchmarks import precision, speed, torch_worker
from benchmarks.crew import CONTENDERS, Crew, Start, Turn, alternate
from benchmarks.plain_loop import PlainLoop
from benchmarks.protocol import PROJECT, Worker
from benchmarks.sample import first, read_sample, write_sample
from cifar_study import datasets
from cifar_study.atomic import read_json, write_json
from cifar_study.errors import StudyError
from cifar_study.layers import count_parameters
from cifar_study.report import benchmark as measured
from cifar_study.report import study
from cifar_study.report.replicates import processor
from cifar_study.results.speed import read_speed, read_speeds
from cifar_study.stages import STAGES
from cifar_study.training.model import build_model

torch.set_num_threads(1)


# --- workers -----------------------------------------------------------------------------


@pytest.fixture
def fake_keras(tmp_path: Path) -> Path:
    """A Python that is asked for Keras' worker and answers stage + images / 1000."""
    program = tmp_path / "python"
    program.write_text(
        f"#!{sys.executable}\n"
        "import sys\n"
        f"sys.path.insert(0, {str(PROJECT)!r})\n"
        "from benchmarks.protocol import serve\n"
        "assert sys.argv[1:3] == ['-m', 'benchmarks.keras_worker'], sys.argv\n"
        "print('a library greets', flush=True)\n"
        "def measure(stage, images):\n"
        "    if stage == 4:\n"
        "        raise ValueError('out of paper')\n"
        "    print('a library chats', flush=True)\n"
        "    return stage + images / 1000\n"
        "serve(measure, {'keras': '3.0', 'threads': sys.argv[4]})\n"
    )
    program.chmod(0o755)
    return program


@pytest.fixture
def start(tmp_path: Path, fake_keras: Path) -> Start:
    return partial(speed._start, tmp_path / "sample.npz", "float32", fake_keras)


def test_a_worker_answers_every_request_whatever_its_libraries_print(start: Start) -> None:
    worker = start("keras", 1)
    assert worker.versions() == {"keras": "3.0", "threads": "1"}
    answers = []
    for request in ((1, 500), (8, 250), (1, 500)):
        worker.ask(*request)
        answers.append(worker.answer())
    worker.close()
    assert answers == [1.5, 8.25, 1.5]
    assert worker.process.returncode is not None


def test_a_worker_that_dies_is_an_error_with_its_last_words(start: Start) -> None:
    worker = start("keras", 0)
    worker.versions()
    worker.ask(4, 100)
    with pytest.raises(StudyError, match="the worker keras died: ValueError: out of paper"):
        worker.answer()
    worker.close()


def test_a_program_that_is_not_there_is_an_error() -> None:
    with pytest.raises(StudyError, match="/no/python: cannot be started"):
        Worker("keras", ["/no/python"])


def test_side_by_side_counts_the_time_of_the_last_over_the_number(start: Start) -> None:
    with Crew(2, start) as crew:
        assert crew.seconds(Turn("keras", 2, 1000)) == 3.0
        assert crew.seconds(Turn("keras-jobs", 2, 1000)) == 1.5
        assert crew.seconds(Turn("keras-jobs", 1, 1000)) == 1.0
        workers = [worker for pool in crew.pools.values() for worker in pool]
    assert crew.versions["keras"] == "3.0"
    assert len(workers) == 3
    assert all(worker.process.returncode is not None for worker in workers)


def test_contenders_take_turns_and_the_first_round_is_left_out() -> None:
    taken = []

    def seconds(turn: Turn) -> float:
        taken.append(turn.contender)
        return float(len(taken))

    turns = [Turn("plain", 1, 64), Turn("engine", 1, 64)]
    bar = tqdm(total=3 * len(turns), file=io.StringIO())
    times = alternate(turns, 2, SimpleNamespace(seconds=seconds), bar)
    assert bar.n == bar.total
    assert taken == ["engine", "plain", "plain", "engine", "engine", "plain"]
    assert list(times.values()) == [[3.0, 6.0], [4.0, 5.0]]


# --- what the workers train ----------------------------------------------------------------


def arrays(sample: datasets.Dataset) -> tuple[np.ndarray, ...]:
    return sample.train_images, sample.train_labels, sample.test_images, sample.test_labels


def test_the_sample_is_the_same_each_time_and_of_all_classes(tmp_path: Path) -> None:
    drawn = datasets.synthetic(400, 100)
    write_sample(tmp_path / "one.npz", drawn, 200)
    write_sample(tmp_path / "two.npz", drawn, 200)
    one, two = read_sample(tmp_path / "one.npz"), read_sample(tmp_path / "two.npz")
    assert [len(part) for part in arrays(one)] == [200, 200, 40, 40]
    assert [len(part) for part in arrays(first(one, 50))] == [50, 50, 10, 10]
    assert all((a == b).all() for a, b in zip(arrays(one), arrays(two), strict=True))
    assert set(first(one, 100).train_labels) == set(range(10))


@pytest.mark.parametrize("number", STAGES)
def test_the_plain_loop_has_the_network_of_the_study_in_torchs_own_layers(number: int) -> None:
    study = build_model(STAGES[number].network).eval()
    plain = PlainLoop(STAGES[number], datasets.synthetic(10, 10)).model.eval()
    pictures = torch.randint(0, 256, (3, 3, 32, 32), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        torch.testing.assert_close(plain(pictures / 255), study(pictures.to(torch.uint8)))
    assert {type(layer).__module__.split(".")[0] for layer in plain.modules()} == {"torch"}


def test_the_plain_loop_trains_and_tests_on_every_picture() -> None:
    loop = PlainLoop(STAGES[4], datasets.synthetic(100, 20))
    seen: dict[bool, int] = {True: 0, False: 0}

    def count(model: nn.Module, inputs: tuple, _output: object) -> None:
        assert inputs[0].max() <= 1
        seen[model.training] += len(inputs[0])

    loop.model.register_forward_hook(count)
    before = loop.model[0].conv1.weight.detach().clone()
    loop.epoch()
    assert seen == {True: 100, False: 20}
    assert not torch.equal(before, loop.model[0].conv1.weight)


@pytest.mark.long
@pytest.mark.skipif(not speed.KERAS_PYTHON.exists(), reason="no Keras: make bench sets it up")
def test_the_keras_network_has_the_parameters_and_outputs_of_the_study() -> None:
    program = (
        "import json, math\n"
        "from benchmarks.keras_worker import keras_network\n"
        "from cifar_study.stages import STAGES\n"
        "found = {}\n"
        "for number, stage in STAGES.items():\n"
        "    model = keras_network(stage.network)\n"
        "    trained = sum(math.prod(weight.shape) for weight in model.trainable_weights)\n"
        "    found[number] = [trained, model.output_shape[-1]]\n"
        "print(json.dumps(found))\n"
    )
    done = subprocess.run(
        [speed.KERAS_PYTHON, "-c", program],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    expected = {str(n): [count_parameters(stage.network), 10] for n, stage in STAGES.items()}
    assert json.loads(done.stdout.splitlines()[-1]) == expected


# --- the floor -----------------------------------------------------------------------------


def test_the_operations_of_an_epoch_of_stage_1_by_hand() -> None:
    first = 32 * 32 * 9 * 3 * 5  # 138,240 multiply-accumulates
    second = 32 * 32 * 9 * 5 * 5  # 230,400
    dense = 4 * 4 * 5 * 10  # 800
    assert first + second + dense == 369_440
    forward, backward, test = 50_000, 2 * 50_000, 10_000
    operations = 2 * 369_440 * (forward + backward + test)
    assert operations == 118_220_800_000
    assert torch_worker.epoch_flop(STAGES[1].network, 50_000, 10_000) == operations


def test_the_floor_is_the_arithmetic_over_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.1, 0.3, 0.5])  # two products, done after half a second
    monkeypatch.setattr(torch_worker, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    monkeypatch.setattr(torch_worker, "SIDE", 100)  # 2,000,000 operations a product
    seconds = torch_worker.floor(torch.float32)(1, 100)
    assert seconds == pytest.approx(2 * 369_440 * (300 + 20) / 8_000_000)


# --- tables --------------------------------------------------------------------------------

RESULTS = {
    "format": 1,
    "machine": {
        "processor": "Abacus 9, 2 cores",
        "precision": "float32",
        "python": "3.11.7",
        "torch": "2.0",
    },
    "stages": {
        "5": {
            "measured": "2030-01-02 10:00 UTC",
            "data": "cifar10",
            "images": 6400,
            "repeats": 3,
            "jobs": 2,
            "load_before": 0.25,
            "macs": 20_834_560,
            "versions": {"keras": "3.0"},
            "seconds": {
                "plain": [4.0, 6.0, 8.0],
                "keras": [3.0, 3.0, 3.0],
                "keras-jobs": [2.0, 4.0, 2.0],
                "engine": [2.0, 4.0, 3.0],
                "engine-jobs": [1.0, 2.0, 2.0],
                "convolutions": [1.0, 2.5, 2.0],
                "floor": [1.0, 2.0, 2.0],
            },
        }
    },
    "scaling": {
        "jobs": 2,
        "sizes": {"2": {"1600": [0.5], "3200": [1.0]}, "8": {"1600": [2.0]}},
    },
}


def cells(text: str, first: str) -> list[str]:
    """The cells of the first row of a table that begins with ``first``."""
    rows = [line.strip("|").split("|") for line in text.splitlines()]
    return next([cell.strip() for cell in row] for row in rows if row[0].strip() == first)


def as_text(results: dict) -> str:
    return measured.ratios(results).to_markdown(index=False, disable_numparse=True)


def test_ratios_are_formed_in_each_round_against_the_quicker_setting() -> None:
    shown = [cell.replace("\N{WORD JOINER}", "") for cell in cells(as_text(RESULTS), "5, Abacus 9")]
    assert shown == [
        "5, Abacus 9",
        "2.00 (1.50–2.00)",
        "1.3",
        "1.60 (1.50–2.00)",
        "**4.00 (3.00–4.00)**",
        "4.00 (3.00–4.00)",
        "**2.00 (1.00–2.00)**",
    ]


def test_an_aim_is_reached_at_most_or_at_least() -> None:
    assert measured.against([1.3], [1.0], most=1.3).startswith("**1.30 ")
    assert measured.against([1.4], [1.0], most=1.3).startswith("1.40 ")
    assert measured.against([2.9], [1.0], least=3).startswith("2.90 ")


def test_what_was_not_measured_is_a_dash_or_no_row() -> None:
    seconds = {"engine": [2.0], "engine-jobs": [1.0]}
    entry = RESULTS["stages"]["5"] | {"seconds": seconds}
    found = RESULTS | {"stages": {"1": entry, "3": entry | {"seconds": {"engine": [2.0]}}}}
    assert cells(as_text(found), "1, Abacus 9")[1:] == ["–"] * 6
    assert len(measured.ratios(found)) == 1


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"format": 1}', "\xff", "[" * 100_000])
def test_damage_is_one_error_that_names_file_and_remedy(tmp_path: Path, content: str) -> None:
    path = tmp_path / "speed-x.json"
    path.write_text(content, encoding="latin-1")
    remedy = "restore it from git, or delete it and measure again with: make bench"
    with pytest.raises(StudyError, match=remedy) as caught:
        read_speed(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_changed_number_and_another_format_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "speed-x.json"
    write_json(path, RESULTS)
    assert read_speed(path) == RESULTS
    path.write_text(path.read_text().replace("6.0", "6.5", 1))
    with pytest.raises(StudyError, match="its checksum differs"):
        read_speed(path)
    write_json(path, RESULTS | {"format": 0})
    with pytest.raises(StudyError, match="not a result of format 1"):
        read_speed(path)


def test_the_stored_measurements_are_whole() -> None:
    found = read_speeds(PROJECT / "cache")
    assert [processor(one["machine"]) for one in found] == ["AMD EPYC", "Intel Xeon"]
    for one in found:
        full = {number: times for number, times in one["stages"].items() if number in "1245678"}
        assert len(full) == 7
        assert all(len(entry["seconds"]["floor"]) == 5 for entry in full.values())
    assert {"3", "9", "10", "11"} < set(found[0]["stages"])


def test_the_report_shows_what_was_measured_or_that_nothing_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "cache", lambda: tmp_path)
    for shown in (measured.table(), *measured.growth()):
        assert f"{tmp_path}: no speed was measured yet; run: make bench" in shown.data
    write_json(tmp_path / "speed-x.json", RESULTS)
    shown = cells(measured.table().data, "5, Abacus\N{NO-BREAK SPACE}9")
    assert shown[1] == "2.00 (1.50–\N{WORD JOINER}2.00)"
    by_stage, by_pictures = (chart.figure.axes[0] for chart in measured.growth())
    points = {tuple(line.get_xydata()[0]) for line in by_stage.lines}
    assert points == {(20.83456, 3.0), (20.83456, 2.0)}
    assert by_pictures.lines[0].get_xydata().tolist() == [[1600, 0.5], [3200, 1.0]]


def test_results_of_other_versions_are_not_mixed(tmp_path: Path) -> None:
    path = tmp_path / "speed-x.json"
    write_json(path, RESULTS)
    same, other = RESULTS["machine"], RESULTS["machine"] | {"torch": "9.9"}
    assert speed._earlier(path, same)["stages"] == RESULTS["stages"]
    assert speed._earlier(path, other) == {"format": 1, "machine": other}


# --- the command ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--repeats", "0"], "--repeats: 0 is not 1 or more"),
        (["--output", str(PROJECT / "README.md")], "README.md: unreadable (Expecting value"),
        (["--output", str(PROJECT / "tests")], "tests: is there and no file; choose another"),
        (["--keras-python", "nowhere"], "--keras-python nowhere: no such file; name a Python"),
        (["--images", "60000"], "it has to be 5 to 50,000"),
        (["--images", "20000", "--scaling"], "trains on 10,000 to 80,000 pictures"),
    ],
)
def test_a_wrong_option_is_one_line_and_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    output = ["--output", str(tmp_path / "speed.json")]
    try:
        status = speed.main(["--data", "synthetic", *output, *arguments])
    except SystemExit as stop:  # how argparse ends
        status = stop.code
    assert status == 2
    [error] = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ")
    assert message in error


@pytest.mark.long
def test_a_tiny_run_measures_writes_and_shows(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "KERAS_PYTHON", tmp_path / "none")
    output = tmp_path / "speed.json"
    command = ["--images", "128", "--repeats", "1", "--data", "synthetic", "--stages", "1"]
    command += ["--jobs", "1", "--output", str(output)]

    def run(*arguments: str) -> str:
        assert speed.main([*command, *arguments]) == 0
        said = capsys.readouterr()
        assert "left" in said.err
        return said.out

    shown = run()
    seconds = read_json(output, "")["stages"]["1"]["seconds"]
    assert set(seconds) == set(CONTENDERS) - {"keras", "keras-jobs"}
    assert all(len(values) == 1 and values[0] > 0 for values in seconds.values())
    assert seconds["engine"][0] > seconds["floor"][0]
    assert re.search(r"^\| 1, .* – *\|$", shown, re.MULTILINE)

    run("--scaling")
    results = read_json(output, "")
    assert results["stages"]["1"]["seconds"] == seconds  # kept beside what was added
    assert set(results["scaling"]["sizes"]["1"]) == {"64", "128", "256", "512"}


# --- precision -----------------------------------------------------------------------------


def test_precisions_are_compared_seed_by_seed() -> None:
    half = [(60.0, 1.10), (62.0, 1.00), (61.0, 1.20)]
    single = [(59.0, 1.10), (62.0, 1.00), (62.0, 1.20)]
    lines = precision.table({"bfloat16": half, "float32": single}).splitlines()
    # Student's 97.5 % quantile with two degrees of freedom is 4.3027; s / √3 is 0.5774.
    assert lines[2] == "| bfloat16 | 61.00 ± 2.48 | 1.1000 ± 0.2484 |"
    assert lines[3] == "| float32 | 61.00 ± 4.30 | 1.1000 ± 0.2484 |"
    assert lines[4] == "| difference | +0.00 ± 2.48 | +0.0000 ± 0.0000 |"
    lines = precision.table({"bfloat16": half[:1], "float32": single[:1]}).splitlines()
    assert lines[4] == "| difference | +1.00 | +0.0000 |"


@pytest.mark.parametrize("seed", ["-1", "x", "2-1", str(2**63)])
def test_a_seed_that_is_none_is_refused(seed: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        precision.main([f"--seeds={seed}"])
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: argument --seeds: ")


@needs_bfloat16
def test_both_precisions_are_trained_and_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("STAGE", 1), ("EPOCHS", 1), ("LIMIT", 100)):
        monkeypatch.setattr(precision, name, value)
    command = ["--seeds", "0-1", "--data", "synthetic", "--folder", str(tmp_path)]
    assert precision.main(command) == 0
    first_call = capsys.readouterr()
    assert first_call.err.count("epoch 1/1") == 4
    assert [line.split()[1] for line in first_call.out.splitlines()[2:]] == [
        "bfloat16",
        "float32",
        "difference",
    ]
    assert precision.main(command) == 0
    again = capsys.readouterr()
    assert again.out == first_call.out
    assert again.err.count("already complete") == 4
    assert "epoch 1/" not in again.err  # nothing is trained twice
    next(tmp_path.rglob("result.json")).write_text("{")
    assert precision.main(command) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: ")
