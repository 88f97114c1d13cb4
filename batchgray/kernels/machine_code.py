"""Machine code that outlives the process that compiled it: numba is imported only where there is none to be had.

    MODULE.py --numba, LLVM--> object code --> CACHE/batchgray-MODULE-KEY.o --> loaded by LLVM alone, in milliseconds

The `functions()` of a module of code are numba's cfuncs by name. They must need nothing of numba or Python when they
run. Importing numba and compiling, or loading from numba's own cache, takes a second of processor time; importing
llvmlite and loading this takes a tenth.

What is kept is trusted only if all of this holds:
- the file belongs to this user or to root, and nobody else may write it, or into its folder: it is code;
- it is, to the bit, what was sealed for this key: the processor, LLVM's version, the source that it was compiled from.
  (numba's version takes 20 ms to learn, and has no part in what the code needs to run.) numba's own cache has no such
  seal; after a crash it may hold a torn file, or another version's code;
- what it computes from a small input is right.
Otherwise numba compiles, and the file is replaced. Several processes may do so at once: each renames a file of its
own, and all of them are the same.

Only public interfaces of numba (`cfunc`, `CFunc.inspect_llvm`) and llvmlite (`binding`) are used; tested with numba
0.61 and 0.68.
"""

import contextlib
import importlib
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm

from batchgray.storage import durable, integrity
from batchgray.storage.guards import open_regular

Functions = Mapping[str, Callable[..., Any]]

_PACKAGE = Path(__file__).parent
_KEPT = 8  # files a module and folder: a home may be shared by machines of several kinds
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
_SEAL_BYTES = len(integrity.checksum([])) + 1
_PREFIX = "batchgray_"  # of the functions' symbols

_engines: list[llvm.ExecutionEngine] = []  # they own the memory that the code is in


def load(module: str, types: Mapping[str, Any], works: Callable[[Functions], bool]) -> Functions:
    """The compiled functions of batchgray.kernels.`module`, as ctypes calls them: without the GIL.

    `types` has the type of each function, as `ctypes.CFUNCTYPE` makes it; `works` tries them. Raises whatever numba
    raises where it can't compile, and RuntimeError if what it compiled does not work.
    """
    key = _key(module)
    name = f"batchgray-{module}-{integrity.number(key):016x}.o"
    folder = _folder()
    kept = None if folder is None else _read(folder / name, key)
    if kept is not None:
        functions = _functions(kept, types)
        if works(functions):
            return functions
    code = _machine().emit_object(_compiled(module))
    functions = _functions(code, types)
    if not works(functions):
        raise RuntimeError("what numba compiled does not compute what it should")
    if folder is not None:
        with contextlib.suppress(OSError):  # there is no such folder, no right, no space
            _keep(folder, module, name, key, code)
    return functions


def assembly(module: str) -> str:
    """What the functions of batchgray.kernels.`module` become on this processor."""
    return str(_machine().emit_assembly(_compiled(module)))


def _compiled(module: str) -> llvm.ModuleRef:
    """LLVM's optimised code of all functions, under names that depend on nothing."""
    whole = llvm.parse_assembly(f'target triple = "{llvm.get_process_triple()}"')
    for name, function in importlib.import_module(f"batchgray.kernels.{module}").functions().items():
        part = llvm.parse_assembly(function.inspect_llvm())
        (entry,) = (each for each in part.functions if each.name.startswith("cfunc."))
        entry.name = _PREFIX + name
        whole.link_in(part)
    foreign = [each.name for each in whole.functions if each.is_declaration and not each.name.startswith("llvm.")]
    if foreign:
        raise RuntimeError(f"batchgray.kernels.{module} would call {', '.join(foreign)}")
    return whole


def _machine() -> llvm.TargetMachine:
    """This processor. A new one each time: an engine takes the one that it is given."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=_features(), opt=3, codemodel="jitdefault", jit=True
    )


def _features() -> str:
    return str(llvm.get_host_cpu_features().flatten())


def _functions(code: bytes, types: Mapping[str, Any]) -> Functions:
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _engines.append(engine)
    return {name: kind(engine.get_function_address(_PREFIX + name)) for name, kind in types.items()}


def _key(module: str) -> str:
    """All that the code depends on."""
    sources = (_PACKAGE / f"{each}.py" for each in (module, "weights", "machine_code"))
    return "\n".join(
        (
            integrity.checksum(source.read_bytes() for source in sources),
            llvmlite.__version__,
            llvm.get_process_triple(),
            llvm.get_host_cpu_name(),
            _features(),
        )
    )


def _folder() -> Path | None:
    """Where code is kept: where the user says, else in the user's cache.

    Not beside the source, as numba would: what is there when the package is uninstalled stays, and its folders too.
    """
    if given := os.environ.get("NUMBA_CACHE_DIR"):
        return Path(given)
    cache = os.environ.get("XDG_CACHE_HOME", "")
    if Path(cache).is_absolute():
        return Path(cache) / "batchgray"
    try:
        return Path.home() / ".cache" / "batchgray"
    except RuntimeError:  # a user without a home
        return None


def _read(path: Path, key: str) -> bytes | None:
    try:
        _check_owner(path.parent.stat())
        with open_regular(path, follow_links=False) as file:
            _check_owner(os.fstat(file.fileno()))
            sealed = file.read()
    except OSError:
        return None
    code = sealed[_SEAL_BYTES:]
    return code if sealed[:_SEAL_BYTES] == _seal(key, code) else None


def _check_owner(found: os.stat_result) -> None:
    """Raises PermissionError where others than this user and root can have written."""
    if found.st_uid not in (0, os.geteuid()) or found.st_mode & _OTHERS_MAY_WRITE:
        raise PermissionError


def _seal(key: str, code: bytes) -> bytes:
    return integrity.checksum([key.encode(), code]).encode("ascii") + b"\n"


def _keep(folder: Path, module: str, name: str, key: str, code: bytes) -> None:
    """Raises OSError."""
    durable.make_folders(folder, mode=0o777 & ~_OTHERS_MAY_WRITE)
    with durable.Folder.at(folder) as holding:
        _check_owner(os.fstat(holding.fileno()))
        with holding.saving(name, f"{name}.{os.getpid()}") as file:
            os.fchmod(file.fileno(), os.fstat(file.fileno()).st_mode & ~_OTHERS_MAY_WRITE & 0o777)
            file.append(_seal(key, code) + code)
        files = sorted(folder.glob(f"batchgray-{module}-*.o*"), key=lambda path: path.stat().st_mtime_ns)
        for path in files[:-_KEPT]:
            holding.remove(path.name)
