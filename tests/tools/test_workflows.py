"""The workflows of CI and release name only what is there: targets, scripts, files, the version's place."""

import os
import re
import subprocess
import unittest
from pathlib import Path

import yaml

ROOT = Path(os.environ["TOOLS"]).parent
FOLDER = ROOT / ".github" / "workflows"


def workflows():
    return {path.name: yaml.safe_load(path.read_text()) for path in sorted(FOLDER.glob("*.yml"))}


def steps_of(workflow):
    for job in workflow["jobs"].values():
        yield from job["steps"]


class Workflows(unittest.TestCase):
    def test_both_are_there(self):
        self.assertEqual(set(workflows()), {"ci.yml", "release.yml"})

    def test_rights_are_few(self):
        for name, workflow in workflows().items():
            self.assertEqual(workflow["permissions"], {"contents": "read"}, name)
            for job in workflow["jobs"].values():
                self.assertIn("timeout-minutes", job, name)

    def test_commands(self):
        makefile = (ROOT / "Makefile").read_text()
        scripts = 0
        for name, workflow in workflows().items():
            for step in steps_of(workflow):
                self.assertTrue(("run" in step) != ("uses" in step), f"{name}: {step}")
                if "run" not in step:
                    self.assertRegex(step["uses"], r"^actions/[a-z-]+@v\d+$", name)
                    continue
                script = re.sub(r"\$\{\{.*?\}\}", "X", step["run"])
                done = subprocess.run(["bash", "-n", "-c", script], capture_output=True, text=True)
                self.assertEqual((done.returncode, done.stderr), (0, ""), script)
                for target in " ".join(re.findall(r"^make ([a-z -]+)", script, re.M)).split():
                    self.assertRegex(makefile, rf"(?m)^{target}:", f"{name}: make {target}")
                for path in re.findall(r"(?:tools|packaging)/[\w./-]+", script):
                    self.assertTrue((ROOT / path).exists(), f"{name}: {path}")
                scripts += 1
        self.assertGreater(scripts, 10)

    def test_every_test_and_check_is_run(self):
        said = "\n".join(step.get("run", "") for step in steps_of(workflows()["ci.yml"]))
        for command in ("make test", "make lint", "docker build"):
            self.assertIn(command, said)
        makefile = (ROOT / "Makefile").read_text()
        targets = workflows()["ci.yml"]["jobs"]["threads-and-memory"]["strategy"]["matrix"]["how"]
        self.assertEqual(targets, ["tsan", "memcheck"])
        self.assertIn("make ${{ matrix.how }}", said)
        for target in targets:
            self.assertRegex(makefile, rf"(?m)^{target}:")

    def test_the_tag_is_held_to_the_version(self):
        (script,) = [s["run"] for s in steps_of(workflows()["release.yml"]) if s.get("name") == "the tag is the version"]
        version = re.search(r"^  version: '(.+)',$", (ROOT / "meson.build").read_text(), re.M)[1]
        for tag, status in ((f"v{version}", 0), (f"v{version}0", 1), ("v", 1)):
            done = subprocess.run(["bash", "-ec", script], cwd=ROOT, env={**os.environ, "GITHUB_REF_NAME": tag})
            self.assertEqual(done.returncode, status, tag)


if __name__ == "__main__":
    unittest.main()
