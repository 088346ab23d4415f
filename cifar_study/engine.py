"""How a stage is trained: the loop, its evaluation, and the choice of hardware.

The whole data set sits on the device as ``uint8``; a batch is gathered,
converted and trained on without a loop over pictures. What happens in an epoch
is a function of the seed and the epoch's number alone, so a run that was cut
off goes on exactly as if it had not been.
"""

from __future__ import annotations

import ctypes
import os
import platform
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cifar_study.data import Dataset
from cifar_study.errors import StudyError
from cifar_study.model import build_model
from cifar_study.stages import Network, Peer, Recipe

EVALUATION_BATCH = 500
Progress = Callable[[float, float, float], None]
"""Called while an epoch runs: share of it done, mean loss and accuracy so far."""


def choose_device(name: str = "auto") -> torch.device:
    """The device called ``name``; ``auto`` is CUDA, else Apple's MPS, else the CPU.

    One that is not there is a :class:`StudyError`.
    """
    present = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(kind for kind, there in present.items() if there)
    if not present[name]:
        raise StudyError(
            f"--device {name}: this machine or this PyTorch has none; use --device auto"
        )
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """The dtype that convolutions compute in; weights and sums stay ``float32``.

    ``auto`` takes bfloat16 where the hardware multiplies it natively and a
    second's measurement shows it faster: emulated it is slower than float32,
    and PyTorch has had releases without its fast bfloat16 convolutions.
    """
    if name != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device) >= (8, 0)
    elif device.type == "cpu":
        fast = _bfloat16_is_faster()
    else:
        fast = False
    return torch.bfloat16 if fast else torch.float32


def _bfloat16_is_faster() -> bool:
    """Whether a convolution's forward and backward pass gains from bfloat16 on this CPU."""

    def seconds(dtype: torch.dtype) -> float:
        conv = nn.Conv2d(40, 40, 3, padding="same").to(
            dtype=dtype, memory_format=torch.channels_last
        )
        pictures = torch.ones(32, 40, 16, 16, dtype=dtype).to(memory_format=torch.channels_last)
        pictures.requires_grad_()
        times = []
        for _ in range(5):
            start = time.perf_counter()
            conv(pictures).sum().backward()
            times.append(time.perf_counter() - start)
        return min(times)

    return seconds(torch.bfloat16) < 0.8 * seconds(torch.float32)


def keep_freed_memory() -> None:
    """Have the C library keep for the next step what a step frees; for the whole process.

    Left alone, glibc hands a network's large maps back to the system and asks
    for them anew: thousands of pages zeroed in every step. Other C libraries
    stay as they are.
    """
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        trim_threshold, mmap_max = -1, -4  # as malloc.h numbers them
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, 2**31 - 1)


