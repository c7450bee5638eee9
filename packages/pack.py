"""Pack the two packages as wheels whose bytes depend on their sources alone.

    python packages/pack.py FOLDER      # writes the wheels there, prints a line of a lock for each

A generated repository pins the wheels by their hash, so the same sources must give the same bytes
on every machine and with every Python: files are sorted, have no date and are not compressed. Only
the standard library is used, without tomllib, which Python 3.10 lacks: `settings` reads the part of
TOML that the two pyproject.toml use. tests/test_packages.py compares the wheels with those of
`python -m build`.
"""

import base64
import hashlib
import json
import re
import sys
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
NAMES = ("sagemaker-emulator", "sagemaker-project")
SUFFIXES = {".json", ".md", ".py", ".typed"}
WHEEL = "Wheel-Version: 1.0\nGenerator: pack.py\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def pack(destination):
    """Write the wheels into a folder; return (name, version, sha256) of each."""
    packed = []
    for name in NAMES:
        project = settings((HERE / name / "pyproject.toml").read_text(encoding="utf-8"))
        content = _wheel(HERE / name, project)
        path = Path(
            destination, f"{_normal(name)}-{project['project']['version']}-py3-none-any.whl"
        )
        _write(path, content)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        packed.append((name, project["project"]["version"], digest))
    return packed


def settings(text):
    """Return {table: {key: value}} of TOML whose values are strings and lists of strings."""
    tables, table = {}, {}
    line = re.compile(
        r'^\[(?P<table>[^\[\]]+)\]$|^"?(?P<key>[\w.-]+)"? = (?P<value>"[^\n]*"$|\[.*?\]$)',
        re.MULTILINE | re.DOTALL,
    )
    for found in line.finditer(text):
        if found["table"]:
            table = tables.setdefault(found["table"], {})
        else:
            table[found["key"]] = json.loads(re.sub(r",\s*\]$", "]", found["value"]))
    return tables


def _wheel(folder, project):
    """Return {path in the wheel: bytes}."""
    sources = folder / "src"
    content = {
        path.relative_to(sources).as_posix(): path.read_bytes().replace(b"\r\n", b"\n")
        for path in sources.rglob("*")
        if path.is_file() and path.suffix in SUFFIXES and _is_source(path.relative_to(sources))
    }
    about = f"{_normal(project['project']['name'])}-{project['project']['version']}.dist-info"
    content[f"{about}/METADATA"] = _metadata(folder, project).encode()
    content[f"{about}/WHEEL"] = WHEEL.encode()
    content[f"{about}/entry_points.txt"] = _entry_points(project).encode()
    content[f"{about}/licenses/LICENSE"] = (folder / "LICENSE").read_bytes()
    record = [
        f"{name},sha256={_hash(content[name])},{len(content[name])}" for name in sorted(content)
    ]
    record.append(f"{about}/RECORD,,")
    content[f"{about}/RECORD"] = "\n".join([*record, ""]).encode()
    return content


def _is_source(path):
    return not any(part.startswith(".") or part.endswith(".egg-info") for part in path.parts)


def _metadata(folder, tables):
    project, extras = tables["project"], tables.get("project.optional-dependencies", {})
    fields = [
        ("Metadata-Version", "2.4"),
        ("Name", project["name"]),
        ("Version", project["version"]),
        ("Summary", project["description"]),
        ("Keywords", ",".join(project["keywords"])),
        ("License-Expression", project["license"]),
        *(("Classifier", classifier) for classifier in project["classifiers"]),
        ("Requires-Python", project["requires-python"]),
        ("Description-Content-Type", "text/markdown"),
        *(("License-File", file) for file in project["license-files"]),
        *(("Requires-Dist", wanted) for wanted in project["dependencies"]),
    ]
    for extra, requirements in extras.items():
        fields.append(("Provides-Extra", extra))
        fields += [("Requires-Dist", f'{wanted}; extra == "{extra}"') for wanted in requirements]
    readme = (folder / project["readme"]).read_text(encoding="utf-8")
    return "".join(f"{name}: {value}\n" for name, value in fields) + f"\n{readme}"


def _entry_points(tables):
    groups = {"console_scripts": tables["project.scripts"]}
    prefix = "project.entry-points."
    groups |= {n.removeprefix(prefix): t for n, t in tables.items() if n.startswith(prefix)}
    return "\n".join(
        "".join([f"[{group}]\n", *(f"{name} = {value}\n" for name, value in entries.items())])
        for group, entries in groups.items()
    )


def _write(path, content):
    with zipfile.ZipFile(path, "w") as wheel:
        for name in sorted(content, key=lambda name: (".dist-info/" in name, name)):
            member = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            member.create_system = 3  # Unix, on every system
            member.external_attr = 0o100644 << 16
            wheel.writestr(member, content[name])


def _hash(content):
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def _normal(name):
    return name.replace("-", "_")


if __name__ == "__main__":
    for name, version, digest in pack(sys.argv[1]):
        print(f"{name}=={version} --hash=sha256:{digest}")
