"""The bill of materials has what CycloneDX requires, names every library, and agrees with the docs."""

import copy
import json
import os
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

TOOLS = Path(os.environ["TOOLS"])
PROGRAM = Path(os.environ["BUILD"]) / "utun"
DOCS = TOOLS.parent / "docs" / "DEPENDENCIES.md"

SERIAL = re.compile(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
PURL = re.compile(r"pkg:[a-z]+(/[a-z0-9.+-]+)+@[A-Za-z0-9.:~%_-]+(\?[a-z]+=[^ ]+)?")
SCOPES = {"required", "optional", "excluded"}
TYPES = {"application", "framework", "library", "container", "operating-system", "file"}


def faults_of(bill):
    """What the CycloneDX 1.5 JSON schema would not accept, as far as this bill uses it."""
    if bill.get("bomFormat") != "CycloneDX":
        yield "bomFormat"
    if bill.get("specVersion") != "1.5":
        yield "specVersion"
    if not isinstance(bill.get("version"), int) or bill["version"] < 1:
        yield "version"
    if not SERIAL.fullmatch(bill.get("serialNumber", "")):
        yield "serialNumber"
    components = [bill.get("metadata", {}).get("component", {}), *bill.get("components", [])]
    for component in components:
        yield from faults_of_component(component)
    references = [component.get("bom-ref") for component in components]
    if len(set(references)) != len(references):
        yield "bom-ref is not unique"
    for dependency in bill.get("dependencies", []):
        if not {dependency.get("ref"), *dependency.get("dependsOn", [])} <= set(references):
            yield f"dependency {dependency.get('ref')}"


def faults_of_component(component):
    name = component.get("name")
    if not name or component.get("type") not in TYPES or not component.get("bom-ref"):
        yield f"component {name}"
    if component.get("scope", "required") not in SCOPES:
        yield f"scope of {name}"
    if "purl" in component and not PURL.fullmatch(component["purl"]):
        yield f"purl of {name}"
    for licence in component.get("licenses", []):
        if ("expression" in licence) == ("license" in licence):
            yield f"licence of {name}"
    for hash_ in component.get("hashes", []):
        if hash_["alg"] != "SHA-256" or not re.fullmatch("[0-9a-f]{64}", hash_["content"]):
            yield f"hash of {name}"
    for field in ("properties", "externalReferences"):
        for entry in component.get(field, []):
            if not all(isinstance(value, str) and value for value in entry.values()):
                yield f"{field} of {name}"


def make():
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "bill.json"
        subprocess.run([TOOLS / "sbom", PROGRAM, out], check=True)
        return out.read_text()


class Sbom(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.text = make()
        cls.bill = json.loads(cls.text)

    def test_it_is_what_the_schema_requires(self):
        self.assertEqual(list(faults_of(self.bill)), [])

    def test_each_fault_is_found(self):
        for path in (
            ["bomFormat"],
            ["specVersion"],
            ["serialNumber"],
            ["version"],
            ["components", 0, "name"],
            ["components", 0, "type"],
            ["components", 0, "bom-ref"],
            ["components", 0, "licenses", 0, "expression"],
            ["metadata", "component", "name"],
        ):
            bill = copy.deepcopy(self.bill)
            at = bill
            for key in path[:-1]:
                at = at[key]
            del at[path[-1]]
            self.assertNotEqual(list(faults_of(bill)), [], path)

    def test_every_library_is_in_it(self):
        shown = subprocess.run(
            ["readelf", "--wide", "--dynamic", PROGRAM], stdout=subprocess.PIPE, text=True
        ).stdout
        needed = set(re.findall(r"\(NEEDED\).*\[(.+)\]", shown))
        in_memory = subprocess.run(["ldd", PROGRAM], stdout=subprocess.PIPE, text=True).stdout
        in_memory = {Path(word).name for word in re.findall(r"^\s*(\S+\.so\S*) ", in_memory, re.M)}
        named = {
            entry["value"]
            for component in self.bill["components"]
            for entry in component["properties"]
            if entry["name"] == "utun:library"
        }
        self.assertTrue(needed)
        self.assertLessEqual(needed, named)
        self.assertEqual(named, {name for name in in_memory if not name.startswith("linux-vdso")})
        names = {component["name"] for component in self.bill["components"]}
        self.assertLessEqual({"OpenSSL", "libmceliece", "librandombytes"}, names)

    def test_who_asks_for_whom(self):
        names = {component["bom-ref"]: component["name"] for component in self.bill["components"]}
        needs = {
            entry["ref"]: {names[ref] for ref in entry["dependsOn"]}
            for entry in self.bill["dependencies"]
        }
        self.assertEqual(needs.keys(), names.keys() | {"utun"})
        self.assertEqual(needs["gnu-c-library"], set())
        self.assertIn("librandombytes", needs["libmceliece"])
        self.assertIn("GCC runtime", needs["toml"])
        self.assertIn("GNU libmicrohttpd", needs["utun"])
        # All are there because somebody asks for them.
        self.assertEqual(set().union(*needs.values()), set(names.values()))
        self.assertLessEqual(needs["utun"], set(self.rows()))

    def test_the_versions_are_the_programs(self):
        said = subprocess.run([PROGRAM, "version"], stdout=subprocess.PIPE, text=True).stdout
        for component in self.bill["components"]:
            if component["name"] in ("OpenSSL", "libmceliece"):
                self.assertIn(component["version"], said)

    def test_twice_the_same(self):
        self.assertEqual(make(), self.text)

    @staticmethod
    def rows():
        return {
            cells[1].strip(): cells[4].strip()
            for cells in (line.split("|") for line in DOCS.read_text().splitlines())
            if len(cells) == 7
        }

    def test_the_docs_agree(self):
        rows = self.rows()
        for component in self.bill["components"]:
            name = component["name"]
            if "licenses" in component:  # else another distribution's library brings it along
                self.assertIn(name, rows)
                self.assertEqual(component["licenses"][0]["expression"], rows[name])


if __name__ == "__main__":
    unittest.main()
