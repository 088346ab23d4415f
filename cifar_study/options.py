"""The options of the command line: what each does, and which values it takes."""

import argparse
import os
import re
from pathlib import Path

from cifar_study.errors import Parser
from cifar_study.stages import PEERS, STAGES, Stage

MOST_SEEDS = 10_000  # a slip of the keyboard asks for more
MOST_EPOCHS = 1_000_000
LONGEST_PATH, LONGEST_NAME = 4096, 255  # bytes; of Linux, and no system takes much more
# What says nothing beside --status or --figures, by its name among the options.
OF_TRAINING = ("restart", "jobs", "scheduler", "device", "precision", "compile")
IDLE = {"status": ("figures", *OF_TRAINING), "figures": OF_TRAINING}


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
    seeds = parse.add_mutually_exclusive_group().add_argument
    seeds("--seed", type=_seed, dest="seeds", metavar="S", help="random seed (default 0)")
    seeds("--seeds", type=seed_list, metavar="LIST", help="several seeds, as 0-4 or 0,2,5-7")
    add("--epochs", type=positive, help="trial: train this many epochs instead of the stage's own")
    add("--limit", type=positive, metavar="K", help="trial: train on K pictures")
    add(
        "--width",
        type=_fraction,
        default=1.0,
        metavar="W",
        help="trial: W times the filters (0.5 halves them)",
    )
    add(
        "--data",
        type=_folder,
        default="auto",
        help="auto (default), synthetic, or a folder with CIFAR-10",
    )
    add("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"))
    add(
        "--precision",
        default="auto",
        choices=("auto", "float32", "bfloat16"),
        help="of convolutions; auto: bfloat16 where the processor multiplies it, else float32",
    )
    add(
        "--compile",
        action="store_true",
        help="on a GPU: have PyTorch compile the network first (needs a C compiler)",
    )
    add(
        "--jobs",
        type=positive,
        metavar="J",
        help="stages to train side by side (default: one a core; one on a GPU)",
    )
    add(
        "--scheduler",
        type=_address,
        metavar="ADDRESS",
        help="train on the workers of this Dask scheduler, as tcp://10.0.0.1:8786",
    )
    add(
        "--figures",
        action="store_true",
        help="draw the pictures in figures/ again from what is trained, and train nothing",
    )
    add("--restart", action="store_true", help="discard what the stage has and train it anew")
    add(
        "--cache",
        type=_path,
        metavar="FOLDER",
        help="folder of the results (default cache, of a trial cache/trial)",
    )
    return parse


def _number(kind: type, text: str) -> float:
    try:
        return kind(text)
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise argparse.ArgumentTypeError(f"{text[:50]!r} is not {what}") from None


def _seed(text: str) -> list[int]:
    if re.fullmatch(r"\d+[-,][\d,-]*", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text[:50]} is several: give them to --seeds")
    number = _number(int, text)
    if not 0 <= number < 2**63:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 2^63 - 1")
    return [number]


def seed_list(text: str) -> list[int]:
    """The seeds that numbers and ranges such as ``0,2,5-7`` name, in order, each once."""
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip(), re.ASCII)
        if not match:
            raise argparse.ArgumentTypeError(f"{text!r} is not of the form 0-4 or 0,2,5-7")
        [first], [last] = _seed(match[1]), _seed(match[2] or match[1])
        if last < first:
            raise argparse.ArgumentTypeError(f"{part} ends before it begins")
        if len(found) + last - first >= MOST_SEEDS:
            raise argparse.ArgumentTypeError(f"{text} is more than {MOST_SEEDS:,} seeds")
        found |= set(range(first, last + 1))
    return sorted(found)


def positive(text: str) -> int:
    """A whole number from 1 on."""
    number = _number(int, text)
    if not 1 <= number <= MOST_EPOCHS:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more, up to {MOST_EPOCHS:,}")
    return number


def _fraction(text: str) -> float:
    number = _number(float, text)
    if not 0 < number <= 4:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 4")
    return number


def _folder(text: str) -> str:
    """A name that a folder can have."""
    longest = max((len(os.fsencode(part)) for part in Path(text).parts), default=0)
    if not text:
        raise argparse.ArgumentTypeError("is empty; give a folder")
    if "\0" in text:
        raise argparse.ArgumentTypeError("holds a NUL, which no folder's name can")
    if longest > LONGEST_NAME or len(os.fsencode(text)) > LONGEST_PATH:
        raise argparse.ArgumentTypeError(
            f"{len(text):,} characters are too many for the name of a folder"
        )
    return text


def _path(text: str) -> Path:
    return Path(_folder(text))


def _address(text: str) -> str:
    match = re.fullmatch(r"(?:(?:tcp|tls)://)?[^\s/]{1,253}:(\d{1,5})", text, re.ASCII)
    if not match or int(match[1]) > 65535 or not text.isprintable():
        shown = repr(text) if len(text) < 100 else f"{text[:50]!r}…"
        raise argparse.ArgumentTypeError(f"{shown} is not of the form tcp://HOST:8786")
    return text


def refuse_idle_options(parse: Parser, options: argparse.Namespace) -> None:
    """End the command where an option asks for what another one leaves undone."""
    if not (options.stage or options.status or options.figures):
        parse.error("say what to do: --stage N, --status or --figures")
    for doing, idle in IDLE.items():
        for name in idle if getattr(options, doing) else ():
            if getattr(options, name) != parse.get_default(name):
                shown = "seed" if name == "seeds" else name
                parse.error(f"--{shown} does not go with --{doing}, which trains nothing")
    if options.status and options.data not in ("auto", "synthetic"):
        parse.error("--data FOLDER does not go with --status, which looks at results alone")
    if options.scheduler and options.jobs:
        parse.error("--jobs does not go with --scheduler: each worker has one job at a time")


def _named(stages: dict[int, Stage]) -> str:
    return "; ".join(f"{number} {stage.title}" for number, stage in stages.items())
