"""Names that become folders of ours."""

import os

from paddleinterest.core.errors import InputError, one_line

LONGEST = 200  # bytes; most file systems allow 255, and temporary names are longer


def check_folder_name(name: str, what: str) -> str:
    """Check that a name can be the name of one folder.

    Args:
        name: the name.
        what: what has this name, for the message.

    Returns:
        The name.

    Raises:
        InputError: it is empty, leads elsewhere (`..`, `a/b`), holds control characters, or is too
            long.

    Example:
        >>> check_folder_name("beauty-2026", "runner.name")
        'beauty-2026'
    """
    is_one_folder = name not in ("", ".", "..") and "/" not in name and "\\" not in name
    is_text = name.isprintable() and len(os.fsencode(name)) <= LONGEST
    if not is_one_folder or not is_text:
        raise InputError(
            f"{what} is {one_line(repr(name), 300)}, must be the name of one folder: letters,"
            f" digits, - and _ for example, without /, at most {LONGEST} bytes"
        )
    return name
