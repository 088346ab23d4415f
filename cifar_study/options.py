"""The options of the command line: what each does, and which values it takes."""

import argparse
import re

from cifar_study.command import Parser
from cifar_study.stages import PEERS, STAGES, Stage

MOST_SEEDS = 10_000  # a slip of the keyboard asks for more
MOST = 1_000_000
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
    seeds = "random seeds, as 3, 0-4 or 0,2,5-7 (default 0)"
    add("--seeds", "--seed", type=seed_list, metavar="LIST", help=seeds)
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
        type=_given,
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
        type=_given,
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
        type=_given,
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


def seed_list(text: str) -> list[int]:
    """The seeds that numbers and ranges such as ``0,2,5-7`` name, in order, each once."""
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,20})(?:-(\d{1,20}))?", part.strip(), re.ASCII)
        if not match:
            raise argparse.ArgumentTypeError(f"{text!r} is not of the form 0-4 or 0,2,5-7")
        first, last = int(match[1]), int(match[2] or match[1])
        if last >= 2**63:
            raise argparse.ArgumentTypeError(f"{part} is not below 2^63")
        if last < first:
            raise argparse.ArgumentTypeError(f"{part} ends before it begins")
        if len(found) + last - first >= MOST_SEEDS:
            raise argparse.ArgumentTypeError(f"{text} is more than {MOST_SEEDS:,} seeds")
        found |= set(range(first, last + 1))
    return sorted(found)


def positive(text: str) -> int:
    """A whole number from 1 on."""
    number = _number(int, text)
    if not 1 <= number <= MOST:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more, up to {MOST:,}")
    return number


def _fraction(text: str) -> float:
    number = _number(float, text)
    if not 0 < number <= 4:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 4")
    return number


def _given(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("is empty; give a value, or leave the option out")
    return text


def refuse_idle_options(parse: Parser, options: argparse.Namespace) -> None:
    """End the command where an option asks for what another one leaves undone."""
    if not (options.stage or options.status or options.figures):
        parse.error("say what to do: --stage N, --status or --figures")
    for doing, idle in IDLE.items():
        for name in idle if getattr(options, doing) else ():
            if getattr(options, name) != parse.get_default(name):
                parse.error(f"--{name} does not go with --{doing}, which trains nothing")
    if options.status and options.data not in ("auto", "synthetic"):
        parse.error("--data FOLDER does not go with --status, which looks at results alone")
    if options.scheduler and options.jobs:
        parse.error("--jobs does not go with --scheduler: each worker has one job at a time")


def _named(stages: dict[int, Stage]) -> str:
    return "; ".join(f"{number} {stage.title}" for number, stage in stages.items())
