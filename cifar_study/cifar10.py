"""What is known of CIFAR-10 without looking at it: classes, sizes, published means.

Both halves of the package need it, so it imports neither; and no package, so that the
command can say which one is missing.
"""

CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer",
    "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
SIDE = 32  # pixels
TRAIN, TEST = 50_000, 10_000  # pictures, as many of each class
TRAIN_SAMPLE = 10_000  # training pictures that are evaluated after each epoch, as many as test ones
CHANNEL_MEANS = (0.49139968, 0.48215841, 0.44653091)  # published, of the training pixels
