"""The benchmark's arithmetic by hand, its workers by stand-ins, its tables by a small example."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from benchmarks import report, speed, torch_worker
from benchmarks.crew import Crew, Turn, alternate
from benchmarks.plain_loop import PlainLoop, plain_network
from benchmarks.protocol import PROJECT, Worker
from benchmarks.sample import Sample, read_sample, write_sample
from cifar_study import data
from cifar_study import speed as measured
from cifar_study.errors import StudyError
from cifar_study.layers import count_parameters
from cifar_study.model import build_model
from cifar_study.stages import STAGES

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
def start(tmp_path: Path, fake_keras: Path) -> speed.Start:
    options = speed.parser().parse_args(["--keras-python", str(fake_keras)])
    return speed._starter(tmp_path / "sample.npz", "float32", options)


def test_a_worker_answers_every_request_whatever_its_libraries_print(start: speed.Start) -> None:
    worker = start("keras", 1)
    assert worker.versions() == {"keras": "3.0", "threads": "1"}
    answers = []
    for request in ((1, 500), (8, 250), (1, 500)):
        worker.ask(*request)
        answers.append(worker.answer())
    worker.close()
    assert answers == [1.5, 8.25, 1.5]
    assert worker.process.returncode is not None


def test_a_worker_that_dies_is_an_error_with_its_last_words(start: speed.Start) -> None:
    worker = start("keras", 0)
    worker.versions()
    worker.ask(4, 100)
    with pytest.raises(StudyError, match="the worker keras died: ValueError: out of paper"):
        worker.answer()
    worker.close()


def test_a_program_that_is_not_there_is_an_error() -> None:
    with pytest.raises(StudyError, match="/no/python: cannot be started"):
        Worker("keras", ["/no/python"])


def test_side_by_side_counts_the_time_of_the_last_over_the_number(start: speed.Start) -> None:
    with Crew(["keras", "keras-jobs"], jobs=2, start=start) as crew:
        assert sum(map(len, crew.pools.values())) == 3
        assert crew.seconds(Turn("keras", 2, 1000)) == 3.0
        assert crew.seconds(Turn("keras-jobs", 2, 1000)) == 1.5
        workers = [worker for pool in crew.pools.values() for worker in pool]
    assert all(worker.process.returncode is not None for worker in workers)


def test_contenders_take_turns_and_the_first_round_is_left_out() -> None:
    taken = []

    def seconds(turn: Turn) -> float:
        taken.append(turn.contender)
        return float(len(taken))

    turns = [Turn("plain", 1, 64), Turn("engine", 1, 64)]
    times = alternate(turns, 2, SimpleNamespace(seconds=seconds), lambda *_: None)
    assert taken == ["engine", "plain", "plain", "engine", "engine", "plain"]
    assert list(times.values()) == [[3.0, 6.0], [4.0, 5.0]]


# --- what the workers train ----------------------------------------------------------------


def test_the_sample_is_the_same_each_time_and_of_all_classes(tmp_path: Path) -> None:
    drawn = data.synthetic(400, 100)
    write_sample(tmp_path / "one.npz", drawn, 200)
    write_sample(tmp_path / "two.npz", drawn, 200)
    one, two = read_sample(tmp_path / "one.npz"), read_sample(tmp_path / "two.npz")
    assert [len(part) for part in one] == [200, 200, 40, 40]
    assert [len(part) for part in one.first(50)] == [50, 50, 10, 10]
    assert all((a == b).all() for a, b in zip(one, two, strict=True))
    assert set(one.first(100).train_labels) == set(range(10))


@pytest.mark.parametrize("number", STAGES)
def test_the_plain_network_computes_what_the_study_does(number: int) -> None:
    network = STAGES[number].network
    study, plain = build_model(network).eval(), plain_network(network).eval()
    weights = [study.state_dict()[name] for name in study.state_dict()]
    plain.load_state_dict(dict(zip(plain.state_dict(), weights, strict=True)))
    pictures = torch.randint(0, 256, (3, 3, 32, 32), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        torch.testing.assert_close(plain(pictures / 255), study(pictures.to(torch.uint8)))
    kinds = {type(layer).__module__.split(".")[0] for layer in plain.modules()}
    assert kinds == {"torch"}  # none of the study's own, faster layers


def test_the_plain_loop_trains_and_tests_on_every_picture() -> None:
    drawn = data.synthetic(100, 20)
    loop = PlainLoop(
        STAGES[4],
        Sample(drawn.train_images, drawn.train_labels, drawn.test_images, drawn.test_labels),
    )
    seen: dict[bool, int] = {True: 0, False: 0}

    def count(model: nn.Module, inputs: tuple, _output: object) -> None:
        assert inputs[0].max() <= 1
        seen[model.training] += len(inputs[0])

    loop.model.register_forward_hook(count)
    before = loop.model[0].weight.detach().clone()
    loop.epoch()
    assert seen == {True: 100, False: 20}
    assert not torch.equal(before, loop.model[0].weight)


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
        "stages": {"5": {"macs": 20_834_560, "engine": [6.0, 9.0], "engine-jobs": [4.0, 5.0]}},
        "sizes": {"2": {"1600": [0.5], "3200": [1.0]}, "8": {"1600": [2.0]}},
    },
}


def cells(text: str, first: str) -> list[str]:
    """The cells of the first row of a table that begins with ``first``."""
    row = next(line for line in text.splitlines() if line.startswith(f"| {first} |"))
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_ratios_are_formed_in_each_round_against_the_quicker_setting() -> None:
    text = report.section(RESULTS)
    assert cells(text, "5") == [
        "5",
        "2.00 (1.50–2.00)",
        "1.3",
        "1.60 (1.50–2.00)",
        "4.00 (3.00–4.00)",
        "4.00 (3.00–4.00)",
        "2.00 (1.00–2.00)",
    ]
    assert "Abacus 9, 2 cores; engine in float32; Python 3.11.7, torch 2.0, keras 3.0." in text
    assert "Measured 2030-01-02 on cifar10" in text
    assert "6,400 training pictures, 3 repeats, 2 processes" in text


def test_growth_is_shown_by_stage_and_by_pictures() -> None:
    text = report.section({key: RESULTS[key] for key in ("format", "machine", "scaling")})
    row = ["5", "20.83", "7.5 (6.0–9.0)", "4.5 (4.0–5.0)", "1.65 (1.50–1.80)"]
    assert cells(text, "5") == row
    assert cells(text, "1,600") == ["1,600", "0.50 (0.50–0.50)", "2.00 (2.00–2.00)"]
    assert cells(text, "3,200") == ["3,200", "1.00 (1.00–1.00)", "–"]


def test_what_was_not_measured_is_a_dash() -> None:
    entry = RESULTS["stages"]["5"] | {"seconds": {"engine": [2.0]}}
    text = report.section(RESULTS | {"stages": {"1": entry}})
    assert cells(text, "1") == ["1", "–", "–", "–", "–", "–", "–"]


def test_the_hours_of_the_whole_study() -> None:
    entry = RESULTS["stages"]["5"] | {"seconds": {"engine-jobs": [36.0]}}
    stages = dict.fromkeys("1245678", entry)
    text = report.section(RESULTS | {"stages": stages})
    # Seven stages of 150 epochs and one of 15: 1,065 epochs of a hundredth of an hour.
    assert "side by side: 10.7 hours (stage 3 taken to cost what stage 4 does)." in text
    del stages["7"]
    assert "The whole study" not in report.section(RESULTS | {"stages": stages})


def test_the_tables_replace_what_is_between_the_markers_and_nothing_else(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n\n{report.BEGIN}\nold\n{report.END}\n\nafter\n")
    report.fill_readme(readme, RESULTS)
    once = readme.read_text()
    report.fill_readme(readme, RESULTS)
    assert readme.read_text() == once
    assert once.startswith(f"before\n\n{report.BEGIN}\n")
    assert once.endswith(f"\n{report.END}\n\nafter\n")
    assert report.section(RESULTS) in once
    assert "old" not in once

    readme.write_text("no markers")
    with pytest.raises(StudyError, match=r"README\.md: no place for the tables"):
        report.fill_readme(readme, RESULTS)
    assert readme.read_text() == "no markers"


def test_the_readme_of_the_project_has_a_place_for_the_tables() -> None:
    assert "TABLES" in report.fill((report.FOLDER / "README.md").read_text(), "TABLES")


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"format": 1, "machine": 3}', '{"format":2}']
)
def test_results_that_are_not_results_are_an_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "speed.json"
    path.write_text(content)
    with pytest.raises(StudyError, match="delete it and measure again"):
        report.read_results(path)


def test_the_report_shows_what_was_measured_or_that_nothing_was(tmp_path: Path) -> None:
    path = tmp_path / "speed.json"
    for shown in (measured.table(path), measured.growth(path)[0]):
        assert f"{path}: nothing was measured yet; run: make bench" in shown.data
    path.write_text(json.dumps(RESULTS))
    assert cells(measured.table(path).data, "5")[1] == "2.00 (1.50–\N{WORD JOINER}2.00)"
    by_stage, by_pictures = (chart.figure.axes[0] for chart in measured.growth(path))
    points = {tuple(line.get_xydata()[0]) for line in by_stage.lines}
    assert points == {(20.83456, 7.5), (20.83456, 4.5)}
    assert by_pictures.lines[0].get_xydata().tolist() == [[1600, 0.5], [3200, 1.0]]


def test_results_of_another_machine_are_not_mixed(tmp_path: Path) -> None:
    path = tmp_path / "speed.json"
    path.write_text(json.dumps(RESULTS))
    same, other = RESULTS["machine"], RESULTS["machine"] | {"torch": "9.9"}
    assert speed._earlier(path, same)["stages"] == RESULTS["stages"]
    assert speed._earlier(path, other) == {"format": 1, "machine": other}


# --- the command ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--repeats", "0"], "--repeats 0: give 1 or more"),
        (["--images", "60000"], "give 5 to 50,000 pictures"),
        (["--keras-python", "/no/python"], "--keras-python /no/python: no such file"),
    ],
)
def test_a_wrong_option_is_one_line_and_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    output = ["--output", str(tmp_path / "speed.json")]
    assert speed.main(["--data", "synthetic", *arguments, *output]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error


@pytest.mark.long
def test_a_tiny_run_measures_writes_and_shows(tmp_path: Path) -> None:
    output, readme = tmp_path / "speed.json", tmp_path / "README.md"
    readme.write_text(f"{report.BEGIN}\n{report.END}\n")
    names = ("plain", "engine", "engine-jobs", "convolutions", "floor")
    command = [sys.executable, "-m", "benchmarks.speed", "--images", "128", "--repeats", "1"]
    command += [
        "--data",
        "synthetic",
        "--output",
        str(output),
        "--readme",
        str(readme),
        "--jobs",
        "2",
    ]

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [*command, *arguments], cwd=PROJECT, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        assert "min left" in done.stderr
        return done.stdout

    shown = run("--stages", "1", "--contenders", *names)
    seconds = json.loads(output.read_text())["stages"]["1"]["seconds"]
    assert set(seconds) == set(names)
    assert all(len(values) == 1 and values[0] > 0 for values in seconds.values())
    assert seconds["engine"][0] > seconds["floor"][0]
    assert shown.strip() in readme.read_text()

    run("--stages", "1", "--scaling", "--sizes", "64", "128")
    results = json.loads(output.read_text())
    assert results["stages"]["1"]["seconds"] == seconds  # kept beside what was added
    assert set(results["scaling"]["sizes"]["1"]) == {"64", "128"}
    assert set(results["scaling"]["stages"]["1"]) == {"macs", "engine", "engine-jobs"}
    assert "How the cost grows" in readme.read_text()
