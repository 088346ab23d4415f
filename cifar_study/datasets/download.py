"""Getting CIFAR-10: the Hugging Face copy, else the original archive."""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from cifar_study.atomic import writing
from cifar_study.datasets.dataset import load_folder
from cifar_study.errors import StudyError, reason

REPOSITORY = "uoft-cs/cifar10"
PARQUET = ("plain_text/train-00000-of-00001.parquet", "plain_text/test-00000-of-00001.parquet")


def from_hugging_face(folder: Path) -> None:
    """The parquet files of uoft-cs/cifar10, 144 MB, into ``folder``."""
    from huggingface_hub import hf_hub_download

    for name in PARQUET:
        path = hf_hub_download(REPOSITORY, name, repo_type="dataset", local_dir=folder)
        os.replace(path, folder / Path(name).name)
    shutil.rmtree(folder / "plain_text", ignore_errors=True)
    shutil.rmtree(folder / ".cache", ignore_errors=True)


def from_original(folder: Path) -> None:
    """The original archive, 170 MB, its checksum verified by torchvision, into ``folder``."""
    from torchvision.datasets import CIFAR10

    CIFAR10(folder, download=True)
    (folder / CIFAR10.filename).unlink(missing_ok=True)


# The original host has served at 55–80 kB/s since June 2026 (pytorch/vision issue 9536).
SOURCES: dict[str, Callable[[Path], None]] = {
    f"Hugging Face ({REPOSITORY})": from_hugging_face,
    "the original host (slow since June 2026: up to an hour)": from_original,
}


def download(folder: Path, sources: dict[str, Callable[[Path], None]] = SOURCES) -> None:
    """Fill ``folder`` with CIFAR-10 from the first source that serves it, checked.

    The files arrive in a folder of their own and are moved once they proved
    to be the whole data set, so a broken-off download leaves nothing that
    looks complete. Raises :class:`StudyError` where no source serves.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    reasons = []
    for name, source in sources.items():
        with (
            writing(folder),
            tempfile.TemporaryDirectory(dir=folder, prefix=".incoming-") as incoming,
        ):
            print(f"downloading CIFAR-10 from {name} into {folder}/", file=sys.stderr)
            try:
                source(Path(incoming))
                load_folder(Path(incoming))
            # Whatever a network and two libraries can raise: the next source may serve.
            except Exception as error:
                reasons.append(f"{name}: {reason(error)}")
                print(f"  no luck: {reasons[-1]}", file=sys.stderr)
                continue
            for path in Path(incoming).iterdir():
                target = folder / path.name
                if target.is_dir():
                    shutil.rmtree(target)
                os.replace(path, target)
            return
    raise StudyError(
        f"CIFAR-10 could not be downloaded ({'; '.join(reasons)}); put it into {folder}/ by hand, "
        "set CIFAR_STUDY_DATA to a folder that has it, or try --data synthetic"
    )
