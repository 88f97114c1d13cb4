"""docs/messages.txt: everything that batchgray can say to a person, to be read as a whole.

The errors with sample arguments, then the sentences in the code, module by module, with what is filled in as {...}.

    python scripts/make_messages.py           writes the list
    python scripts/make_messages.py --check   says whether it is not what would be written, and exits 1
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from batchgray import errors

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "docs" / "messages.txt"

_SAMPLES = {
    "BadMetadataUrl": ["http://h:abc", "Port could not be cast to integer value as 'abc'"],
    "BadSize": ["lots"],
    "BadValue": ["--quality", "a whole number from 1 to 100", "abc"],
    "BadStoreSettings": ["oss://photos/2026", "set OSS_REGION to the bucket's region, such as cn-hangzhou"],
    "BadUrl": ["os://photos", "batchgray knows no os://"],
    "Collisions": [errors._Lines("\n  /in/b.jpg and /in/b.jpeg -> b.jpg")],
    "DamagedManifest": ["/out/manifest.json", "its seal is broken"],
    "DiskFullAtStart": ["/out/manifest.json", "No space left on device"],
    "EmptyValue": ["--out"],
    "ExtraMissing": ["oss://", "No module named 'alibabacloud_oss_v2'", "oss"],
    "ForeignFile": ["/out/manifest.json.journal"],
    "ForeignManifest": ["/out/manifest.json", "it is not JSON"],
    "ForeignMetrics": ["/srv/textfile/batchgray.prom"],
    "ForeignReport": ["/out/report.html"],
    "FutureManifest": ["/out/manifest.json", 2, 1],
    "IncompleteSmq": ["spot-interruption", "the endpoint is missing (--smq-endpoint, MNS_ENDPOINT)"],
    "InputGone": ["/in", "12 images", "now there is none"],
    "InterruptedEarly": ["SIGINT"],
    "KeyRefused": ["spot-interruption", "http://mns.example.com", "InvalidAccessKeyId"],
    "IsJob": ["/out/manifest.json"],
    "IsNoJob": ["/out/manifest.json"],
    "JobDiffers": ["oss://gray/2026/manifest.json", "--quality 75"],
    "LinkInTheWay": ["/out/.batchgray"],
    "NotForJobs": ["--prune", "what was made stays"],
    "RayUnreachable": ["10.0.0.1:6379", "Connection refused"],
    "NodesRefuse": ["spot-1-3f2a9c", "it has batchgray 0.2.0, and this one is 0.1.0"],
    "UnfitPlace": ["oss://gray/2026", "versioning: it is Enabled"],
    "PlaceUnusable": ["oss://gray/2026", "it can't be reached"],
    "PlaceLost": ["gray/2026: it can't be reached"],
    "PlaceFull": ["oss://gray/2026", "the bucket's quota is used up"],
    "ManifestIsInput": ["/in/b.png"],
    "ManifestLocked": ["/out/manifest.json", "process 4711 on host-1"],
    "ManifestUnwritable": ["/out/manifest.json", "Input/output error"],
    "MisspeltValue": ["--method", "bt601, bt709 or luma", "bt602", "bt601"],
    "MovedInputs": ["/in", "12 images", "now there is none of them"],
    "ManifestInFlight": ["/out/.batchgray/m.json"],
    "MovedOutput": ["/out"],
    "UnwritableStdout": ["No space left on device"],
    "BaseNotFolder": ["/in/a.png"],
    "NotBelowBase": ["/elsewhere/a.png", "/in"],
    "NothingFound": ["/in", "are: 3 .txt, 1 hidden"],
    "NoSuchInput": ["/in/a.png"],
    "NoSuchManifest": ["/out/manifest.json"],
    "OptionsDiffer": ["/out/manifest.json", "--quality 75"],
    "OtherInputs": ["/mnt/in", "/in", "12 images", "11"],
    "OtherOutput": ["/jobs/manifest.json", "/out", "/other"],
    "OutputInTheWay": ["the outputs a and a/b.jpg can't both be there"],
    "OutputIsInput": ["/in"],
    "OutputIsSource": ["/in/a.jpg"],
    "OutputLost": ["/out", "Read-only file system"],
    "OutputNotFolder": ["b.jpg", "has the name of one", "gray"],
    "OutputsGone": ["/out", "12 images", "/jobs/manifest.json"],
    "PrunedIsSource": ["/out/a.jpg"],
    "QueueDenied": ["spot-interruption", "http://mns.example.com", "ReceiveMessage"],
    "QueueMissing": ["spot-interruption", "http://mns.example.com"],
    "QueueUnreachable": ["spot-interruption", "http://mns.example.com", "Connection refused"],
    "RootsMismatch": [1, 2, "/in, /more"],
    "StrayCharacter": ["--instance-id", "i-\\xff"],
    "Stopped": ["SIGTERM"],
    "TakenNames": [errors._Lines("\n  /day1/b.jpg and /day2/b.jpg -> b.jpg")],
    "UnlockableManifest": ["/out/manifest.json.lock", "No locks available"],
    "UnreadableInput": ["/in", "Permission denied"],
    "UnreadableList": ["list.txt", "No such file or directory"],
    "UnreadableManifest": ["/out/manifest.json", "Permission denied"],
    "UnwritableOutput": ["/out", "Permission denied"],
    "UnservableReport": ["127.0.0.1", "80", "Permission denied"],
    "UnwritableReport": ["/out/report.html", "Permission denied"],
    "WorkersCannotWork": ["no process can be started (Resource temporarily unavailable)"],
}

_LEAST_WORDS = 3
_CODE = {
    "method_code.py",
    "machine_code.py",
    "splice_code.py",
    "walk_code.py",
    "deflate_code.py",
}  # whose strings are for compilers


def rendered() -> str:
    """The list. Raises KeyError where an error has no sample."""
    parts = [__doc__.partition("\n")[0].removeprefix("docs/messages.txt: ").capitalize(), "", "errors"]
    parts += [f"  {kind.exit_code}  {kind(*_SAMPLES.get(kind.__name__, []))}" for kind in _errors()]
    for path in sorted((ROOT / "batchgray").rglob("*.py")):
        found = list(dict.fromkeys(_sentences(ast.parse(path.read_text("utf-8")))))
        if found and path.name not in {"errors.py", *_CODE}:
            parts += ["", str(path.relative_to(ROOT)), *(f"  {text}" for text in found)]
    return "\n".join(parts) + "\n"


def _errors() -> list[type[errors.BatchgrayError]]:
    """Those with a message of their own."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    kinds = [kind for kind in kinds if issubclass(kind, errors.BatchgrayError) and kind.__doc__ != "{0}"]
    for kind in kinds:
        if "{0}" in kind.__doc__ and kind.__name__ not in _SAMPLES:
            raise KeyError(f"_SAMPLES has nothing for {kind.__name__}")
    return kinds


