"""One line at the terminal that says what is being measured; nothing where nobody watches."""

import sys

_COLUMNS = 60


def progress(text: str = "") -> None:
    """Show `text` in place of what was shown before; without it, clear the line."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{text:{_COLUMNS}}" if text else f"\r{'':{_COLUMNS}}\r")
        sys.stderr.flush()
