"""The second peer, ``model.fit``: ``python -m benchmarks.keras_worker SAMPLE THREADS``.

Runs in an environment of its own, with TensorFlow and without torch; THREADS 0
leaves TensorFlow its default.
"""

from __future__ import annotations

import os
import sys
import time
from functools import cache
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import tensorflow as tf
from keras import layers

from benchmarks.protocol import serve
from benchmarks.sample import read_sample
from cifar_study.stages import STAGES, Network, Stage


def keras_network(network: Network) -> keras.Sequential:
    """The network layer by layer; Keras starts from Glorot-uniform weights by itself."""
    side = network.input_size or 32
    stack: list[layers.Layer] = [keras.Input((side, side, 3)), layers.Rescaling(1 / 255)]
    for block in network.blocks:
        for _ in range(2):
            stack.append(layers.Conv2D(block.filters, 3, padding="same"))
            if block.batch_norm:
                stack.append(layers.BatchNormalization())
            stack.append(layers.Activation(block.activation))
        if block.pool == "global":
            stack.append(layers.GlobalAveragePooling2D())
        else:
            stack.append(layers.MaxPooling2D(block.pool))
        if block.dropout:
            stack.append(layers.Dropout(block.dropout))
    return keras.Sequential([*stack, layers.Flatten(), layers.Dense(network.classes)])


def compiled(stage: Stage) -> keras.Sequential:
    """The network with the study's recipe; everything else is Keras' own choice."""
    model = keras_network(stage.network)
    model.compile(
        keras.optimizers.SGD(stage.recipe.learning_rate, momentum=stage.recipe.momentum),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


class Stopwatch(keras.callbacks.Callback):
    """Seconds from the beginning of an epoch to its end, validation included.

    Left out, in Keras' favour: making the data set, which a long fit does only
    once, and taking its input down, where TensorFlow 2.21 now and then sleeps
    for as long as the epoch took.
    """

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Start."""
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Stop."""
        self.seconds = time.perf_counter() - self.start


def main() -> None:
    """Serve until standard input ends."""
    sample, threads = read_sample(Path(sys.argv[1])), int(sys.argv[2])
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    prepared = cache(lambda stage, images: (compiled(STAGES[stage]), sample.first(images)))

    def measure(stage: int, images: int) -> float:
        model, part = prepared(stage, images)
        watch = Stopwatch()
        model.fit(
            part.train_images,
            part.train_labels,
            batch_size=STAGES[stage].recipe.batch_size,
            validation_data=(part.test_images, part.test_labels),
            callbacks=[watch],
            verbose=0,
        )
        return watch.seconds

    serve(measure, {"keras": keras.__version__, "tensorflow": tf.__version__})


if __name__ == "__main__":
    main()
