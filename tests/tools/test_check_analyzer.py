"""tools/check-analyzer must let pass what is known, and nothing else."""

import importlib.machinery
import importlib.util
import os
import subprocess
import unittest
from pathlib import Path

CHECK = Path(os.environ["TOOLS"]) / "check-analyzer"


def known():
    """{(file, kind): (count, reason)} of the tool."""
    loader = importlib.machinery.SourceFileLoader("check_analyzer", str(CHECK))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("check_analyzer", loader))
    loader.exec_module(module)
    return module.KNOWN


def said(findings):
    """What ninja would print."""
    lines = []
    for (name, kind), count in findings.items():
        folder, _, file = name.rpartition("/")
        layer = folder.rpartition("/")[2]
        lines.append(f"[1/9] Compiling C object {folder}/libutun-{layer}.a.p/{file}.o")
        lines += [f"../{name}:1:2: warning: leak of ‘p’ [CWE-401] [-Wanalyzer-{kind}]"] * count
    return "\n".join(lines)


class CheckAnalyzer(unittest.TestCase):
    def setUp(self):
        self.known = {key: count for key, (count, _) in known().items()}

    def check(self, text):
        done = subprocess.run([CHECK], input=text, stdout=subprocess.PIPE, text=True)
        return done.returncode, done.stdout

    def test_what_is_known(self):
        self.assertEqual(self.check(said(self.known)), (0, ""))

    def test_what_is_new(self):
        status, out = self.check(said({**self.known, ("src/base/log.c", "double-free"): 1}))
        self.assertEqual(status, 1)
        self.assertTrue(out.startswith("src/base/log.c: double-free: 1 instead of 0\n"), out)

    def test_the_same_once_more(self):
        key = next(iter(self.known))
        status, out = self.check(said({**self.known, key: self.known[key] + 1}))
        self.assertEqual(status, 1)
        self.assertIn(key[0], out)

    def test_what_is_known_and_not_there(self):
        key = next(iter(self.known))
        status, out = self.check(said({**self.known, key: 0}))
        self.assertEqual(status, 1)
        self.assertTrue(out.startswith(f"{key[0]}: {key[1]}: 0 instead of "), out)

    def test_in_the_program_itself(self):
        text = "[1/2] Compiling C object utun.p/src_cli_cert_show.c.o\nx:1: warning: y [-Wanalyzer-file-leak]\n"
        self.assertIn("src/cli/cert_show.c: file-leak: 1", self.check(text)[1])

    def test_nothing_compiled(self):
        self.assertEqual(self.check("ninja: no work to do.\n")[0], 2)


if __name__ == "__main__":
    unittest.main()
