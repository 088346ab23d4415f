"""The one kind of error that a user can cause, and how errors are said."""


class StudyError(Exception):
    """A message of one line that names the file or option and the remedy.

    The command line prints it and exits with status 2; a chapter of the report
    shows it in place of the result it could not read.
    """


def reason(error: Exception) -> str:
    """Why, in one line: of the operating system without the path, else the error's own text."""
    return (
        getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]
    )


def missing_package(error: ImportError, make: str = "make train STAGE=1") -> str:
    """What to run where an import failed; a module of our own that is missing is raised again."""
    name = (error.name or "that was asked for").partition(".")[0]
    if name in ("cifar_study", "benchmarks", "plain"):
        raise error
    what = "is not installed"
    if not isinstance(error, ModuleNotFoundError):
        what = f"can't be used ({reason(error)})"
    return f"the package {name} {what}; run: {make} (or: pip install -r requirements.txt)"


def one_line(text: str) -> str:
    """The text with line breaks and other control characters, as file names have, spelt out."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)
