"""What training runs on: the device, the precision it has, and the settings of a process."""

import ctypes
import os
import platform
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cifar_study.errors import StudyError
from cifar_study.runs import SIDE_BY_SIDE

PROCESSOR = Path("/proc/cpuinfo")  # of Linux


def choose_device(name: str = "auto") -> torch.device:
    """The device called ``name``; ``auto`` is CUDA, else Apple's MPS, else the CPU.

    One that is not there is a :class:`StudyError`.
    """
    gpu, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        name = "cuda" if gpu else "mps" if mps else "cpu"
    if not {"cuda": gpu, "mps": mps, "cpu": True}[name]:
        raise StudyError(
            f"--device {name}: this machine or this PyTorch has none; use --device auto"
        )
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """The dtype that convolutions compute in; weights and sums stay ``float32``.

    ``auto`` is bfloat16 where the hardware has it, else float32. bfloat16 where it is missing is a
    :class:`StudyError`.
    """
    if name == "auto":
        name = "bfloat16" if has_bfloat16(device) else "float32"
    elif name == "bfloat16" and not has_bfloat16(device):
        raise StudyError(
            f"--precision bfloat16: {processor_name(device)} does not have it; "
            "train on another machine, or a new run with --precision float32"
        )
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]


def has_bfloat16(device: torch.device) -> bool:
    """Whether the processor lists instructions that multiply bfloat16 numbers."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    flags = PROCESSOR.read_text().split() if device.type == "cpu" and PROCESSOR.exists() else ()
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags)


def set_up_process(device: torch.device) -> None:
    """Set what holds for the whole process: threads, memory, deterministic and exact convolutions.

    A thread a core, unless OMP_NUM_THREADS says how many. Without the settings for CUDA the same
    run twice gives other bits, and convolutions in float32 are computed in TF32.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(cores())
    if device.type == "cpu":
        keep_freed_memory()
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def keep_freed_memory() -> None:
    """Have the C library keep for the next step what a step frees; for the whole process.

    Left alone, glibc gives large maps back and asks for them anew: pages zeroed in every step.
    """
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        trim_threshold, mmap_max = -1, -4  # as malloc.h numbers them
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, 2**31 - 1)


def processor_name(device: torch.device) -> str:
    """What the hardware calls itself."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = re.search("model name.*: (.*)", PROCESSOR.read_text() if PROCESSOR.exists() else "")
    name = name[1] if name else platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores"


def describe(device: torch.device, precision: torch.dtype) -> dict[str, Any]:
    """The machine and versions that training runs on, as recorded in every result."""
    return {
        "device": device.type,
        "processor": processor_name(device),
        "precision": str(precision).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "side_by_side": int(os.environ.get(SIDE_BY_SIDE, 1)),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
    }
