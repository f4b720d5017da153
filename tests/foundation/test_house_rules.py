"""Rules that no linter makes: every public name is told, and told with its units."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("camera_rig", "calibration", "models", "cli")
UNITS = [
    "s",
    "ns",
    "ms",
    "us",
    "h",
    "mm",
    "um",
    "nm",
    "m",
    "v",
    "deg",
    "rad",
    "c",
    "hz",
    "fps",
    "px",
    "db",
    "mb",
    "gb",
    "bytes",
    "e",
    "waves",
    "electrons",
    "pixels",
    "um_rms",
    "waves_rms",
    "rms_waves",
    "v_per_s",
    "counts",
    "fraction",
    "ratio",
    "percent",
    "ppm",
    "count",
]
SUFFIX = re.compile(r"(^|_)(" + "|".join(UNITS) + r")$")
NUMBER = re.compile(r"^(float|float \| None)$")


def modules():
    for room in ROOMS:
        yield from sorted((ROOT / room).rglob("*.py"))


def public_functions(tree):
    """Yield (qualified name, node, docstrings that may explain it)."""
    module_doc = ast.get_docstring(tree) or ""

    def walk(body, prefix, docs):
        for node in body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield f"{prefix}{node.name}", node, docs
                own = [*docs, ast.get_docstring(node) or ""]
                yield from walk(node.body, f"{prefix}{node.name}.", own)
            elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                yield f"{prefix}{node.name}", node, docs

    yield from walk(tree.body, "", [module_doc])


def is_overload_or_setter(node):
    names = {ast.unparse(decorator) for decorator in getattr(node, "decorator_list", [])}
    return any("overload" in name or name.endswith(".setter") for name in names)


@pytest.mark.parametrize("path", list(modules()), ids=lambda path: str(path.relative_to(ROOT)))
def test_public_names_are_told_with_units(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    faults = []
    for name, node, docs in public_functions(tree):
        if is_overload_or_setter(node):
            continue
        doc = ast.get_docstring(node)
        if not doc:
            faults.append(f"{name}: no docstring")
            continue
        if isinstance(node, ast.ClassDef):
            continue
        text = "\n".join([*docs, doc])
        for argument in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]:
            annotation = ast.unparse(argument.annotation) if argument.annotation else ""
            untold = not re.search(rf"\b{argument.arg}\b", text)
            if NUMBER.match(annotation) and not SUFFIX.search(argument.arg) and untold:
                faults.append(f"{name}: number {argument.arg!r} has no unit in name or docstring")
    assert not faults, "\n".join(faults)


def test_modules_keep_to_one_job():
    """A file that grew far beyond a screenful of screens does more than one job."""
    long = {
        str(path.relative_to(ROOT)): lines
        for path in modules()
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 450
    }
    assert not long


def test_nothing_swallows_errors():
    swallowed = []
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ExceptHandler) and all(
                isinstance(step, ast.Pass) or isinstance(getattr(step, "value", None), ast.Constant)
                for step in node.body
            ):
                broad = node.type is None or ast.unparse(node.type) in (
                    "Exception",
                    "BaseException",
                    "RigError",
                )
                if broad:
                    swallowed.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not swallowed
