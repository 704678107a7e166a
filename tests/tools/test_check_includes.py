"""tools/check-includes must find every kind of wrong include, and nothing in a right tree."""

import os
import subprocess
import tempfile
import unittest
from pathlib import Path

CHECK = Path(os.environ["TOOLS"]) / "check-includes"

RIGHT = {
    "base/bytes.h": "#include <stddef.h>\n",
    "base/bytes.c": '#include "base/bytes.h"\n',
    "tunnel/stream.h": '#include "base/bytes.h"\n',
    "tunnel/stream.c": '/* What it is. */\n#include "tunnel/stream.h"\n\n#include <string.h>\n',
    "net/pump.h": '#include "tunnel/stream.h"\n',
    "config/schema.h": '#include "base/bytes.h"\n',
    "ops/log.h": '#include "config/schema.h"\n',
    "cli/main.c": '#include "ops/log.h"\n#include "net/pump.h"\n',
}


class CheckIncludes(unittest.TestCase):
    def run_on(self, changed):
        with tempfile.TemporaryDirectory() as root:
            for name, text in {**RIGHT, **changed}.items():
                path = Path(root) / "src" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            done = subprocess.run([CHECK, root], stdout=subprocess.PIPE, text=True)
            return done.returncode, done.stdout

    def assert_found(self, changed, where):
        status, out = self.run_on(changed)
        self.assertEqual(status, 1)
        self.assertEqual(len(out.splitlines()), 1, out)
        self.assertTrue(out.startswith(where), out)

    def test_right_tree(self):
        self.assertEqual(self.run_on({}), (0, ""))

    def test_upwards(self):
        self.assert_found({"base/bytes.h": '#include "tunnel/stream.h"\n'}, "src/base/bytes.h:1:")

    def test_upwards_from_a_source_file(self):
        self.assert_found(
            {"tunnel/stream.c": '#include "tunnel/stream.h"\n\n#  include "net/pump.h"\n'},
            "src/tunnel/stream.c:3:",
        )

    def test_sideways(self):
        self.assert_found({"net/pump.h": '#include "ops/log.h"\n'}, "src/net/pump.h:1:")
        self.assert_found({"config/schema.h": '#include "net/pump.h"\n'}, "src/config/schema.h:1:")

    def test_own_header_not_first(self):
        self.assert_found(
            {"base/bytes.c": '#include <string.h>\n#include "base/bytes.h"\n'},
            "src/base/bytes.c:1:",
        )

    def test_path_not_from_src(self):
        self.assert_found({"cli/main.c": '#include "log.h"\n'}, "src/cli/main.c:1:")

    def test_own_header_in_angle_brackets(self):
        self.assert_found({"cli/main.c": "#include <ops/log.h>\n"}, "src/cli/main.c:1:")

    def test_unknown_layer(self):
        self.assert_found({"misc/stuff.c": ""}, "src/misc/stuff.c:1:")

    def test_nothing_to_check(self):
        with tempfile.TemporaryDirectory() as root:
            done = subprocess.run([CHECK, root], stderr=subprocess.DEVNULL)
            self.assertEqual(done.returncode, 2)


if __name__ == "__main__":
    unittest.main()
