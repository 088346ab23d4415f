"""What is measured of trained networks: by hand, again on the real data, and of any entry."""

import shutil
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import PROJECT
from PIL import Image
from results_on_disk import leave
from torch import nn

from cifar_study import stages
from cifar_study.data import Dataset, synthetic
from cifar_study.errors import StudyError
from cifar_study.runs import MEASURED, Run, read
from cifar_study.stages import CLASSES, MEASURES, STAGES, Block, Network, Stage
from cifar_study.training import measure
from cifar_study.training.measure import as_batch, probabilities
from cifar_study.training.model import Rescale, build_model

PHOTOS = PROJECT / "figures" / "photos"
NUMBERS = [number for number, stage in STAGES.items() if stage.measures]
BLOCKS = Block(4, batch_norm=True, dropout=0.5), Block(6, pool="global")
ANY = Stage(21, "measured in every way", Network(BLOCKS, input_size=None), measures=MEASURES)


@pytest.fixture(scope="module")
def drawn() -> Dataset:
    torch.set_num_threads(1)
    return synthetic(train=100, test=60)


def of_study(number: int, root: Path = PROJECT / "cache") -> Run:
    return Run(number, root=root)


@pytest.mark.real_data
@pytest.mark.parametrize(
    "number", [n if n in (1, 7) else pytest.param(n, marks=pytest.mark.long) for n in NUMBERS]
)
def test_measuring_anew_gives_what_is_committed(
    number: int, real_data: Dataset, tmp_path: Path
) -> None:
    old = of_study(number)
    run = of_study(number, tmp_path)
    shutil.copytree(old.folder, run.folder, ignore=shutil.ignore_patterns(MEASURED))
    measure.measure(run, real_data)
    assert_same(read(run).measured(), read(old).measured())


def assert_same(new: Any, old: Any, name: str = "") -> None:
    """Equal, up to what another processor's rounding does; a count of pictures by three."""
    if isinstance(old, dict):
        assert new.keys() == old.keys(), name
        for key in old:
            assert_same(new[key], old[key], f"{name}/{key}")
    elif isinstance(old, list):
        assert len(new) == len(old), name
        for one, other in zip(new, old, strict=True):
            assert_same(one, other, name)
    elif isinstance(old, str):
        values, others = (np.frombuffer(bytes.fromhex(text), np.uint8) for text in (new, old))
        assert np.abs(values.astype(int) - others).max() <= 1, name
    elif "/shapes/" in name:
        assert abs(new - old) <= 3, name
    else:
        assert new == pytest.approx(old, rel=1e-3, abs=1e-3 if "/photos/" in name else 1e-4), name


def test_photos_are_answered_as_committed() -> None:
    torch.set_num_threads(1)
    run = of_study(8)
    assert_same(measure.photos(run, None), read(run).measured()["photos"], "/photos/")


