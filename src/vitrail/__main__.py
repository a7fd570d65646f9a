"""`python -m vitrail`: the command line, for launchers that start modules."""

from vitrail.cli.main import main

if __name__ == "__main__":
    main()
