"""The benchmarks: whole epochs are timed and kept, and the peer trains what the study trains."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import epochs
from benchmarks.plain_loop import PlainLoop
from cifar_study import data
from cifar_study.stages import STAGES
from cifar_study.training.model import build_model

SMALL = data.synthetic(100, 20)


def test_epochs_are_timed_once_a_day(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(data, "synthetic", lambda: SMALL)
    output = tmp_path / "times.json"
    words = ["--data", "synthetic", "--output", str(output), "--stages", "9"]
    threads = torch.get_num_threads()
    assert epochs.main(words) == 0
    times = json.loads(output.read_text())
    assert len(times["seconds"]["9"]) == 3
    assert all(seconds > 0 for seconds in times["seconds"]["9"])

    assert epochs.main([*words, "1"]) == 0  # goes on where it was stopped
    after = json.loads(output.read_text())["seconds"]
    assert after["9"] == times["seconds"]["9"]
    assert after.keys() == {"1", "9"}
    output.write_text(json.dumps(times | {"date": "2020-01-01"}))
    assert epochs.main([*words[:-1], "1"]) == 0
    assert json.loads(output.read_text())["seconds"].keys() == {"1"}
    output.write_text("{")
    assert epochs.main(words) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("move it away and measure again")
    torch.set_num_threads(threads)


@pytest.mark.parametrize("number", [3, 6, 8])
def test_the_plain_loop_has_the_network_of_the_study_in_torchs_own_layers(number: int) -> None:
    study = build_model(STAGES[number].network).eval()
    plain = PlainLoop(STAGES[number], SMALL).model.eval()
    pictures = torch.randint(0, 256, (3, 3, 32, 32), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        torch.testing.assert_close(plain(pictures / 255), study(pictures.to(torch.uint8)))
    assert {type(layer).__module__.split(".")[0] for layer in plain.modules()} == {"torch"}
