"""The committed histories against a loop that has nothing of the engine, epoch by epoch."""

from pathlib import Path

import pandas as pd
import pytest
from command import PROJECT, needs_bfloat16
from plain_loop import train
from scipy.stats import t

from cifar_study.data import Dataset

# What plain_loop.py gave: three seeds a stage, the first epochs.
ROWS = pd.read_csv(Path(__file__).parent / "plain_loop.csv")
COLUMNS = ["running_loss", "running_accuracy", "test_loss", "test_accuracy"]


@pytest.mark.parametrize("stage", [1, 4, 6])
def test_first_epochs_are_within_the_spread_of_an_independent_loops_seeds(stage: int) -> None:
    """Each value lies in the 99% interval for one more draw of its mean and deviation."""
    loop = ROWS[ROWS["stage"] == stage].groupby("epoch")[COLUMNS]
    mean, deviation, seeds = loop.mean(), loop.std(), loop.size().min()
    assert seeds >= 3
    width = t.ppf(0.995, seeds - 1) * (1 + 1 / seeds) ** 0.5 * deviation
    assert set(ROWS["precision"]) == {"bfloat16"}  # as that of the results
    for seed in range(3):
        path = PROJECT / f"cache/stage-{stage}/seed-{seed}/history.csv"
        apart = (pd.read_csv(path).set_index("epoch").loc[mean.index, COLUMNS] - mean).abs()
        assert (apart <= width).all(axis=None), (seed, apart, width)


@pytest.mark.long
@pytest.mark.real_data
@needs_bfloat16
def test_the_loops_rows_are_what_it_gives(real_data: Dataset) -> None:
    pictures = [real_data.train_images, real_data.test_images]
    labels = [real_data.train_labels, real_data.test_labels]
    kept = ROWS[ROWS["stage"] == 1].iloc[0]
    row = next(train(1, int(kept["seed"]), pictures, labels, kept["precision"]))
    # Another processor rounds its sums elsewhere.
    assert row == pytest.approx(kept[COLUMNS].to_dict(), abs=0.01)
