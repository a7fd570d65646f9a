"""`vitrail`, which notes the exit code of its process: after SIGTERM torchrun does not tell it."""

import os

from vitrail.cli.main import main

if __name__ == "__main__":
    try:
        main()
    except SystemExit as end:
        with open(os.environ["EXIT_CODES"], "a") as file:
            file.write(f"{end.code}\n")
        raise
