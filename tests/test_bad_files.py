"""However a file is damaged: the right numbers, or one line that says what is wrong.

Damaged files are copies of those of a run that was trained here, and of a small data set.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import struct
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from command import obey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from IPython.display import Markdown
from layouts_on_disk import (
    pass_for_cifar10,
    pass_for_original,
    pickle_as_python2,
    png,
    write_batches,
    write_parquet,
    write_table,
)
from runs import drawn, of_epochs

from cifar_study import datasets, illustrations
from cifar_study.atomic import read_json, write_json
from cifar_study.datasets import dataset
from cifar_study.datasets.dataset import DECODED
from cifar_study.datasets.formats import decode
from cifar_study.errors import StudyError
from cifar_study.report import benchmark, comparison, demo, growth, pictures, study, tables
from cifar_study.results import speed, store
from cifar_study.results.run import Run
from cifar_study.results.status import status
from cifar_study.stages import STAGES
from cifar_study.train import main
from cifar_study.training import trainer

# --- data sets ------------------------------------------------------------------------------------


def small() -> datasets.Dataset:
    return datasets.synthetic(train=60, test=20)


def png_that_claims(width: int, height: int, *more: tuple[bytes, bytes]) -> bytes:
    """A PNG whose header has that size, with little in it."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )  # fmt: skip

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), *more, (b"IDAT", zlib.compress(b"\0" * 100_000)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in chunks)


@pytest.mark.parametrize(
    "picture",
    [
        png_that_claims(60_000, 60_000),
        png_that_claims(2**31 - 1, 2**31 - 1),
        png_that_claims(10_000, 9_500),
        png_that_claims(32, 2**24),
        png_that_claims(0, 0),
        png_that_claims(32, 32, (b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 200_000_000))),
    ],
    ids=["60,000", "2^31", "9,500", "tall", "nothing", "long text"],
)
def test_a_picture_that_claims_much_is_not_decoded(picture: bytes, tmp_path: Path) -> None:
    path = tmp_path / "train-0.parquet"
    write_table(path, [picture], [0])
    write_table(tmp_path / "test-0.parquet", [png(small().test_images[0])], [0])
    began = time.process_time()
    with pytest.raises(StudyError) as caught:
        decode(tmp_path)
    assert time.process_time() - began < 5
    assert str(caught.value).startswith(f"{path}: the picture in row 0 is damaged")


GOOD = {"bytes": png(small().train_images[0]), "path": None}


