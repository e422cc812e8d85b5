"""What holds for the whole repository: order of imports, sizes, style."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from faults import FAULTS
from wires import FIELDS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "asdkit"
MODULES = sorted(PACKAGE.rglob("*.py"))
SCRIPTS = [path for part in ("utils", "tools", "egs", "findings") for path in sorted((ROOT / part).rglob("*.sh"))]
SCRIPTS.append(ROOT / ".ci" / "run")
# A part imports parts of lower levels and, as long as no circle comes of it, parts of its own level.
LEVELS = [
    {"metrics"},
    {"utils"},
    {"config", "signals"},
    {"corpus"},
    {"data"},
    {"layers"},
    {"encoders", "adapt"},
    {"models", "losses", "protocols", "fetch"},
    {"train", "detectors", "infer", "report", "page", "pretrain", "monitor", "export"},
    {"bin"},
]
LEVEL = {part: level for level, parts in enumerate(LEVELS) for part in parts}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {module_name(path) for path in MODULES}


def imports(path: Path) -> set[str]:
    """Modules of the package that a module imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            base = node.module or ""
            found |= {f"{base}.{name.name}" if f"{base}.{name.name}" in NAMES else base for name in node.names}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return {name for name in found if name.startswith("asdkit.")}


def part(module: str) -> str:
    return module.split(".")[1]


def find_circle(edges: dict[str, set[str]]) -> list[str]:
    """One circle of a directed graph, or nothing."""
    state: dict[str, str] = {}

    def visit(node: str, path: list[str]) -> list[str]:
        if state.get(node) == "open":
            return [*path[path.index(node) :], node]
        if state.get(node) == "closed":
            return []
        state[node] = "open"
        for target in sorted(edges.get(node, ())):
            if circle := visit(target, [*path, node]):
                return circle
        state[node] = "closed"
        return []

    return next((circle for node in sorted(edges) if (circle := visit(node, []))), [])


GRAPH = {module_name(path): imports(path) for path in MODULES if module_name(path) != "asdkit"}


def test_the_checks_see_the_package():
    assert len(MODULES) >= 30 and len(SCRIPTS) >= 8
    assert "asdkit.utils.cli" in GRAPH["asdkit.bin.train"] and "asdkit.train.finetune" in GRAPH["asdkit.bin.train"]
    assert find_circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


def test_imports_run_one_way():
    wrong = [
        f"{module} imports {target}"
        for module, targets in GRAPH.items()
        for target in targets
        if LEVEL[part(target)] > LEVEL[part(module)]
    ]
    assert not wrong


def test_every_part_has_its_level():
    assert {part(module) for module in GRAPH} <= set(LEVEL)


def test_imports_make_no_circle():
    assert not find_circle(GRAPH)
    parts: dict[str, set[str]] = {}
    for module, targets in GRAPH.items():
        parts.setdefault(part(module), set()).update(part(target) for target in targets if part(target) != part(module))
    assert not find_circle(parts)


def test_setup_asks_for_a_torch_that_runs_no_code_of_checkpoints():
    wanted = re.findall(r'"torch>=(\d+)\.(\d+)', (ROOT / "setup.py").read_text(encoding="utf-8"))
    assert len(wanted) == 1 and tuple(map(int, wanted[0])) >= (2, 10)


def test_programs_are_not_imported():
    assert not [module for module, targets in GRAPH.items() if any(part(target) == "bin" for target in targets)]


def test_nothing_lies_deeper_than_a_part():
    assert not [path for path in MODULES if len(path.relative_to(PACKAGE).parts) > 2]


def test_no_room_holds_more_than_its_share():
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    rooms: dict[str, int] = {}
    for path, count in lines.items():
        room = path.relative_to(PACKAGE).parts[0]
        rooms[room] = rooms.get(room, 0) + count
    assert not {room: count for room, count in rooms.items() if count > 0.15 * sum(lines.values())}


def test_files_have_at_most_300_lines():
    assert not [
        f"{path}: {n}"
        for path in [*MODULES, *SCRIPTS]
        if (n := len(path.read_text(encoding="utf-8").splitlines())) > 300
    ]


def test_functions_have_at_most_60_lines():
    long = [
        f"{path}: {node.name}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno >= 60
    ]
    assert not long


def test_public_functions_are_typed_and_described():
    wrong = []
    for path in MODULES:
        body = ast.parse(path.read_text(encoding="utf-8")).body
        public = [n for n in body if isinstance(n, ast.FunctionDef | ast.ClassDef) and not n.name.startswith("_")]
        methods = [m for n in public if isinstance(n, ast.ClassDef) for m in n.body if isinstance(m, ast.FunctionDef)]
        for node in [n for n in [*public, *methods] if isinstance(n, ast.FunctionDef)]:
            arguments = [a for a in [*node.args.args, *node.args.kwonlyargs] if a.arg not in ("self", "cls")]
            if node.returns is None or any(a.annotation is None for a in arguments):
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: types")
        wrong += [
            f"{path.relative_to(ROOT)}:{n.lineno} {n.name}: docstring" for n in public if not ast.get_docstring(n)
        ]
    assert not wrong


@pytest.mark.parametrize("program", sorted(path.stem for path in (PACKAGE / "bin").glob("[a-z]*.py")))
def test_help_needs_no_heavy_import(program):
    code = (
        "import runpy, sys\nsys.argv = ['x', '--help']\n"
        f"try: runpy.run_module('asdkit.bin.{program}', run_name='__main__')\n"
        "except SystemExit as end: assert not end.code\n"
        "assert not {'torch', 'sklearn', 'tensorboard', 'transformers'} & set(sys.modules), 'heavy import'"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout


def test_every_fault_fits_the_code_and_its_tests_are_there():
    tests = {
        f"{path.stem.removeprefix('test_')}::{name}"
        for path in (ROOT / "test").glob("test_*.py")
        for name in re.findall(r"^def test_(\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    tests |= {name.partition("::")[0] for name in tests} | {f"[{field}]" for field in FIELDS}
    wrong = []
    for fault in FAULTS:
        text = (ROOT / fault.file).read_text(encoding="utf-8")
        if text.count(fault.old) != 1:
            wrong.append(f"{fault.name}: the old text occurs {text.count(fault.old)} times in {fault.file}")
        elif fault.file.endswith(".py"):
            try:
                ast.parse(text.replace(fault.old, fault.new))
            except SyntaxError as error:
                wrong.append(f"{fault.name}: {fault.file}:{error.lineno} is no Python any more")
        wrong += [f"{fault.name}: there is no test {word}" for word in fault.tests.split() if word not in tests]
    assert not wrong, "\n".join(wrong)


def tool(name: str) -> str:
    """Path of a tool beside this interpreter or on PATH; skips without it."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    return found or pytest.skip(f"{name} is not installed")


@pytest.mark.parametrize("words", [["check"], ["format", "--check"]], ids=["check", "format"])
def test_ruff(words):
    done = subprocess.run([tool("ruff"), *words, "."], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def test_shellcheck():
    words = [tool("shellcheck"), "-x", *SCRIPTS]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_scripts_stop_at_the_first_error(script):
    text = script.read_text()
    sourced = text.startswith("# shellcheck shell=bash\n")
    assert sourced or (text.startswith("#!/usr/bin/env bash\n") and "\nset -euo pipefail\n" in text)
    assert sourced != bool(script.stat().st_mode & 0o100), "a script can be run; a part of one cannot"
