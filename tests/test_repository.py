"""The repository itself: pins, files, and rules of its own that no linter knows."""

import ast
import re
import subprocess
import sys

import yaml

from tests.workspace import ROOT

SOURCES = [path for top in ("holdfast", "workflow") for path in sorted((ROOT / top).rglob("*.py"))]


def pins(lines):
    found = (re.match(r"([A-Za-z0-9_.-]+)==([^\s#]+)", line.strip("- \n")) for line in lines)
    return {match[1].lower().replace("_", "-"): match[2] for match in found if match}


def test_the_environments_have_the_requirements_pins():
    locked = pins((ROOT / "requirements.txt").read_text().splitlines())
    assert len(locked) > 60
    assert locked["torch"] == "2.13.0"
    for path in sorted((ROOT / "envs").glob("*.yaml")):
        packages = next(
            entry["pip"] for entry in yaml.safe_load(path.read_text())["dependencies"] if isinstance(entry, dict)
        )
        assert packages
        assert pins(packages).items() <= locked.items(), path.name


def test_every_requirement_is_pinned_and_direct_ones_say_why():
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert all(re.match(r"[A-Za-z0-9_.-]+==\d[^\s]*(\s+# \w+)?$", line) for line in lines)
    direct = {name for line in lines if "#" in line for name in pins([line])}
    imported = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module.partition(".")[0])
    known = {"pil": "pillow", "open-clip": "open-clip-torch", "yaml": "pyyaml", "huggingface-hub": "huggingface-hub"}
    outside = {known.get(name, name) for name in (name.lower().replace("_", "-") for name in imported)}
    outside -= {name.lower().replace("_", "-") for name in sys.stdlib_module_names} | {"holdfast"}
    # For CUDA alone: who asks for its optimiser installs it, as docs/real-models.md says.
    outside -= {"bitsandbytes"}
    assert outside <= direct, outside - direct


def test_the_package_knows_nothing_of_snakemake_and_stays_plain():
    for path in SOURCES:
        text = path.read_text()
        name = path.relative_to(ROOT).as_posix()
        assert text.count("\n") <= 400, name
        for forbidden in ("import pickle", "shell=True", "NotImplementedError", "except: pass"):
            assert forbidden not in text, f"{name}: {forbidden}"
        assert not re.search(r"torch\.load\((?![^)]*weights_only=True)", text), name
        assert not re.search(r"load_state_dict\([^)]*strict=False", text), name
        if name.startswith("holdfast/"):
            assert not re.search(r"^\s*(import|from) snakemake", text, re.MULTILINE), name


def test_what_the_snakefile_imports_loads_in_no_time():
    code = (
        "import sys\n"
        "from holdfast import config, devices, edits, labels, lineage, methods, paths, plan, plugins, report, study\n"
        "print([name for name in ('torch', 'numpy', 'pandas', 'diffusers', 'jsonschema') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_make_hides_no_error_of_snakemake():
    """`--quiet all` would leave a mistake in the configuration without its sentence."""
    assert not re.search(r"--quiet\b[^\n]*\ball\b", (ROOT / "Makefile").read_text())


def test_a_rule_its_script_its_log_and_its_benchmark_share_one_name():
    for path in sorted((ROOT / "workflow/rules").glob("*.smk")):
        for rule, body in re.findall(r"^rule (\w+):\n((?:    .*\n|\n)*)", path.read_text(), re.MULTILINE):
            if "script:" not in body:
                continue
            assert f'"../scripts/{rule}.py"' in body, rule
            assert f'"logs/{rule}' in body, rule
            assert "benchmark:" not in body or f'"results/benchmarks/{rule}' in body, rule
            assert (ROOT / f"workflow/scripts/{rule}.py").is_file(), rule


def test_a_script_is_a_docstring_an_import_and_a_call():
    import ast

    for path in sorted((ROOT / "workflow/scripts").glob("*.py")):
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), path.name
        kinds = [type(node).__name__ for node in tree.body[1:]]
        assert set(kinds[:-1]) <= {"Import", "ImportFrom"}, path.name
        assert kinds[-1] == "Expr", path.name
