"""The rooms in docs/architecture.md: the rows of the layers contract in setup.cfg, and the first words of each module.

python scripts/make_map.py           writes them
python scripts/make_map.py --check   says whether they are not what would be written, and exits 1
"""

import ast
import configparser
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "batchgray"
TARGET = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- rooms: written by scripts/make_map.py -->", "<!-- end of the rooms -->"


def rows() -> list[list[str]]:
    """The rooms (and modules that are in none) from the top to the bottom, those beside each other in a row."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", "utf-8")
    layers = config["importlinter:contract:layers"]["layers"].split("\n")
    return [[name.rpartition(".")[2] for name in re.split("[|:]", row)] for row in layers if row]


def first_words(path: Path) -> str:
    """The first sentence of a module's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    paragraph = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=[a-z`)]\.) (?=[A-Z`])", paragraph)[0]


def drawn() -> str:
    """The rows as a picture, then each room with its modules."""
    picture = [" | ".join(name.strip() for name in row) for row in rows()]
    parts = ["```", *picture, "```", ""]
    for row in rows():
        for name in sorted(name.strip() for name in row):
            parts += _room(PACKAGE / name) if (PACKAGE / name).is_dir() else [_line(PACKAGE / f"{name}.py", name)]
    return "\n".join(parts)


def _room(folder: Path) -> Iterator[str]:
    yield f"- **{folder.name}/**: {first_words(folder / '__init__.py')}"
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name != "__init__":
            yield f"  {_line(path, name.removesuffix('/__init__') + '/' * name.endswith('/__init__'))}"


def _line(path: Path, name: str) -> str:
    return f"- `{name}`: {first_words(path)}"


def rendered() -> str:
    """The whole page."""
    before, _, rest = TARGET.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{drawn()}\n\n{END}{after}"


def main() -> int:
    text = rendered()
    if "--check" in sys.argv[1:]:
        if TARGET.read_text("utf-8") == text:
            return 0
        print(f"{TARGET} is not what scripts/make_map.py writes: run it", file=sys.stderr)
        return 1
    TARGET.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
