"""
Check what was built: the wheel holds the named packages, typed, and nothing else; the sdist holds all a gate needs.

    check_wheel.py DIST PACKAGE…
"""

import sys
import tarfile
import zipfile
from pathlib import Path

SDIST_NEEDS = (
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "Makefile",
    "tests/conftest.py",
    "docs/conf.py",
)


def faults(dist: Path, packages: list[str]) -> list[str]:
    """Return what is wrong with the files in *dist*; nothing is right with an empty list only."""
    wheels, sdists = sorted(dist.glob("*.whl")), sorted(dist.glob("*.tar.gz"))
    if len(wheels) != 1 or len(sdists) != 1:
        return [f"{dist} holds {len(wheels)} wheels and {len(sdists)} sdists instead of one each"]
    with zipfile.ZipFile(wheels[0]) as wheel:
        names = set(wheel.namelist())
    with tarfile.open(sdists[0]) as sdist:
        sources = {name.partition("/")[2] for name in sdist.getnames()}
    found: list[str] = []
    tops = {name.partition("/")[0] for name in names}
    info = {top for top in tops if top.endswith(".dist-info")}
    if len(info) != 1 or tops - info != set(packages):
        found.append(f"the wheel's top level is {sorted(tops)}, not {packages} and one .dist-info")
    found += [f"the wheel has no {package}/py.typed" for package in packages if f"{package}/py.typed" not in names]
    found += [f"the wheel has {name}" for name in sorted(names) if "__pycache__" in name or name.endswith(".pyc")]
    if not any(name.endswith("/licenses/LICENSE") for name in names):
        found.append("the wheel has no licence")
    # The wheel is built from the sdist, so a package file that the sdist lacks is lacking in both: ask the checkout.
    for package in packages:
        for file in Path(package).rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts and file.as_posix() not in names:
                found.append(f"the wheel has no {file.as_posix()}")
    found += [f"the sdist has no {name}" for name in SDIST_NEEDS if name not in sources]
    return found


def main() -> int:
    """Print the faults, or one line that says there are none."""
    dist, packages = Path(sys.argv[1]), sys.argv[2:]
    found = faults(dist, packages)
    for fault in found:
        print(fault, file=sys.stderr)
    if not found:
        print(f"{next(dist.glob('*.whl'))}: {', '.join(packages)}, each typed, and nothing else")
    return bool(found)


if __name__ == "__main__":
    raise SystemExit(main())
