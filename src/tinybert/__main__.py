"""The command line as ``python -m tinybert``."""

from tinybert.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
