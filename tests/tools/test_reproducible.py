"""Two builds in different folders are the same: the core's libraries, and in the long form all."""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TREE = Path(os.environ["TOOLS"]).parent
BUILD = Path(os.environ["BUILD"])
LONG = os.environ.get("UTUN_TEST_LONG") == "1"
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


def build(folder):
    """{file: hash} of what comes of a copy of the tree in this folder."""
    left_out = shutil.ignore_patterns(".*", "build*", "__pycache__")
    shutil.copytree(TREE, folder, ignore=left_out)
    environment = {**os.environ, "CCACHE_DISABLE": "1"}
    setup = ["meson", "setup", "build", "-Dtests=false", *options()]
    quiet = {"cwd": folder, "check": True, "stdout": subprocess.DEVNULL, "env": environment}
    subprocess.run(setup, **quiet)
    subprocess.run(["ninja", "-C", "build", *TARGETS], **quiet)
    made = [folder / "build" / "utun"] if LONG else sorted((folder / "build").rglob("*.o"))
    contents = {str(path.relative_to(folder)): path.read_bytes() for path in made}
    tell = [name for name, data in contents.items() if str(folder).encode() in data]
    return {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}, tell


class Reproducible(unittest.TestCase):
    def test_two_folders(self):
        with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor() as both:
            folders = [Path(name, "one"), Path(name, "a", "folder", "further", "down")]
            (first, tell), (second, _) = both.map(build, folders)
        self.assertTrue(first)
        self.assertEqual(tell, [], "files that tell where they were made")
        self.assertEqual(first, second)


if __name__ == "__main__":
    unittest.main()
