"""tools/check-hardening passes this build, and finds each defence that is missing."""

import json
import os
import platform
import subprocess
import tempfile
import unittest
from pathlib import Path

CHECK = Path(os.environ["TOOLS"]) / "check-hardening"

SOURCE = """
#include <stdio.h>
#include <string.h>
int main(int argc, char **argv)
{
    char text[16];
    strcpy(text, argv[argc - 1]);
    return puts(text) == 0;
}
"""

COMPILE = [
    "-O2",
    "-fPIE",
    "-fstack-protector-strong",
    *(["-fcf-protection=full", "-fstack-clash-protection"] if platform.machine() == "x86_64" else []),
    "-U_FORTIFY_SOURCE",
    "-D_FORTIFY_SOURCE=3",
]
LINK = ["-pie", "-Wl,-z,relro", "-Wl,-z,now", "-Wl,-z,noexecstack"]


class CheckHardening(unittest.TestCase):
    def build(self, root, without, instead=()):
        """A build folder with a program that lacks these flags and has others."""
        source = root / "src" / "main.c"
        source.parent.mkdir(parents=True)
        source.write_text(SOURCE)
        flags = [flag for flag in COMPILE if flag not in without] + list(instead)
        link = [flag for flag in LINK if flag not in without] + list(instead)
        compile_it = ["cc", *flags, "-c", "src/main.c", "-o", "main.o"]
        subprocess.run(compile_it, cwd=root, check=True, stderr=subprocess.DEVNULL)
        subprocess.run(["cc", "main.o", "-o", "utun", *link], cwd=root, check=True)
        entry = {
            "directory": str(root),
            "file": "src/main.c",
            "output": "main.o",
            "command": " ".join(compile_it),
        }
        (root / "compile_commands.json").write_text(json.dumps([entry]))

    def check(self, folder):
        done = subprocess.run([CHECK, folder], stdout=subprocess.PIPE, text=True)
        return done.returncode, done.stdout

    def assert_found(self, text, without, instead=()):
        with tempfile.TemporaryDirectory() as name:
            self.build(Path(name), without, instead)
            status, out = self.check(name)
        self.assertEqual(status, 1)
        self.assertIn(text, out)

    def test_this_build(self):
        self.assertEqual(self.check(os.environ["BUILD"]), (0, ""))

    def test_a_right_program(self):
        with tempfile.TemporaryDirectory() as name:
            self.build(Path(name), ())
            self.assertEqual(self.check(name), (0, ""))

    def test_each_that_is_missing(self):
        self.assert_found("PIE", ["-fPIE", "-pie"], ["-no-pie", "-fno-pie"])
        self.assert_found("RELRO", ["-Wl,-z,relro"], ["-Wl,-z,norelro"])
        self.assert_found("lazily", ["-Wl,-z,now"], ["-Wl,-z,lazy"])
        self.assert_found("stack", ["-Wl,-z,noexecstack"], ["-Wl,-z,execstack"])
        self.assert_found("stack protector", ["-fstack-protector-strong"], ["-fno-stack-protector"])
        self.assert_found("without -fstack-protector", ["-fstack-protector-strong"])
        self.assert_found("fortified", ["-D_FORTIFY_SOURCE=3"])
        self.assert_found("without -D_FORTIFY_SOURCE=3", ["-D_FORTIFY_SOURCE=3"])
        self.assert_found("RPATH", [], ["-Wl,-rpath,/tmp"])
        if platform.machine() == "x86_64":
            off = ["-fcf-protection=none"]
            self.assert_found("control-flow", ["-fcf-protection=full"], off)
            clash = "-fstack-clash-protection"
            self.assert_found(f"without {clash}", [clash])

    @unittest.skipUnless(platform.machine() == "x86_64", "CET is of x86-64")
    def test_a_library(self):
        """Each of its objects, if its recipe says that it was compiled so."""
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            self.build(root, ())
            prefix = root / "prefix"
            (prefix / "lib").mkdir(parents=True)
            for part, protection in {"marked": "full", "bare": "none"}.items():
                (root / f"{part}.c").write_text(f"int {part}(void);\nint {part}(void) {{ return 0; }}\n")
                compile_it = ["cc", f"-fcf-protection={protection}", "-c", f"{part}.c"]
                subprocess.run(compile_it, cwd=root, check=True)
            archive = ["ar", "rc", "prefix/lib/libcrypto.a", "marked.o", "bare.o"]
            subprocess.run(archive, cwd=root, check=True)
            (root / "build.ninja").write_text(
                "rule link\n  command = cc main.o prefix/lib/libcrypto.a -o utun\nbuild utun: link\n"
            )
            (prefix / "recipe").write_text("no-shared -fcf-protection=full\n")
            status, out = self.check(name)
            self.assertEqual(status, 1)
            self.assertIn("libcrypto.a: bare.o is not marked", out)
            self.assertNotIn("marked.o is", out)
            (prefix / "recipe").write_text("no-shared\n")
            self.assertEqual(self.check(name), (0, ""))

    def test_a_folder_without_sources(self):
        with tempfile.TemporaryDirectory() as name:
            self.build(Path(name), ())
            (Path(name) / "compile_commands.json").write_text("[]")
            status, out = self.check(name)
        self.assertEqual(status, 1)
        self.assertIn("no source", out)


if __name__ == "__main__":
    unittest.main()
