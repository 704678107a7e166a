"""Two builds in different folders are the same: the core's libraries, and in the long form all."""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

TREE = Path(os.environ["TOOLS"]).parent
BUILD = Path(os.environ["BUILD"])
LONG = os.environ.get("UTUN_TEST_LONG") == "1"
COPIED = ("src", "tests", "tools", "docs", "packaging", "meson.build", "meson_options.txt")
OPTIONS = ("static_deps", "deps_libdir", "pkg_config_path", "buildtype")
TARGETS = ["utun"] if LONG else ["src/base/libutun-base.a", "src/config/libutun-config.a"]


def options():
    """How this build was set up, as arguments for another."""
    shown = subprocess.run(
        ["meson", "introspect", "--buildoptions", BUILD], stdout=subprocess.PIPE, check=True
    )
    for option in json.loads(shown.stdout):
        if option["name"] in OPTIONS:
            value = option["value"]
            text = ",".join(value) if isinstance(value, list) else str(value).lower()
            yield f"-D{option['name']}={text}"


def build(folder, extra=()):
    """{file: hash} of what comes of a copy of the tree in this folder."""
    folder.mkdir(parents=True)
    for name in COPIED:
        source = TREE / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    environment = {**os.environ, "CCACHE_DISABLE": "1"}
    setup = ["meson", "setup", "build", "-Dtests=false", *options(), *extra]
    quiet = {"cwd": folder, "check": True, "stdout": subprocess.DEVNULL, "env": environment}
    subprocess.run(setup, **quiet)
    subprocess.run(["ninja", "-C", "build", *TARGETS], **quiet)
    made = [folder / "build" / "utun"] if LONG else sorted((folder / "build").rglob("*.o"))
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in made
    }


class Reproducible(unittest.TestCase):
    def test_two_folders(self):
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            first = build(root / "one")
            second = build(root / "a" / "folder" / "further" / "down")
            self.assertTrue(first)
            self.assertEqual(first, second)
            if not LONG:
                # What must make a difference does: the comparison is not blind.
                other = build(root / "three", ["-Dc_args=-DNDEBUG_IS_NOT_SET=1 -O1"])
                self.assertNotEqual(first, other)


if __name__ == "__main__":
    unittest.main()