def _sentences(tree: ast.AST) -> Iterator[str]:
    """String literals of some words, in their order, but for docstrings and regular expressions."""
    skipped = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for inner in ast.walk(node)}
    skipped |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "re.compile")
    skipped |= {id(argument) for call in calls for argument in call.args}
    found = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    found += [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped
    ]
    for node in sorted(found, key=lambda node: (node.lineno, node.col_offset)):
        text = " ".join(_text(node).split())
        if len([word for word in text.split() if any(map(str.isalpha, word))]) >= _LEAST_WORDS:
            yield text


def _text(node: ast.JoinedStr | ast.Constant) -> str:
    if isinstance(node, ast.Constant):
        return node.value
    return "".join(
        part.value if isinstance(part, ast.Constant) else f"{{{_short(part.value)}}}" for part in node.values
    )


def _short(node: ast.expr) -> str:
    """The last name of what is filled in: enough to read, and no change of the code around it changes the list."""
    names = [inner.id if isinstance(inner, ast.Name) else inner.attr for inner in ast.walk(node) if _is_name(inner)]
    return names[0] if names else "..."


def _is_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Name | ast.Attribute)


def main() -> int:
    text = rendered()
    if "--check" in sys.argv[1:]:
        if TARGET.read_text("utf-8") == text:
            return 0
        print(f"{TARGET} is not what scripts/make_messages.py writes: run it", file=sys.stderr)
        return 1
    TARGET.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
