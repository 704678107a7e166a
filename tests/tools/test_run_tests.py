"""tools/run-tests must count right, and must not call a run without proof a success."""

import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

RUN_TESTS = Path(os.environ["TOOLS"]) / "run-tests"

PROGRAM = """
#include <stdlib.h>
int main(int argc, char **argv)
{
    return argc > 1 ? atoi(argv[1]) : 0;
}
"""
HEAD = "project('p', 'c')\nadd_test_setup('long', env: 'LONG=1')\nexit = executable('exit', 'exit.c')\n"


class RunTests(unittest.TestCase):
    def run_on(self, tests, program=PROGRAM, args=(), run_tests=RUN_TESTS):
        with tempfile.TemporaryDirectory() as root:
            build = Path(root) / "b"
            (Path(root) / "meson.build").write_text(HEAD + tests)
            (Path(root) / "exit.c").write_text(program)
            subprocess.run(["meson", "setup", build, root], check=True, stdout=subprocess.DEVNULL)
            done = subprocess.run([run_tests, *args, build], stdout=subprocess.PIPE, text=True)
            return done.returncode, done.stdout.splitlines()

    def test_all_pass(self):
        status, lines = self.run_on("test('a', exit)\ntest('b', exit)\n")
        self.assertEqual((status, lines[-1]), (0, "2 passed, 0 failed"))
        self.assertEqual(lines.count(lines[-1]), 1)

    def test_a_failure(self):
        status, lines = self.run_on("test('a', exit)\ntest('bad', exit, args: '3')\n")
        self.assertEqual((status, lines[-1]), (1, "1 passed, 1 failed"))
        self.assertTrue(any("bad: fail, exit status 3" in line for line in lines))

    def test_a_skip_is_a_failure(self):
        status, lines = self.run_on("test('a', exit)\ntest('skips', exit, args: '77')\n")
        self.assertEqual((status, lines[-1]), (1, "1 passed, 1 failed"))

    def test_no_tests_is_a_failure(self):
        status, lines = self.run_on("")
        self.assertEqual((status, lines[-1]), (1, "0 passed, 1 failed"))

    def test_no_such_suite_is_a_failure(self):
        status, lines = self.run_on("test('a', exit, suite: 'x')\n", args=("--suite", "y"))
        self.assertEqual((status, lines[-1]), (1, "0 passed, 1 failed"))

    def test_one_suite(self):
        tests = "test('a', exit, suite: 'x')\ntest('b', exit, args: '1', suite: 'y')\n"
        status, lines = self.run_on(tests, args=("--suite", "x"))
        self.assertEqual((status, lines[-1]), (0, "1 passed, 0 failed"))

    def test_memcheck_is_a_suite_and_a_setup(self):
        told = "#include <stdlib.h>\nint main(void) { return getenv(\"TOLD\") == NULL; }\n"
        tests = (
            "add_test_setup('memcheck', env: {'TOLD': '1'})\n"
            "test('a', exit, suite: 'memcheck')\ntest('b', exit, suite: 'x')\n"
        )
        status, lines = self.run_on(tests, told, ("--memcheck",))
        self.assertEqual((status, lines[-1]), (0, "1 passed, 0 failed"))
        status, lines = self.run_on(tests, told)
        self.assertEqual((status, lines[-1]), (1, "0 passed, 2 failed"))

    def test_a_second_attempt_only_end_to_end_and_when_asked(self):
        once = (
            "#include <fcntl.h>\n#include <stdlib.h>\n#include <unistd.h>\n"
            "int main(int argc, char **argv)\n"
            "{ return open(argv[argc - 1], O_CREAT | O_EXCL, 0600) >= 0; }\n"
        )
        with tempfile.TemporaryDirectory() as marks:
            test = "test('late', exit, args: '{}/{}', suite: '{}')\n"
            e2e = test.format(marks, "e2e", "e2e")
            status, lines = self.run_on(e2e, once, ("--second-attempt",))
            self.assertEqual((status, lines[-1]), (0, "1 passed, 0 failed"))
            self.assertIn("Passed only at the second attempt:", lines)
            unit = test.format(marks, "unit", "unit")
            status, lines = self.run_on(unit, once, ("--second-attempt",))
            self.assertEqual((status, lines[-1]), (1, "0 passed, 1 failed"))
            e2e = test.format(marks, "unasked", "e2e")
            status, lines = self.run_on(e2e, once)
            self.assertEqual((status, lines[-1]), (1, "0 passed, 1 failed"))

    def test_a_second_attempt_that_fails(self):
        test = "test('bad', exit, args: '3', suite: 'e2e')\n"
        status, lines = self.run_on(test, args=("--second-attempt",))
        self.assertEqual((status, lines[-1]), (1, "0 passed, 1 failed"))

    def test_the_long_form(self):
        """Tests are told, and each clean room counts as one."""
        with tempfile.TemporaryDirectory() as tools:
            run_tests = shutil.copy(RUN_TESTS, tools)
            room = Path(tools) / "clean-room"
            room.write_text("#!/bin/sh\n[ \"$1\" = 12 ]\n")
            room.chmod(0o755)
            told = "#include <stdlib.h>\nint main(void) { return getenv(\"LONG\") == NULL; }\n"
            status, lines = self.run_on("test('a', exit)\n", told, ("--long",), run_tests)
            self.assertEqual((status, lines[-1]), (1, "2 passed, 1 failed"))
            self.assertTrue(any(line.startswith("==== FAILED: clean room Debian 13") for line in lines))

    def test_not_compiling_is_a_failure(self):
        status, lines = self.run_on("test('a', exit)\n", program="int main(void) { return x; }\n")
        self.assertEqual((status, lines[-1]), (1, "0 passed, 1 failed"))


if __name__ == "__main__":
    unittest.main()
