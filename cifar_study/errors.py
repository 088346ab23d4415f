"""The one kind of error that a user can cause."""


class StudyError(Exception):
    """A message of one line that names the file or option and the remedy.

    The command line prints it and exits with status 2; a chapter of the report
    shows it in place of the result it could not read.
    """
