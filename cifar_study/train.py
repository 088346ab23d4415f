"""The command line: ``python -m cifar_study.train --stage N``.

Says what is trained and shows how it goes; nothing numeric happens here, and
torch is imported only once there is something to train.
"""

from __future__ import annotations

import argparse
import re
import signal
import sys
from dataclasses import replace
from pathlib import Path

from cifar_study import cache
from cifar_study.errors import StudyError
from cifar_study.layers import count_parameters
from cifar_study.runs import ROOT, Run
from cifar_study.stages import PEERS, STAGES, Stage, get_stage

MOST_SEEDS = 10_000  # a slip of the keyboard asks for more


def parser() -> argparse.ArgumentParser:
    """The options, with what each does."""
    parse = argparse.ArgumentParser(
        prog="python -m cifar_study.train",
        description="Train stages of the study from their last finished epoch.",
        epilog=f"Stages: {_named(STAGES)}. For scale, and not among all: {_named(PEERS)}.",
    )
    add = parse.add_argument
    add("--stage", nargs="+", metavar="N", help="stages to train, or all")
    add("--status", action="store_true", help="show how far each stage is, and train nothing")
    seeds = parse.add_mutually_exclusive_group().add_argument
    seeds("--seed", type=_seed, dest="seeds", metavar="S", help="random seed (default 0)")
    seeds("--seeds", type=_seeds, metavar="LIST", help="several seeds, as 0-4 or 0,2,5-7")
    add("--epochs", type=_positive, help="trial: train this many epochs instead of the stage's own")
    add("--limit", type=_positive, metavar="K", help="trial: train on K pictures")
    add(
        "--width",
        type=_fraction,
        default=1.0,
        metavar="W",
        help="trial: W times the filters (0.5 halves them)",
    )
    add("--data", default="auto", help="auto (default), synthetic, or a folder with CIFAR-10")
    add("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"))
    add("--precision", default="auto", choices=("auto", "float32", "bfloat16"))
    add(
        "--jobs",
        type=_positive,
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
        "--timing",
        action="store_true",
        help="measure every stage's epoch in one sitting, for the report, and train nothing",
    )
    add(
        "--figures",
        action="store_true",
        help="draw the pictures in figures/ again from what is trained, and train nothing",
    )
    add("--restart", action="store_true", help="discard what the stage has and train it anew")
    add("--cache", type=Path, default=ROOT, help="folder of the results (default cache)")
    return parse


def _seed(text: str) -> list[int]:
    number = int(text)
    if not 0 <= number < 2**63:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 2^63 - 1")
    return [number]


def _seeds(text: str) -> list[int]:
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


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def _fraction(text: str) -> float:
    number = float(text)
    if not 0 < number <= 4:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 4")
    return number


def _address(text: str) -> str:
    match = re.fullmatch(r"(?:(?:tcp|tls)://)?[^\s/]+:(\d{1,5})", text, re.ASCII)
    if not match or int(match[1]) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form tcp://HOST:8786")
    return text


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit status: 0 done, 2 an error on one line, 130 stopped."""
    parse = parser()
    options = parse.parse_args(arguments)
    if not (options.stage or options.status or options.figures or options.timing):
        parse.error("say what to do: --stage N, --status, --timing or --figures")
    if options.scheduler and options.jobs:
        parse.error("--jobs does not go with --scheduler: each worker has one job at a time")
    try:
        runs = _runs(options)
        if options.status:
            return _show_status(runs)
        if options.figures:
            return _draw_figures(runs, options.data)
        if options.timing:
            return _measure_times(runs, options)
        from cifar_study.jobs import train_all

        # What a shutdown or a scheduler sends is treated as Ctrl-C.
        signal.signal(signal.SIGTERM, _interrupt)
        return train_all(runs, options)
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; every finished epoch is kept, the same command goes on", file=sys.stderr)
        return 130


def _interrupt(number: int, frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)  # `timeout` sends it twice
    raise KeyboardInterrupt


def _named(stages: dict[int, Stage]) -> str:
    return "; ".join(f"{number} {stage.title}" for number, stage in stages.items())


def _runs(options: argparse.Namespace) -> list[Run]:
    wanted = options.stage or ["all"]
    if "all" in wanted:
        stages = list(STAGES.values())
        if (options.status or options.timing) and not options.stage and options.width == 1:
            stages += PEERS.values()
    else:
        try:
            stages = [get_stage(int(number)) for number in dict.fromkeys(wanted)]
        except ValueError:
            raise StudyError(f"--stage {' '.join(wanted)}: give numbers, or all") from None
    if options.width != 1 and (peers := [stage for stage in stages if stage.number in PEERS]):
        raise StudyError(
            f"--width {options.width:g}: stage {peers[0].number} has the width that timm gives it; "
            "leave the option or the stage out"
        )
    runs = [
        Run(
            stage,
            epochs=options.epochs,
            limit=options.limit,
            width=options.width,
            data="synthetic" if options.data == "synthetic" else "cifar10",
            root=options.cache,
        )
        for stage in stages
    ]
    return [
        replace(run, seed=seed)
        for run in runs
        for seed in options.seeds or (cache.seeds(run) if options.status else [0])
    ]


def _show_status(runs: list[Run]) -> int:
    """Print where each run stands; 2 where one is damaged."""
    stands = [cache.status(run) for run in runs]
    width = max(len(run.stage.title) for run in runs)
    digits = max(4, *(len(str(run.seed)) for run in runs))
    print(f"stage  {'network':<{width}}  {'seed':>{digits}}  parameters  test accuracy  state")
    for run, stand in zip(runs, stands, strict=True):
        parameters = count_parameters(run.network)
        accuracy = f"{stand.result.history['test_accuracy'].iloc[-1]:.1%}" if stand.result else "–"
        print(
            f"{run.stage.number:>5}  {run.stage.title:<{width}}  {run.seed:>{digits}}  "
            f"{parameters:>10,}  {accuracy:>13}  {stand.text}"
        )
    return 2 if any(stand.state == "damaged" for stand in stands) else 0


def _measure_times(runs: list[Run], options: argparse.Namespace) -> int:
    from cifar_study import data, timing
    from cifar_study.trainer import Hardware

    # One thread, as each of several jobs has; more would be another machine's time.
    hardware = Hardware(options.device, options.precision, threads=1)
    measured = timing.measure(runs, data.load(options.data), hardware)
    # A trial's times lie with the trial.
    timing.save(measured, runs[0].folder.parent.parent)
    for number, entry in measured["stages"].items():
        print(
            f"stage {number}: {entry['seconds']:.1f} s an epoch "
            f"({entry['least']:.1f} to {entry['most']:.1f})"
        )
    return 0


def _draw_figures(runs: list[Run], name: str) -> int:
    from cifar_study import data, pictures

    if other := [run for run in runs if run.trial or run.seed or run.root != ROOT]:
        raise StudyError(
            f"--figures: {other[0].folder} is not of the study that figures/ shows; "
            "leave the options of trials, --seed and --cache out"
        )
    loaded = data.load(name)
    pictures.draw_data(loaded)
    for run in runs:
        if cache.status(run).result:
            pictures.draw_run(run, loaded)
    pictures.draw_result()
    return 0


if __name__ == "__main__":
    sys.exit(main())
