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
from benchmarks.sample import first, read_sample
from cifar_study.stages import STAGES, Network, Recipe


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


@cache
def compiled(network: Network, recipe: Recipe) -> keras.Sequential:
    """The network with the study's recipe; everything else is Keras' own choice."""
    model = keras_network(network)
    model.compile(
        keras.optimizers.SGD(recipe.learning_rate, momentum=recipe.momentum),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def main() -> None:
    """Serve until standard input ends."""
    sample, threads = read_sample(Path(sys.argv[1])), int(sys.argv[2])
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)

    def measure(stage: int, images: int) -> float:
        """Seconds from the beginning of an epoch to its end, validation included.

        Left out, in Keras' favour: making the data set, which a long fit does
        only once, and taking its input down, where TensorFlow 2.21 now and
        then sleeps for as long as the epoch took.
        """
        part, recipe, marks = first(sample, images), STAGES[stage].recipe, []

        def mark(*_: object) -> None:
            marks.append(time.perf_counter())

        compiled(STAGES[stage].network, recipe).fit(
            part.train_images,
            part.train_labels,
            batch_size=recipe.batch_size,
            validation_data=(part.test_images, part.test_labels),
            callbacks=[keras.callbacks.LambdaCallback(on_epoch_begin=mark, on_epoch_end=mark)],
            verbose=0,
        )
        return marks[1] - marks[0]

    serve(measure, {"keras": keras.__version__, "tensorflow": tf.__version__})


if __name__ == "__main__":
    main()
