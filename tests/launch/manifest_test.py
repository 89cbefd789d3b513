"""A model's manifest: written by inspect, compared by generate, refused in one line when it differs."""

import hashlib
import json
import pathlib
import tempfile

import unittest

import longspan_command
from refusal import RefusalTest
from tiny_model import TinyModel

BAD_DATA, NO_INPUT, USAGE, PERMISSION = 65, 66, 2, 77


class ManifestTest(RefusalTest):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.model = self.folder / "tiny.gguf"
        self.model.write_bytes(TinyModel().bytes())
        self.manifest = self.folder / "tiny.gguf.manifest.json"

    def inspect(self, *arguments, ranks=0):
        done = longspan_command.run(["inspect", str(self.model), *arguments], ranks)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def write_manifest(self, *arguments, ranks=0):
        return self.inspect("--write-manifest", *arguments, ranks=ranks).stderr.decode()

    def change(self, byte):
        data = bytearray(self.model.read_bytes())
        data[byte] ^= 1
        self.model.write_bytes(data)

    def generate(self, *arguments, ranks=0):
        return longspan_command.run(["generate", str(self.model), "--prompt", "x", "--max-tokens",
                                     "1", "--ignore-eos", "--threads", "1", *arguments], ranks)

    def refused(self, what, code, line):
        self.refuses(what, ["generate", str(self.model), "--prompt", "x"], code, line)

    def test_it_lists_the_file_as_sha256sum_would(self):
        for ranks in (0, 2):
            self.manifest.unlink(missing_ok=True)
            self.assertRegex(self.write_manifest(ranks=ranks), r"^longspan: wrote .*: 1 file, ")
            data = self.model.read_bytes()
            self.assertEqual(json.loads(self.manifest.read_text()), {
                "longspan_manifest": 1,
                "files": {"tiny.gguf": {"bytes": len(data),
                                        "sha256": hashlib.sha256(data).hexdigest()}}})
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()),
                         ["tiny.gguf", "tiny.gguf.manifest.json"])
        self.assertIn("lists 1 file;", self.inspect().stdout.decode())

    def test_generate_says_what_it_did_with_it(self):
        for manifest, arguments in (("none", []), ("checked", []), ("ignored", ["--no-verify"])):
            if manifest == "checked":
                self.write_manifest()
            for ranks in (0, 3):
                answer = json.loads(self.generate("--json", *arguments, ranks=ranks).stdout)
                self.assertEqual(answer["load"]["manifest"], manifest)
        self.assertIn(b", files as the manifest lists them", self.generate().stderr)

    def test_a_changed_file_is_refused_on_all_ranks(self):
        self.write_manifest()
        listed = hashlib.sha256(self.model.read_bytes()).hexdigest()[:12]
        self.change(-1)
        found = hashlib.sha256(self.model.read_bytes()).hexdigest()[:12]
        self.refused("a changed bit", BAD_DATA,
                     rf"tiny\.gguf: its SHA-256 is {found}, but .* lists {listed}: .*--no-verify")
        self.assertEqual(self.generate("--no-verify", ranks=2).returncode, 0)

    def test_another_size_is_refused(self):
        self.write_manifest()
        size = self.model.stat().st_size
        listed = json.loads(self.manifest.read_text())
        listed["files"]["tiny.gguf"]["bytes"] += 1
        self.manifest.write_text(json.dumps(listed))
        self.refused("another size", BAD_DATA, f"has {size} bytes, but .* lists {size + 1}")

    def test_inspect_shows_a_model_of_another_size_where_it_is_told_to(self):
        self.write_manifest()
        with open(self.model, "ab") as file:
            file.write(b"more")
        done = longspan_command.run(["inspect", str(self.model)])
        self.assertEqual(done.returncode, BAD_DATA)
        self.assertRegex(done.stderr.decode(), "^longspan: .* bytes, but .*--no-verify .*\n$")
        done = longspan_command.run(["inspect", str(self.model), "--no-verify"])
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertRegex(done.stdout.decode(), "manifest +ignored")

    def test_a_manifest_of_another_model_is_refused(self):
        self.write_manifest()
        self.manifest.rename(self.folder / "other.gguf.manifest.json")
        self.model = self.model.rename(self.folder / "other.gguf")
        self.refused("another name", BAD_DATA, r"other\.gguf: is not listed")

    def test_a_damaged_manifest_is_refused(self):
        self.manifest.write_text("{")
        self.refused("half a manifest", BAD_DATA, r"manifest\.json: .*not JSON.*only the manifest is damaged.*--force")

    def test_a_manifest_is_replaced_only_by_force(self):
        self.write_manifest()
        self.assertRegex(self.write_manifest(), "^longspan: .* is right: 1 file\n$")
        before = self.manifest.read_text()
        self.change(-1)
        done = longspan_command.run(["inspect", str(self.model), "--write-manifest"])
        self.assertEqual(done.returncode, BAD_DATA)
        self.assertRegex(done.stderr.decode(), r"^longspan: .*manifest\.json: .*--force\n$")
        self.assertEqual(self.manifest.read_text(), before)
        self.assertRegex(self.write_manifest("--force"), "^longspan: wrote ")
        self.assertEqual(self.generate().returncode, 0)

    def test_force_alone_means_nothing(self):
        self.refuses("force", ["inspect", str(self.model), "--force"], USAGE, "--write-manifest")


if __name__ == "__main__":
    unittest.main()
