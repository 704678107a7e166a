"""tools/check-events must find every kind of difference, and nothing in a right tree."""

import os
import subprocess
import tempfile
import unittest
from pathlib import Path

CHECK = Path(os.environ["TOOLS"]) / "check-events"

SOURCE = """
void f(void)
{
    LOG(LOG_LEVEL_INFO, "a.one", LOG_STR("peer", name), LOG_UINT("n", g(1, ")")),
        LOG_MSG("words, and a \\"quote\\""));
    LOG_LIMITED(level, "b.two", LOG_ERR("error", e));
}
"""
ROWS = """
| `a.one` | info | `peer`, `n` | one |
| `b.two` | info, warn ↻ | `error` | two |
"""


class CheckEvents(unittest.TestCase):
    def run_on(self, source, rows):
        with tempfile.TemporaryDirectory() as root:
            for name, text in {"src/ops/a.c": source, "docs/EVENTS.md": rows}.items():
                path = Path(root) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            done = subprocess.run([CHECK, root], stdout=subprocess.PIPE, text=True)
            return done.returncode, done.stdout

    def assert_found(self, source, rows, text):
        status, out = self.run_on(source, rows)
        self.assertEqual(status, 1)
        self.assertEqual(len(out.splitlines()), 1, out)
        self.assertIn(text, out)

    def test_right_tree(self):
        self.assertEqual(self.run_on(SOURCE, ROWS), (0, ""))

    def test_undocumented(self):
        row = ROWS.splitlines()[1] + "\n"
        self.assert_found(SOURCE, row, "b.two (src/ops/a.c) is missing: | `b.two` |  ↻ | `error` |")

    def test_not_logged(self):
        self.assert_found(SOURCE, ROWS + "| `c.three` | info |  | three |\n", "c.three is not logged")

    def test_other_fields(self):
        self.assert_found(SOURCE, ROWS.replace("`peer`, ", ""), "a.one (src/ops/a.c): its fields")

    def test_other_level(self):
        self.assert_found(SOURCE, ROWS.replace("one` | info", "one` | warn"), "its levels are info")

    def test_other_limit(self):
        self.assert_found(SOURCE, ROWS.replace(" ↻", ""), "b.two (src/ops/a.c): has limit")

    def test_order(self):
        first, second = ROWS.strip().splitlines()
        self.assert_found(SOURCE, f"{second}\n{first}\n", "alphabetical")

    def test_nothing(self):
        self.assertEqual(self.run_on("", "")[0], 2)

    def test_this_tree(self):
        done = subprocess.run([CHECK], stdout=subprocess.PIPE, text=True)
        self.assertEqual((done.returncode, done.stdout), (0, ""))


if __name__ == "__main__":
    unittest.main()