@pytest.mark.parametrize(
    "columns",
    [
        {"img": [GOOD], "label": [[0, 1]]},
        {"img": [GOOD], "label": [[[0]]]},
        {"img": [GOOD], "label": ["0"]},
        {"img": [GOOD], "label": [b"0"]},
        {"img": [GOOD], "label": [0.5]},
        {"img": [GOOD], "label": [None]},
        {"img": [GOOD], "label": [{"a": 1}]},
        {"img": [GOOD]},
        {"label": [0]},
        {"img": [[GOOD]], "label": [0]},
        {"img": [{"bytes": "text", "path": None}], "label": [0]},
        {"img": [{"bytes": None, "path": "x"}], "label": [0]},
        {"img": [{"path": "x"}], "label": [0]},
        {"img": [None], "label": [0]},
        {"img": [GOOD] * 2, "label": [0, 2**40]},
        {"img": [], "label": []},
        {"img": [GOOD], "label": pyarrow.array([0], pyarrow.timestamp("s"))},
        {"img": [GOOD], "label": pyarrow.array(["0"]).dictionary_encode()},
    ],
)
def test_tables_of_something_else(columns: dict, tmp_path: Path) -> None:
    for name in ("train-0.parquet", "test-0.parquet"):
        pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / name)
    with pytest.raises(StudyError) as caught:
        datasets.load_folder(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_table_that_claims_too_much_is_not_read(tmp_path: Path) -> None:
    rows = pyarrow.table({"img": pyarrow.nulls(200_000), "label": np.zeros(200_000, np.int8)})
    for name in ("train-0.parquet", "test-0.parquet"):
        pyarrow.parquet.write_table(rows, tmp_path / name)
    with pytest.raises(StudyError, match="claims 200,000 pictures"):
        decode(tmp_path)


MISSING = "missing"
LABELS = [
    *([[0], [1]], ["0", "1"], [b"0", b"1"], [0.0, 1.0], None, "01", {}, [0], [0, 1, 2], [0, None]),
    *([True, False], [0, 2**70], [0, -1], [0, 10], np.zeros((2, 1)), [[[0]], 1], (0, 1), MISSING),
]
PIXELS = [
    *(None, [0] * 3072, b"\0" * 6144, np.zeros((2, 3071), np.uint8), np.zeros((2, 3072))),
    *(np.zeros(0, np.uint8), np.zeros((3, 3072), np.uint8), np.array([None] * 6144)),
]
SOUND = np.zeros((2, 3072), np.uint8)


@pytest.mark.parametrize(
    "content",
    [{"data": SOUND, "labels": labels} for labels in LABELS if labels is not MISSING]
    + [{"data": pixels, "labels": [0, 1]} for pixels in PIXELS]
    + [{"data": SOUND}, {"labels": [0, 1]}, [], None, "text"],
    ids=lambda content: repr(content)[:60],
)
@pytest.mark.parametrize("name", ["data_batch_2", "batches.meta"])
def test_batches_of_something_else(
    name: str, content: object, batches: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pass_for_original(monkeypatch, batches)
    folder = shutil.copytree(batches, tmp_path / "source")
    path = folder / "cifar-10-batches-py" / name
    path.write_bytes(pickle_as_python2(content))
    with pytest.raises(StudyError) as caught:
        decode(folder)
    assert str(caught.value).startswith(f"{path.parent}: ")
    assert len(str(caught.value).splitlines()) == 1


def calls(module: str, name: str, argument: str) -> bytes:
    """A pickle that calls a function with one string, written by hand, opcode by opcode."""
    return f"c{module}\n{name}\n(V{argument}\ntR.".encode()


HOSTILE = [
    *(("os", "mkdir"), ("posix", "mkdir"), ("os", "system"), ("subprocess", "getoutput")),
    *(("builtins", "eval"), ("builtins", "exec"), ("__builtin__", "eval")),
    *(("builtins", "getattr"), ("builtins", "open"), ("importlib", "import_module")),
    *(("numpy", "load"), ("numpy", "fromfile"), ("numpy.core.multiarray", "fromfile")),
    *(("numpy", "memmap"), ("numpy.testing", "runstring"), ("pickle", "loads")),
    *(("codecs", "open"), ("_codecs", "register"), ("numpy.dtype", "__reduce__")),
    *(("nt", "mkdir"), ("shutil", "rmtree"), ("pathlib", "Path"), ("pty", "spawn")),
]


@pytest.mark.parametrize(
    "where", ["data_batch_1", "data_batch_5", "test_batch", "batches.meta", DECODED]
)
@pytest.mark.parametrize(("module", "name"), HOSTILE)
def test_a_hostile_file_runs_nothing(
    module: str,
    name: str,
    where: str,
    batches: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In place of a batch among others that are as they should be, or of the decoded set."""
    pass_for_original(monkeypatch, batches)
    folder = shutil.copytree(batches, tmp_path / "source")
    target = tmp_path / "harmed"
    argument = f"__import__('os').mkdir({str(target)!r})" if name in ("eval", "exec") else target
    if name in ("system", "getoutput"):
        argument = f"mkdir {target}"
    path = folder / where if where == DECODED else folder / "cifar-10-batches-py" / where
    path.write_bytes(calls(module, name, str(argument)))
    unpickled = []

    def unpickle(file: object, *_: object, **__: object) -> object:
        unpickled.append(Path(file.name).name)
        return real(file, encoding="latin1")

    real = pickle.load
    monkeypatch.setattr(pickle, "load", unpickle)
    with pytest.raises(StudyError):  # the drawn pictures are not those of CIFAR-10
        datasets.load_folder(folder)
    assert not target.exists()
    assert where not in unpickled


def test_that_attack_works_on_whoever_unpickles(tmp_path: Path) -> None:
    assert pickle.loads(calls("builtins", "eval", "6 * 7")) == 42
    pickle.loads(calls("os", "mkdir", str(tmp_path / "harmed")))
    assert (tmp_path / "harmed").exists()


@pytest.fixture(scope="module")
def batches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_batches(tmp_path_factory.mktemp("batches"), small())


# --- damaged files --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Damage:
    """One way to harm a file; ``place`` and ``size`` are shares of its length."""

    kind: str
    place: float
    size: float
    seed: int

    def apply(self, path: Path) -> None:
        whole = path.read_bytes()
        at = int(self.place * len(whole))
        some = np.random.RandomState(self.seed)
        path.unlink()
        if self.kind == "folder":
            path.mkdir()
        elif self.kind == "gone":
            return
        elif self.kind == "loop":
            path.symlink_to(path.name)
        else:
            path.write_bytes(self._content(whole, at, some))

    def _content(self, whole: bytes, at: int, some: np.random.RandomState) -> bytes:
        if self.kind == "empty":
            return b""
        if self.kind == "cut":
            return whole[:at]
        if self.kind == "longer":
            return whole + some.bytes(1 + int(self.size * 100))
        if self.kind == "flip":
            return whole[:at] + bytes([whole[at] ^ (1 << some.randint(8))]) + whole[at + 1 :]
        if self.kind == "overwrite":
            count = 1 + int(self.size * 64)
            return whole[:at] + some.bytes(count) + whole[at + count :]
        if self.kind == "zeros":
            count = 1 + int(self.size * len(whole))
            return whole[:at] + b"\0" * len(whole[at : at + count]) + whole[at + count :]
        if self.kind == "other":
            return [b"{}", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b"{" * 9][some.randint(6)]
        digits = [index for index, sign in enumerate(whole) if 48 <= sign < 58]
        if not digits:
            return whole[:-1]
        chosen = digits[int(self.place * len(digits))]
        changed = 48 + (whole[chosen] - 48 + 1 + some.randint(9)) % 10
        return whole[:chosen] + bytes([changed]) + whole[chosen + 1 :]


KINDS = (
    *("digit", "flip", "cut", "overwrite", "zeros", "longer", "other"),
    *("empty", "folder", "gone", "loop"),
)
DAMAGE = st.builds(
    Damage,
    st.sampled_from(KINDS),
    st.floats(0, 1, exclude_max=True),
    st.floats(0, 1),
    st.integers(0, 2**32 - 1),
)
EACH = settings(
    max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


ROOTS = {1: Path("cache/whole"), 2: Path("cache/half")}  # by the epochs that are planned


def planned_run(epochs: int) -> Run:
    stage = of_epochs(STAGES[1], epochs)
    return Run(stage, limit=64, data="synthetic", root=ROOTS[epochs])


@pytest.fixture(scope="module")
def study_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a complete run, one that stopped half way, and what else is read."""
    folder = tmp_path_factory.mktemp("study")

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        data, one_core = drawn(), trainer.Hardware("cpu", threads=1)
        assert list(trainer.train(planned_run(1), data, one_core))[-1] is True
        news = trainer.train(planned_run(2), data, one_core)
        next(event for event in news if event.row)
        news.close()
        machine = {"processor": "a chip", "precision": "float32", "torch": "9"}
        stages = {"1": {"macs": 369_440, "seconds": {"engine": [12.3, 11.1, 14.5]}}}
        measured = {"format": speed.FORMAT, "machine": machine, "stages": stages, "scaling": {}}
        write_json(Path("cache/speed-a-chip.json"), measured)
        history = store.read_result(planned_run(1).folder).record["files"][store.HISTORY]
        write_json(Path("figures/drawn.json"), {"8": history})
        write_json(Path("figures/mechanism-3.json"), {"of": history, "values": {"a": [0.208]}})
        answer = {"class": "cat", "probabilities": [0.208, 0.792] + [0.0] * 8}
        write_json(Path("figures/photo.json"), {"of": history, "values": {"cat.jpg": answer}})
        widths = {"square": {"24": 0.208}, "flattened": {"24": 0.3}}
        sizes = {"of": history, "values": {"widths": widths}}
        write_json(Path("figures/sizes.json"), sizes)
        write_parquet(Path("parquet"), small())
        write_batches(Path("batches"), small())
        pass_for_cifar10(patch, small())
        datasets.load_folder(write_parquet(Path("decoded"), small()))
    return folder


def harmed(study_folder: Path, name: str, damage: Damage, target: Path) -> None:
    """A copy of the folder that holds the file, with the file harmed; into the working folder."""
    top = name.split("/")[0]
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(study_folder / top, target / top)
    damage.apply(target / name)
    if top == "figures":  # is read beside the run that it was drawn from
        shutil.copytree(study_folder / "cache", target / "cache")


def numbers_of(run: Run) -> dict[str, bytes]:
    """All that the report can show of a run."""
    result = store.read_result(run.folder, whole=True)
    if result is None:
        return {}
    probabilities, labels = result.predictions()
    return {
        "history": result.history.to_csv().encode(),
        "record": repr(sorted(result.record.items(), key=str)).encode(),
        "predictions": probabilities.tobytes() + labels.tobytes(),
        **{name: array.tobytes() for name, array in result.model().items()},
    }


def same_or_said(read: Callable[[], object], expected: object) -> None:
    """What is read is what was written, or an error of one line; nothing at all is told apart."""
    try:
        found = read()
    except StudyError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert found in (expected, {}, None)


def said_by(path: Path) -> object:
    """What a file holds; of JSON the value, as another kind of white space says the same."""
    try:
        content = path.read_bytes()
        return json.loads(content) if path.suffix == ".json" else content
    except (OSError, ValueError, RecursionError):
        return None


FILES = [
    (epochs, name)
    for epochs in (1, 2)
    for name in (store.RECORD, store.HISTORY, store.MODEL, store.PREDICTIONS)
] + [(2, store.checkpoint_name(1))]


@pytest.mark.parametrize(("epochs", "name"), FILES)
def test_a_damaged_file_of_a_run(
    epochs: int, name: str, study_folder: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    """The report's readers and --status: unchanged numbers, or a line; 9 files."""
    run = planned_run(epochs)
    monkeypatch.chdir(study_folder)
    whole = numbers_of(run)
    assert len(whole) > 5
    monkeypatch.setattr(store, "SETTLED", -1)  # nobody is writing: read once
    asked = f"--status --stage 1 --data synthetic --limit 64 --epochs {epochs}".split()
    asked += ["--cache", str(run.root)]

    @EACH
    @given(DAMAGE)
    def check(damage: Damage) -> None:
        monkeypatch.chdir(tmp_path)
        harmed(study_folder, f"{run.folder}/{name}", damage, tmp_path / "copy")
        monkeypatch.chdir(tmp_path / "copy")
        same_or_said(lambda: numbers_of(run), whole)
        changed = said_by(run.folder / name) != said_by(study_folder / run.folder / name)
        assert main(asked) == 2 or not changed or name == store.MODEL or damage.kind == "gone"
        said = capsys.readouterr()
        assert said.err == ""
        assert len(said.out.splitlines()) == 2

    check()


@pytest.mark.parametrize(("epochs", "name"), FILES)
def test_a_damaged_file_does_not_fail_the_trainer(
    epochs: int, name: str, study_folder: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    """The trainer goes on from what is whole, or says in a line what is not."""
    monkeypatch.setattr(store, "SETTLED", -1)
    shapes = drawn()
    monkeypatch.setattr(datasets, "synthetic", lambda: shapes)
    run = planned_run(epochs)
    asked = f"--stage 1 --data synthetic --limit 64 --epochs {epochs} --device cpu --jobs 1"
    asked += f" --cache {run.root}"
    monkeypatch.chdir(tmp_path)
    codes = set()

    @settings(EACH, max_examples=12)
    @given(DAMAGE)
    def check(damage: Damage) -> None:
        monkeypatch.chdir(tmp_path)
        harmed(study_folder, f"{run.folder}/{name}", damage, tmp_path / "copy")
        monkeypatch.chdir(tmp_path / "copy")
        code, _ = obey(capsys, *asked.split())
        codes.add(code)
        assert code == 2 or status(run).state == "complete"

    check()
    if epochs == 2 and name == store.HISTORY:  # a run under way goes on from its checkpoint
        assert 0 in codes  # all but a folder in a file's place is written again


def test_damaged_times(study_folder: Path, tmp_path: Path, monkeypatch) -> None:
    name = "cache/speed-a-chip.json"

    def read() -> object:
        return speed.read_speeds(Path("cache"))

    monkeypatch.chdir(study_folder)
    monkeypatch.setattr(study, "PROJECT", study_folder)
    whole = read()
    assert whole == comparison.sittings()

    @EACH
    @given(DAMAGE)
    def check(damage: Damage) -> None:
        monkeypatch.chdir(tmp_path)
        harmed(study_folder, name, damage, tmp_path / "copy")
        monkeypatch.chdir(tmp_path / "copy")
        monkeypatch.setattr(study, "PROJECT", tmp_path / "copy")
        if Path(name).exists():
            same_or_said(read, whole)
        assert comparison.sittings() in (whole, [])
        benchmark.table(), benchmark.times(), benchmark.measured_on(), benchmark.growth()
        assert ("speed-a-chip.json" in tables.incomplete_note(1).data) == fails(read)

    check()


def fails(read: Callable[[], object]) -> bool:
    try:
        read()
    except StudyError:
        return True
    return False


@pytest.mark.parametrize("name", ["drawn.json", "photo.json", "sizes.json", "mechanism-3.json"])
def test_damaged_numbers_beside_the_pictures(
    name: str, study_folder: Path, tmp_path: Path, monkeypatch
) -> None:
    result = store.read_result(study_folder / planned_run(1).folder)
    monkeypatch.setattr(pictures, "replicates", lambda _number: SimpleNamespace(first=result))

    def shown() -> tuple[dict, ...]:
        try:
            inside = pictures.mechanism(3)
        except study.AbsentError:
            inside = {}
        return pictures.photos().to_dict("index"), pictures.size_accuracies(), inside

    monkeypatch.chdir(study_folder)
    monkeypatch.setattr(study, "PROJECT", study_folder)
    whole = shown()
    assert all(whole)

    @EACH
    @given(DAMAGE)
    def check(damage: Damage) -> None:
        monkeypatch.chdir(tmp_path)
        harmed(study_folder, f"figures/{name}", damage, tmp_path / "copy")
        monkeypatch.chdir(tmp_path / "copy")
        monkeypatch.setattr(study, "PROJECT", tmp_path / "copy")
        for found, expected in zip(shown(), whole, strict=True):
            assert found in (expected, {})
        lines = pictures.damage()
        assert all(len(line.splitlines()) == 1 for line in lines)
        if not Path("figures", name).exists():
            return
        # Another kind of white space says the same.
        here = Path("figures", name)
        assert bool(lines) == (said_by(here) != said_by(study_folder / here))

    check()


def test_a_file_under_another_name(study_folder: Path, tmp_path: Path) -> None:
    """Whole, and not what its name says."""
    for name in ("sizes", "photo", "drawn", "mechanism-3"):
        for other in ("photo", "mechanism-4", "speed-a-chip"):
            if other != name:
                shutil.copy(study_folder / f"figures/{name}.json", tmp_path / f"{other}.json")
                with pytest.raises(StudyError, match=rf"is {name}\.json under another name; again"):
                    read_json(tmp_path / f"{other}.json", "again")


@pytest.fixture
def figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The committed results, with a copy of the pictures and models that may be harmed."""
    for name in ("figures", "cache/stage-8"):
        shutil.copytree(study.PROJECT / name, tmp_path / name)
    (tmp_path / "chapters").symlink_to(study.PROJECT / "chapters")
    monkeypatch.setattr(study, "PROJECT", tmp_path)
    return tmp_path / "figures"


@pytest.mark.parametrize("kind", ["cut", "empty", "folder", "other"])
def test_a_damaged_picture_leaves_a_note_in_its_place(kind: str, figures: Path) -> None:
    harm = Damage(kind, 0.5, 0.5, 0)
    shown: dict[str, Callable[[], object]] = {
        "photo.svg": lambda: pictures.saved("photo", 8),
        "shown.png": growth.answers,
    }
    for name, show in shown.items():
        assert not isinstance(show(), Markdown)
        harm.apply(figures / name)
        assert show().data.startswith(f"*{figures / name}: unreadable (")
        assert show().data.endswith("train --figures*")


def test_a_model_or_a_sample_that_is_missing_leaves_a_note(figures: Path) -> None:
    (figures / "sample-cat.jpg").unlink()
    assert "sample-cat.jpg: " in demo.photo(8).data
    model = figures.parent / "cache" / "stage-8" / "seed-0" / store.MODEL
    model.unlink()
    for show in (demo.photo, tables.saved_parameters):
        assert show(8).data.startswith(f"*{model}: missing; restore it from git")


def test_what_cannot_be_drawn_is_said_and_the_rest_is_drawn(
    study_folder: Path, tmp_path: Path, monkeypatch
) -> None:
    """A folder in the place of drawn.json, and a run without its predictions."""
    monkeypatch.chdir(shutil.copytree(study_folder, tmp_path / "copy"))
    monkeypatch.setattr(store, "SETTLED", -1)
    drawn_runs = []

    def draw(run: Run, *_: object) -> None:
        drawn_runs.append(run)
        write_json(Path("figures/drawn.json"), {})

    monkeypatch.setattr(illustrations, "draw_run", draw)
    monkeypatch.setattr(illustrations, "draw_data", lambda *_: None)
    whole, half = planned_run(1), planned_run(2)
    (half.folder / store.PREDICTIONS).unlink()
    Damage("folder", 0, 0, 0).apply(Path("figures/drawn.json"))
    for anew in (True, False):
        said = list(illustrations.draw([half, whole, whole], drawn(), Path("figures"), anew))
        assert drawn_runs == [whole, whole]
        drawn_runs.clear()
        in_the_way = [line for line in said if "a folder is in its place" in line]
        assert len(in_the_way) == 2
    assert Path("figures/result.png").exists()


TRAIN_FILE = "train-00000-of-00001.parquet"


@pytest.mark.parametrize(
    "name",
    [
        *(f"parquet/{TRAIN_FILE}", "parquet/test-00000-of-00001.parquet"),
        *("batches/cifar-10-batches-py/data_batch_1", "batches/cifar-10-batches-py/test_batch"),
        *(f"decoded/{DECODED}", f"decoded/{TRAIN_FILE}"),
    ],
)
def test_a_damaged_data_set(name: str, study_folder: Path, tmp_path: Path, monkeypatch) -> None:
    """It is CIFAR-10, byte by byte, or it is refused."""
    pass_for_cifar10(monkeypatch, small())
    pass_for_original(monkeypatch, study_folder / "batches")

    @EACH
    @given(DAMAGE)
    def check(damage: Damage) -> None:
        monkeypatch.chdir(tmp_path)
        harmed(study_folder, name, damage, tmp_path / "copy")
        monkeypatch.chdir(tmp_path / "copy")
        folder = Path(name.split("/")[0])
        try:
            data = datasets.load_folder(folder)
        except StudyError as error:
            assert len(str(error).splitlines()) == 1
            assert str(folder) in str(error)
        else:
            assert data.fingerprint == dataset.FINGERPRINT
            rows = np.hstack([data.test_labels[:, None], data.test_images.reshape(20, -1)])
            assert hashlib.sha256(rows).hexdigest() == whole

    data = datasets.load_folder(shutil.copytree(study_folder / "parquet", tmp_path / "whole"))
    rows = np.hstack([data.test_labels[:, None], data.test_images.reshape(20, -1)])
    whole = hashlib.sha256(rows).hexdigest()
    check()
