"""Entry point of `python -m cli`, the same as `vedette`."""

from cli.main import main

if __name__ == "__main__":
    main()
