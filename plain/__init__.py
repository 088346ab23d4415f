"""The plain edition: the book as one HTML page, built without Quarto."""


class PlainError(Exception):
    """Something in the book's sources stops the build; the message names it and the remedy."""
