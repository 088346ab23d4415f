"""The options of the command line: what each does, and which values it takes."""

import argparse
import re
from dataclasses import replace
from pathlib import Path

from cifar_study.errors import Parser, StudyError
from cifar_study.runs import CACHE, VARIABLE, Run, cache, in_project, setting
from cifar_study.stages import PEERS, STAGES, Stage

DATA_VARIABLE = "CIFAR_STUDY_DATA"


def parser() -> Parser:
    """The options, with what each does."""
    parse = Parser(
        prog="python -m cifar_study.train",
        description="Train stages of the study from their last finished epoch.",
        epilog=f"Stages: {_named(STAGES)}. For scale, and not among all: {_named(PEERS)}.",
    )
    add = parse.add_argument
    add("--stage", nargs="+", action="extend", metavar="N", help="stages to train, or all")
    add("--status", action="store_true", help="show how far each stage is, and train nothing")
    add("--measure", action="store_true", help="measure anew what the report shows of a network")
    add(
        "--seeds", "--seed", type=seed_list, metavar="LIST", help="as 3, 0-4 or 0,2,5-7 (default 0)"
    )
    add("--epochs", type=positive, help="trial: train this many epochs instead of the stage's own")
    add("--limit", type=positive, metavar="K", help="trial: train on K pictures")
    add("--width", type=_fraction, default=1.0, metavar="W", help="trial: W times the filters")
    add("--data", help="synthetic, or a folder with CIFAR-10 (default data, filled by download)")
    add("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"))
    add("--precision", choices=("float32", "bfloat16"), help="default: bfloat16 where it is there")
    add("--jobs", type=positive, metavar="J", help="runs side by side (default: one a core or GPU)")
    add("--scheduler", metavar="ADDRESS", help="train on a Dask cluster, as tcp://10.0.0.1:8786")
    add("--restart", action="store_true", help="train anew; what there is goes once replaced")
    results = f"of the results (default {VARIABLE}, else cache, of a trial cache/trial)"
    add("--cache", metavar="FOLDER", help=results)
    return parse


def chosen_runs(options: argparse.Namespace) -> list[Run]:
    """The runs that the options name, those of a trial with what makes them one."""
    numbers = [] if options.stage else [*STAGES, *PEERS]
    for wanted in options.stage or ():
        if wanted != "all" and not wanted.isdecimal():
            raise StudyError(f"--stage {wanted}: give numbers, or all")
        numbers += STAGES if wanted == "all" else [int(wanted)]
    data, root = "synthetic" if data_name(options) == "synthetic" else "cifar10", folder(options)
    about = (options.precision, options.epochs, options.limit, options.width, data)
    runs = [
        Run(number, seed, *about, root=root)
        for number in dict.fromkeys(numbers)
        for seed in options.seeds or [0]
    ]
    if any(run.trial for run in runs) and root == in_project(CACHE):
        if options.cache or setting(VARIABLE):
            raise StudyError(f"--cache {CACHE}: holds the study; give a trial a folder of its own")
        return [replace(run, root=in_project(CACHE / "trial")) for run in runs]
    return runs


def folder(options: argparse.Namespace) -> Path:
    """The folder of results that the options or the environment name."""
    root = Path(options.cache).expanduser() if options.cache else cache()
    if root.resolve() == in_project(CACHE).resolve():  # however it is spelt
        return in_project(CACHE)
    if any(each.exists() and not each.is_dir() for each in (root, *root.parents)):
        raise StudyError(f"--cache {root}: is a file, no folder of results; name another")
    return root


def data_name(options: argparse.Namespace) -> str:
    """``synthetic``, a folder with CIFAR-10, or ``auto``."""
    return options.data or setting(DATA_VARIABLE) or "auto"


def seed_list(text: str) -> list[int]:
    """The seeds that numbers and ranges such as ``0,2,5-7`` name, in order, each once."""
    seeds: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part, re.ASCII)
        span = range(int(match[1]), int(match[2] or match[1]) + 1) if match else ()
        if not span:
            raise argparse.ArgumentTypeError(f"{text!r} is not of the form 0-4 or 0,2,5-7")
        seeds |= {*span}
    return sorted(seeds)


def positive(text: str) -> int:
    """A whole number from 1 on."""
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII) or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def _fraction(text: str) -> float:
    if not re.fullmatch(r"\d*\.?\d+", text, re.ASCII) or not 0 < float(text) <= 4:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number between 0 and 4")
    return float(text)


def _named(stages: dict[int, Stage]) -> str:
    named = (f"{number} {stage.title}" for number, stage in stages.items())
    return "; ".join(named).replace("%", "%%")  # argparse would fill it in
