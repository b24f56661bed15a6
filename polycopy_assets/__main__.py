"""Where the `polycopy` command starts: `.env`, then the settings, then the command itself."""

import sys
from pathlib import Path

from polycopy_assets.errors import ConfigurationError
from polycopy_assets.interrupt import end_interrupted, on_interrupt


def main() -> None:
    """Runs the command; a wrong setting is one line on standard error and exit code 2."""
    # Until the command begins: the imports take seconds, and may swallow a KeyboardInterrupt.
    on_interrupt(end_interrupted)
    import dotenv  # noqa: PLC0415 - whatever is imported may be interrupted

    dotenv.load_dotenv(Path.cwd() / ".env")
    try:
        from polycopy_assets.cli import polycopy  # noqa: PLC0415 - reads the settings
    except ConfigurationError as error:
        print(f"polycopy: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    polycopy()


if __name__ == "__main__":
    main()
