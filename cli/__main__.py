"""`python -m cli` is `vedette`."""

from cli.main import main

if __name__ == "__main__":
    main()
