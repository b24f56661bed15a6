"""ZetaSQL's machine code, made once and kept in a file.

It comes as 28 MB of WebAssembly, which Wasmtime compiles in every process: 24 seconds of a core and
1.1 GB, without optimizing. What it makes can be kept, and is then mapped into memory: in a tenth of
a second, and shared by all processes. `make` has it made when it installs what tests need:

    python -m polycopy_assets_tests.fakes.machine_code
"""

import fcntl
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from wasmtime import Config, Engine, Module, WasmtimeError
from zetasql.wasi import get_wasm_path

WASM = Path(get_wasm_path())
CODE = Path(sys.prefix, "cache", f"zetasql-{version('zetasql')}-{version('wasmtime')}.code")
"""Beside the code itself: who can write there can have us run anything as it is."""


def kept(engine: Engine, wasm: Path = WASM, file: Path = CODE) -> Module:
    """The module in `wasm`, by its machine code in `file`.

    If there is none, or it is for another machine or version, it is made, by a process of its own,
    so that the memory for it is given back. Others wait for it.
    """
    try:
        return Module.deserialize_file(engine, str(file))
    except WasmtimeError:
        subprocess.run([sys.executable, "-m", __name__, str(wasm), str(file)], check=True)
        return Module.deserialize_file(engine, str(file))


def make(wasm: Path = WASM, file: Path = CODE) -> None:
    """Makes the machine code of `wasm`, unless `file` has it already."""
    config = Config()
    config.cranelift_opt_level = "none"
    engine = Engine(config)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            Module.deserialize_file(engine, str(file))
        except WasmtimeError:
            whole = file.with_suffix(f".{os.getpid()}")
            whole.write_bytes(Module.from_file(engine, str(wasm)).serialize())
            whole.replace(file)


if __name__ == "__main__":
    make(*map(Path, sys.argv[1:]))
