"""`import vitrail` against `import torch`, each in processes of its own.

python -m benchmarks.startup [rounds]

Public names are fetched when first used, so the bare import is nearly free. The fair rival of torch
is the import with the first use of a model, which brings torch with it.
"""

import subprocess
import sys

from benchmarks.common import compare, write

BAR = 1.15
STATEMENTS = ("import vitrail; vitrail.ViT", "import torch", "import vitrail")


def run(statement: str) -> None:
    """A fresh interpreter that runs one statement."""
    subprocess.run([sys.executable, "-c", statement], check=True)


def main() -> None:
    """Prints and writes the ratios."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    table = compare({s: (lambda s=s: run(s)) for s in STATEMENTS}, rounds)
    for statement, row in table.items():
        print(f"{statement:<28} {row['median']:.3f} s")
    ratio = 1 / table["import torch"]["ratio"]
    print(f"a model of vitrail against torch: {ratio:.3f} (bar: at most {BAR})")
    write("startup", {"seconds": table, "ratio": ratio, "bar": BAR})


if __name__ == "__main__":
    main()
