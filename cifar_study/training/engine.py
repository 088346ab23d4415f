"""How a stage is trained: the loop and its evaluation.

The whole data set sits on the device as ``uint8``. What happens in an epoch is a function of the
seed and the epoch's number alone, so a run that was cut off goes on as if it had not been.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from cifar_study.data import Dataset
from cifar_study.stages import TRAIN_SAMPLE, Network, Recipe, ResNet
from cifar_study.training.model import build_model

EVALUATION_BATCH = {"cpu": 500, "cuda": 5_000}  # what a cache holds, what fills a GPU


def cuda_graph(step: Callable[[], None]) -> Callable[[], None]:
    """Record ``step`` as one CUDA graph; what it did while warming up is the caller's to undo.

    These networks are so small that a GPU waits for the launch of nearly every kernel.
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

    Initial weights, the order of the pictures and dropout's random numbers follow from ``seed``;
    ``limit`` trains on a sample of that many pictures. ``record`` turns a step into something
    faster that does the same (:func:`cuda_graph` on a GPU).
    """

    def __init__(
        self,
        network: Network | ResNet,
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
        self.model = build_model(network, seed, recipe.start).to(
            self.device, memory_format=torch.channels_last
        )
        on_gpu = self.device.type == "cuda"
        self.optimizer = torch.optim.SGD(
            self.model.parameters(),
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            fused=on_gpu or self.device.type == "cpu",
        )
        self.momentum: dict[str, Tensor] = {}
        for name, parameter in self.model.named_parameters():
            # What the first step would make, but there before a step is recorded.
            self.momentum[name] = torch.zeros_like(parameter)
            self.optimizer.state[parameter]["momentum_buffer"] = self.momentum[name]
        self.record = record or (cuda_graph if on_gpu else None)
        self.steps: dict[int, Callable[[], None]] = {}  # by the size of the batch
        chosen = choose_limited(data.train_labels, limit)
        self.train_images, self.train_labels = self._on_device(
            data.train_images[chosen], data.train_labels[chosen]
        )
        self.test_images, self.test_labels = self._on_device(data.test_images, data.test_labels)
        places = choose_balanced(data.train_labels[chosen], TRAIN_SAMPLE)
        self.sample = torch.from_numpy(places).to(self.device)
        # What a step reads and adds to stays on the device, at a fixed place. A last batch
        # that is shorter ends where the first batch begins, and reads no further.
        pictures, size = len(self.train_labels), recipe.batch_size
        self.order = torch.zeros(-(-pictures // size), size, device=self.device, dtype=torch.long)
        self.position = torch.zeros(1, device=self.device, dtype=torch.long)
        self.loss_sum = torch.zeros((), device=self.device)
        self.correct = torch.zeros((), device=self.device, dtype=torch.long)

    def _on_device(self, images: np.ndarray, labels: np.ndarray) -> tuple[Tensor, Tensor]:
        return (
            torch.from_numpy(images).to(self.device),
            torch.from_numpy(labels).to(self.device, torch.long),
        )

    def train_in_parts(self, epoch: int) -> Iterator[tuple[float, float, float]]:
        """Train on every picture once; twice a second the share done, mean loss and accuracy."""
        self.model.train()
        pictures, size = len(self.train_labels), self.recipe.batch_size
        full, last = self._stepper(min(size, pictures)), self._stepper(pictures % size)
        self.order.view(-1)[:pictures] = self._order(epoch)
        for tally in (self.position, self.loss_sum, self.correct):
            tally.zero_()
        shown = time.monotonic()
        for start in range(0, pictures, size):
            full() if start + size <= pictures else last()
            done = min(start + size, pictures)
            if done == pictures or time.monotonic() - shown > 0.5:
                shown = time.monotonic()
                yield done / pictures, self.loss_sum.item() / done, self.correct.item() / done

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
                state = [*self.model.state_dict().values(), *self.momentum.values()]
                kept = [tensor.clone() for tensor in state]
                step = self.record(step)
                for tensor, value in zip(state, kept, strict=True):
                    tensor.copy_(value)
            self.steps[size] = step
        return self.steps[size]

    def _step(self, size: int) -> None:
        """Train on the next ``size`` pictures of the order; no value leaves the device."""
        # Warming up goes past the end of the order.
        batch = self.order[self.position % len(self.order)][0, :size]
        pictures, labels = self.train_images[batch], self.train_labels[batch]
        logits = self._logits(pictures)
        loss = nn.functional.cross_entropy(logits, labels)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.position += 1
        self.loss_sum += loss.detach() * size
        self.correct += (logits.detach().argmax(1) == labels).sum()

    def _logits(self, pictures: Tensor) -> Tensor:
        # Height, width, channel is how channels-last memory lies: no pixel moves.
        pictures = pictures.permute(0, 3, 1, 2)
        with torch.autocast(
            self.device.type, self.precision, enabled=self.precision != torch.float32
        ):
            return self.model(pictures).float()

    def evaluate(self) -> tuple[float, float, np.ndarray]:
        """Loss, accuracy and class probabilities (N, classes) over the whole test set."""
        return self._evaluate(self.test_images, self.test_labels)

    def evaluate_training(self) -> tuple[float, float]:
        """Loss and accuracy over a fixed, balanced sample of the training pictures."""
        return self._evaluate(self.train_images[self.sample], self.train_labels[self.sample])[:2]

    @torch.inference_mode()
    def _evaluate(self, images: Tensor, labels: Tensor) -> tuple[float, float, np.ndarray]:
        self.model.eval()
        size = EVALUATION_BATCH.get(self.device.type, 500)
        logits = torch.cat([self._logits(part) for part in images.split(size)])
        loss = nn.functional.cross_entropy(logits, labels).item()
        # Half precision is what is stored; from it, so that who recomputes the accuracy
        # from the stored probabilities gets the same.
        probabilities = logits.softmax(1).half().cpu().numpy()
        accuracy = float((probabilities.argmax(1) == labels.cpu().numpy()).mean())
        return loss, accuracy, probabilities

    def model_state(self) -> dict[str, np.ndarray]:
        """The network's parameters and buffers by name."""
        return {
            name: tensor.detach().contiguous().cpu().numpy().copy()
            for name, tensor in self.model.state_dict().items()
        }

    def momentum_state(self) -> dict[str, np.ndarray]:
        """The optimizer's momentum by parameter name."""
        return {
            name: buffer.contiguous().cpu().numpy().copy() for name, buffer in self.momentum.items()
        }

    def load_state(self, model: dict[str, np.ndarray], momentum: dict[str, np.ndarray]) -> None:
        """Take up the states of an earlier engine of the same network."""
        load_weights(self.model, model)
        for name, buffer in self.momentum.items():
            buffer.copy_(torch.from_numpy(momentum[name]))


def choose_limited(labels: np.ndarray, limit: int | None) -> slice | np.ndarray:
    """Which training pictures a limit leaves: a sample, as the set is ordered by class."""
    if limit is None or limit >= len(labels):
        return slice(None)
    return np.sort(np.random.default_rng(0).permutation(len(labels))[:limit])


def choose_balanced(labels: np.ndarray, size: int) -> np.ndarray:
    """The places of about ``size`` pictures, as many of each class, the same at every call.

    A class that has fewer gives all it has.
    """
    random = np.random.default_rng(0)
    classes = np.unique(labels)
    members = (random.permutation(np.flatnonzero(labels == label)) for label in classes)
    return np.sort(np.concatenate([places[: size // len(classes)] for places in members]))


def load_weights(model: nn.Module, state: dict[str, np.ndarray]) -> None:
    """Put arrays into the network by name."""
    model.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
