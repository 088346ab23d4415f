"""The plain edition: the book as one HTML page, built without Quarto."""

import cifar_study  # noqa: F401  where Python is too old, it says so
