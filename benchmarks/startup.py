"""`import vitrail` against `import torch`, each in processes of its own.

python benchmarks/startup.py [rounds]
"""

import subprocess
import sys

from common import compare, write

BAR = 1.15


def importing(name: str) -> None:
    """A fresh interpreter that imports one package."""
    subprocess.run([sys.executable, "-c", f"import {name}"], check=True)


def main() -> None:
    """Prints and writes the ratio."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    table = compare(
        {"vitrail": lambda: importing("vitrail"), "torch": lambda: importing("torch")}, rounds
    )
    ratio = 1 / table["torch"]["ratio"]
    for name, row in table.items():
        print(f"import {name:<8} {row['median']:.3f} s")
    print(f"ratio {ratio:.3f} (bar: at most {BAR})")
    write("startup", {"seconds": table, "ratio": ratio, "bar": BAR})


if __name__ == "__main__":
    main()