def cuda_graph(step: Callable[[], None]) -> Callable[[], None]:
    """Record ``step`` as one CUDA graph; what it did while warming up is the caller's to undo.

    The networks here are so small that a GPU waits for the launch of nearly
    every kernel; a graph launches all of a step's kernels at once.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


class Engine:
    """One network in training on one device.

    Initial weights, the order of the pictures and dropout's random numbers
    follow from ``seed``; ``limit`` trains on a sample of that many pictures.
    ``record`` turns a step into something faster that does the same
    (:func:`cuda_graph` on a GPU).
    """

    def __init__(
        self,
        network: Network | Peer,
        recipe: Recipe,
        data: Dataset,
        *,
        seed: int = 0,
        limit: int | None = None,
        device: torch.device | None = None,
        precision: torch.dtype = torch.float32,
        record: Callable[[Callable[[], None]], Callable[[], None]] | None = None,
    ) -> None:
        self.recipe, self.seed = recipe, seed
        self.device = device or torch.device("cpu")
        self.precision = precision
        self.model = build_model(network, seed).to(self.device, memory_format=torch.channels_last)
        on_gpu = self.device.type == "cuda"
        if self.device.type == "cpu":
            keep_freed_memory()
        self.optimizer = torch.optim.SGD(
            self.model.parameters(),
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            fused=on_gpu or self.device.type == "cpu",
        )
        for parameter in self.model.parameters():
            # What the first step would make, but there before a step is recorded.
            self.optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        self.record = record or (cuda_graph if on_gpu else None)
        if on_gpu:  # the same run twice gives the same bits
            torch.backends.cudnn.deterministic = True
        self.steps: dict[int, Callable[[], None]] = {}  # by the size of the batch
        chosen = self._choose(data, limit)
        self.train_images, self.train_labels = self._on_device(
            data.train_images, data.train_labels, chosen
        )
        self.test_images, self.test_labels = self._on_device(data.test_images, data.test_labels)
        # What a step reads and adds to stays on the device, at a fixed place.
        self.order = torch.arange(len(self.train_labels), device=self.device)
        self.position = torch.zeros((), device=self.device, dtype=torch.long)
        self.loss_sum = torch.zeros((), device=self.device)
        self.correct = torch.zeros((), device=self.device, dtype=torch.long)

    def _choose(self, data: Dataset, limit: int | None) -> np.ndarray | None:
        """Which training pictures a limit leaves: a sample, as the set is ordered by class."""
        if limit is None or limit >= len(data.train_labels):
            return None
        return np.sort(np.random.default_rng(0).permutation(len(data.train_labels))[:limit])

    def _on_device(
        self, images: np.ndarray, labels: np.ndarray, chosen: np.ndarray | None = None
    ) -> tuple[Tensor, Tensor]:
        if chosen is not None:
            images, labels = images[chosen], labels[chosen]
        return (
            torch.from_numpy(images).to(self.device),
            torch.from_numpy(labels).to(self.device, torch.long),
        )

    def train_epoch(self, epoch: int, progress: Progress | None = None) -> tuple[float, float]:
        """Train on every picture once; mean loss and accuracy as they were along the way."""
        self.model.train()
        pictures, size = len(self.order), self.recipe.batch_size
        full, last = self._stepper(min(size, pictures)), self._stepper(pictures % size)
        self.order.copy_(self._order(epoch))
        for tally in (self.position, self.loss_sum, self.correct):
            tally.zero_()
        shown = time.monotonic()
        for start in range(0, pictures, size):
            full() if start + size <= pictures else last()
            if progress and time.monotonic() - shown > 0.5:
                shown, done = time.monotonic(), min(start + size, pictures)
                progress(done / pictures, self.loss_sum.item() / done, self.correct.item() / done)
        return self.loss_sum.item() / pictures, self.correct.item() / pictures

    def _order(self, epoch: int) -> Tensor:
        """The pictures' order in that epoch; seeds dropout's random numbers for it as well."""
        order_seed, dropout_seed = np.random.SeedSequence((self.seed, epoch)).generate_state(2)
        torch.manual_seed(int(dropout_seed))
        shuffler = torch.Generator().manual_seed(int(order_seed))
        return torch.randperm(len(self.train_labels), generator=shuffler)

    def _stepper(self, size: int) -> Callable[[], None]:
        """A step on ``size`` pictures, recorded when it is first asked for."""
        if size not in self.steps:
            step = partial(self._step, size)
            if self.record and size:
                state = [*self.model.state_dict().values(), *self._momentum().values()]
                kept = [tensor.clone() for tensor in state]
                step = self.record(step)
                for tensor, value in zip(state, kept, strict=True):
                    tensor.copy_(value)
            self.steps[size] = step
        return self.steps[size]

    def _step(self, size: int) -> None:
        """Train on the next ``size`` pictures of the order; no value leaves the device."""
        places = self.position + torch.arange(size, device=self.device)
        batch = self.order[places % len(self.order)]  # warming up may go past the end
        pictures, labels = self.train_images[batch], self.train_labels[batch]
        logits = self._logits(pictures)
        loss = nn.functional.cross_entropy(logits, labels)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.position += size
        self.loss_sum += loss.detach() * size
        self.correct += (logits.detach().argmax(1) == labels).sum()

    def _logits(self, pictures: Tensor) -> Tensor:
        # Height, width, channel is how channels-last memory lies: no pixel moves.
        pictures = pictures.permute(0, 3, 1, 2)
        with torch.autocast(
            self.device.type, self.precision, enabled=self.precision != torch.float32
        ):
            return self.model(pictures).float()

    @torch.inference_mode()
    def evaluate(self) -> tuple[float, float, np.ndarray]:
        """Loss, accuracy and class probabilities (N, classes) over the whole test set."""
        self.model.eval()
        logits = torch.cat(
            [self._logits(part) for part in self.test_images.split(EVALUATION_BATCH)]
        )
        loss = nn.functional.cross_entropy(logits, self.test_labels).item()
        probabilities = logits.softmax(1).cpu().numpy()
        # From the probabilities, so that who recomputes it from them gets the same.
        accuracy = float((probabilities.argmax(1) == self.test_labels.cpu().numpy()).mean())
        return loss, accuracy, probabilities

    def model_state(self) -> dict[str, np.ndarray]:
        """The network's parameters and buffers by name."""
        return {
            name: tensor.detach().contiguous().cpu().numpy().copy()
            for name, tensor in self.model.state_dict().items()
        }

    def _momentum(self) -> dict[str, Tensor]:
        return {
            name: self.optimizer.state[parameter]["momentum_buffer"]
            for name, parameter in self.model.named_parameters()
        }

    def momentum_state(self) -> dict[str, np.ndarray]:
        """The optimizer's momentum by parameter name."""
        return {
            name: buffer.contiguous().cpu().numpy().copy()
            for name, buffer in self._momentum().items()
        }

    def load_state(
        self, model: dict[str, np.ndarray], momentum: dict[str, np.ndarray] | None = None
    ) -> None:
        """Take up the states of an earlier engine; a network of other shapes is a ValueError."""
        load_weights(self.model, model)
        for name, buffer in self._momentum().items():
            if momentum:
                array = momentum.get(name)
                if array is None or array.shape != buffer.shape:
                    raise ValueError(f"no momentum of that shape for {name}")
                buffer.copy_(torch.from_numpy(array))

    def description(self) -> dict[str, Any]:
        """The machine and versions that training runs on, as recorded in every result."""
        return {
            "device": self.device.type,
            "processor": processor_name(self.device),
            "precision": str(self.precision).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "platform": f"{platform.system()} {platform.machine()}",
        }


def load_weights(model: nn.Module, state: dict[str, np.ndarray]) -> None:
    """Put arrays into the network; names or shapes that do not fit are a ValueError."""
    try:
        model.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    except RuntimeError as error:
        raise ValueError(" ".join(str(error).split())) from None


def processor_name(device: torch.device) -> str:
    """What the hardware calls itself, as recorded with every session of training."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        with open("/proc/cpuinfo") as file:
            names = [
                line.split(":", 1)[1].strip() for line in file if line.startswith("model name")
            ]
        return f"{names[0]}, {os.cpu_count()} cores"
    except (OSError, IndexError):
        return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
