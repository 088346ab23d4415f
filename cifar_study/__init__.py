"""A convolutional network for CIFAR-10, grown step by step: training, results and figures."""
