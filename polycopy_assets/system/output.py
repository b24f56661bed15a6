"""Errors of standard output, told apart from those of files and databases."""


def is_of_output(error: OSError) -> bool:
    """Whether `error` was raised as a command printed with click: it names no file itself.

    Trying once more would not tell: an unbuffered output (PYTHONUNBUFFERED) keeps nothing back.
    """
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return bool(trace) and trace.tb_frame.f_globals.get("__name__") == "click.utils"