def test_a_new_entry_is_measured_on_drawn_pictures_and_narrower(
    drawn: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(stages.STAGES, ANY.number, ANY)
    trial = {"epochs": 1, "width": 0.5, "data": "synthetic"}
    model = build_model(Run(ANY.number, **trial).stage.network).eval()
    run = leave(
        tmp_path,
        ANY.number,
        0,
        [0.1],
        probabilities=probabilities(model, drawn.test_images),
        labels=drawn.test_labels,
        model={name: values.numpy() for name, values in model.state_dict().items()},
        **trial,
    )
    measure.measure(run, drawn)
    values = read(run).measured()
    assert values.keys() == set(MEASURES)
    # Sixty pictures, as many of each class in turn: every tenth, and the network before training
    # is the network that is there.
    assert values["pictures"]["places"] == [0, 10, 20, 30, 40, 50]
    given, labels = read(run).predictions()
    before = np.array(values["pictures"]["before"])
    assert np.allclose(before, given[::10], atol=1e-3)
    right = values["shapes"]["32×32 as they are"]["right"]
    assert values["pictures"]["untrained"]["accuracy"] == pytest.approx(right / 60)
    wrong = values["errors"]["places"]
    assert len(wrong) == 12
    assert (given[wrong].argmax(1) != labels[wrong]).all()
    assert (np.diff(given[wrong].max(1)) <= 0).all()
    assert bytes.fromhex(values["errors"]["pixels"][3]) == drawn.test_images[wrong[3]].tobytes()
    blocks = values["maps"]["blocks"]
    assert [(block["of"], block["side"]) for block in blocks] == [(2, 16), (3, 1)]  # half as many
    for block in blocks:
        assert {len(bytes.fromhex(kept)) for kept in block["thinned"]} == {block["side"] ** 2}
        assert max(map(bytes.fromhex, block["maps"])) < bytes([measure.DROPPED])


def test_a_photo_of_ones_own_is_asked_about_upright_or_named(
    drawn: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "in_project", lambda _: tmp_path)
    (tmp_path / "sources.csv").write_text("file,class\nphone.jpg,cat\n")
    photo = Image.new("RGB", (40, 20))
    exif = photo.getexif()
    exif[0x0112] = 6  # the orientation: to be turned by a quarter
    photo.save(tmp_path / "phone.jpg", exif=exif)
    answer = measure.photos(of_study(8), drawn)["phone.jpg"]
    assert (answer["width"], answer["height"]) == (23, 45)  # 32 / √2 and 32 · √2
    (tmp_path / "phone.jpg").write_text("no photo")
    with pytest.raises(StudyError, match=r"phone.jpg: can't be read .*take its line out"):
        measure.photos(of_study(8), drawn)
    (tmp_path / "sources.csv").write_text("file,class\nphone.jpg,kitten\n")
    with pytest.raises(StudyError, match=r"\(the class of phone.jpg\); .* one of the ten$"):
        measure.photos(of_study(8), drawn)


def test_gradient_of_a_linear_network_is_the_one_of_the_textbook() -> None:
    """Of softmax regression: the mean of (probability - truth) times pixel."""
    data = synthetic(train=40, test=10)
    model = build_model(Network(blocks=()))
    measured = measure.gradient_sizes(model, data, batch_size=8, batches=1)
    chosen = np.random.RandomState(0).choice(40, 8, replace=False)
    pixels = data.train_images[chosen].transpose(0, 3, 1, 2).reshape(8, -1) / 255
    weights, bias = (model.dense.weight.detach().numpy(), model.dense.bias.detach().numpy())
    scores = np.exp(pixels @ weights.T + bias)
    given = scores / scores.sum(1, keepdims=True)
    given[np.arange(8), data.train_labels[chosen]] -= 1
    gradient = given.T @ pixels / 8
    assert measured == {"dense": pytest.approx(np.sqrt((gradient**2).mean()), rel=1e-4)}


def test_percentiles_are_of_what_reaches_the_activation() -> None:
    layers = OrderedDict(rescale=Rescale(), block1=nn.Sequential(OrderedDict(act1=nn.ReLU())))
    # 0 to 100 in the first channel and nowhere else: of 303 values, the 5th percentile is 0.
    image = np.zeros((1, 101, 1, 3), dtype=np.uint8)
    image[0, :, 0, 0] = np.arange(101)
    low, middle, high = measure.activation_inputs(nn.Sequential(layers), image)["block1.conv1"]
    assert (low, middle) == (0, 0)
    # The value at place 0.95 * 302 = 286.9 of the sorted ones, of which 203 are zeros.
    assert high == pytest.approx((286.9 - 203 + 1) / 255, abs=1e-4)


def test_a_mask_of_dropout_zeroes_and_scales_and_nothing_else(drawn: Dataset) -> None:
    model = build_model(Network(blocks=(Block(4, dropout=0.5),))).eval()
    [(plain, thin, gone)] = measure.block_outputs(model, drawn.test_images[0])
    assert plain.shape == (4, 16, 16)
    assert 0.4 < gone.mean() < 0.6
    assert (thin[gone] == 0).all()
    assert np.allclose(thin[~gone], 2 * plain[~gone])
    assert np.allclose(model[:2](as_batch(drawn.test_images[:1]))[0].detach(), plain)


def test_accuracy_and_loss_before_training_are_of_all_test_pictures(
    drawn: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a network that gives class 3 nine eighteenths and every other class one."""
    row = np.where(np.arange(10) == 3, 9, 1) / 18
    monkeypatch.setattr(measure, "probabilities", lambda _, images: np.tile(row, (len(images), 1)))
    data = replace(drawn, test_labels=np.array([3] * 45 + [0] * 15))
    untrained = measure.shown_pictures(of_study(1), data)["untrained"]
    assert untrained["accuracy"] == 0.75
    assert untrained["loss"] == pytest.approx((3 * np.log(2) + np.log(18)) / 4)


def test_the_convolution_that_is_kept_gives_the_outputs_that_are_kept() -> None:
    kept = read(of_study(1)).measured()["convolution"]
    patch, weights = np.array(kept["patch"]), np.array(kept["weights"])
    row, column = kept["place"]
    picture = np.frombuffer(bytes.fromhex(kept["picture"]), np.uint8).reshape(32, 32, 3)
    window = picture[row : row + 4, column : column + 4].transpose(2, 0, 1)
    assert np.allclose(patch, window / 255, atol=1e-6)
    for down, right in np.ndindex(2, 2):
        total = (patch[:, down : down + 3, right : right + 3] * weights).sum() + kept["bias"]
        assert total == pytest.approx(kept["outputs"][down][right], abs=1e-4)


def test_shapes_are_counted_against_the_unchanged_pictures(
    drawn: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a stub that names a picture by its height: 32 pixels class 0, 30 class 1, 28 class 2."""

    def by_height(_: object, pictures: np.ndarray) -> np.ndarray:
        middle = drawn.test_images[:5, 2:30] if pictures.shape[1:3] == (28, 32) else pictures
        assert np.array_equal(middle, pictures)  # what is cut
        return np.eye(10)[[{32: 0, 30: 1, 28: 2}[len(picture)] for picture in pictures]]

    monkeypatch.setattr(measure, "probabilities", by_height)
    few = replace(drawn, test_images=drawn.test_images[:5], test_labels=np.array([0, 0, 1, 1, 1]))
    counts = measure.shapes(of_study(8), few)
    assert list(counts) == [f"{width}×{height} {how}" for width, height, how in measure.SHAPES]
    unchanged = {"pictures": 5, "right": 2, "gained": 0, "lost": 0}
    assert counts["32×32 as they are"] == counts["28×32 scaled"] == unchanged
    assert counts["36×30 scaled"] == {"pictures": 5, "right": 3, "gained": 3, "lost": 2}
    assert counts["32×28 cut"] == {"pictures": 5, "right": 0, "gained": 0, "lost": 2}


def test_photos_are_free_credited_and_of_all_classes() -> None:
    sources = pd.read_csv(PHOTOS / "sources.csv", index_col="file")
    assert {path.name for path in PHOTOS.glob("*.jpg")} == set(sources.index)
    assert not sources.drop(columns=["origin", "large"]).isna().any(axis=None)
    assert set(sources["class"]) == set(CLASSES)
    assert sources.licence.str.match("CC0|CC BY|public domain|GPL-2").all()
