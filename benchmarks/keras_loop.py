"""The second peer, ``model.fit``: ``python -m benchmarks.keras_loop SAMPLE STAGE``.

Runs in an environment of its own, with TensorFlow and without torch, and prints the seconds of an
epoch on the sample.
"""

import sys
import time

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from cifar_study.stages import STAGES, Network


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
        global_average = block.pool == "global"
        pool = (
            layers.GlobalAveragePooling2D() if global_average else layers.MaxPooling2D(block.pool)
        )
        stack.append(pool)
        if block.dropout:
            stack.append(layers.Dropout(block.dropout))
    return keras.Sequential([*stack, layers.Flatten(), layers.Dense(network.classes)])


def main() -> None:
    """Warm up for an epoch, then time one from its beginning to its end, validation included.

    Left out, in Keras' favour: making the data set and taking it down, where TensorFlow may sleep.
    """
    stage = STAGES[int(sys.argv[2])]
    train_images, train_labels, *test = np.load(sys.argv[1]).values()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    model, marks = keras_network(stage.network), []
    model.compile(
        keras.optimizers.SGD(stage.recipe.learning_rate, momentum=stage.recipe.momentum),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )

    def mark(*_: object) -> None:
        marks.append(time.perf_counter())

    clock = keras.callbacks.LambdaCallback(on_epoch_begin=mark, on_epoch_end=mark)
    fit = {"batch_size": stage.recipe.batch_size, "validation_data": tuple(test), "verbose": 0}
    model.fit(train_images, train_labels, epochs=2, callbacks=[clock], **fit)
    print(marks[3] - marks[2])


if __name__ == "__main__":
    main()
