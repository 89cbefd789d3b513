"""What --backend does where GPUs cannot be had: a build without CUDA, or a machine without a GPU."""

import os
import unittest

import longspan_command
from refusal import RefusalTest
from tiny_model import TinyModel, written_for

UNAVAILABLE, CONFIG = 69, 78
HAS_CUDA = b"\nCUDA " in longspan_command.run(["--version"]).stdout
HAS_GPU = os.path.exists("/dev/nvidiactl")


class BackendTest(RefusalTest):
    def setUp(self):
        self.model = written_for(self, TinyModel())

    def arguments(self, backend, *more):
        return ["generate", self.model, "--prompt", "a", "--max-tokens", "2", "--threads", "1",
                "--backend", backend, *more]

    @unittest.skipIf(HAS_CUDA, "this build has CUDA")
    def test_a_build_without_cuda_says_how_to_make_one(self):
        self.refuses("no CUDA", self.arguments("cuda"), CONFIG,
                     "built without CUDA: .*LONGSPAN_WITH_CUDA=ON.*--backend cpu")

    @unittest.skipUnless(HAS_CUDA and not HAS_GPU, "needs a build with CUDA and no GPU")
    def test_a_missing_driver_or_gpu_is_named_with_what_to_do(self):
        self.refuses("no GPU", self.arguments("cuda"), UNAVAILABLE,
                     "(there is no NVIDIA driver on this host: install|CUDA finds no GPU: ).*"
                     "; --backend cpu")

    @unittest.skipIf(HAS_GPU, "this machine has a GPU")
    def test_auto_computes_on_cpus_and_a_build_with_cuda_says_so(self):
        done = {backend: longspan_command.run(self.arguments(backend, "--json"))
                for backend in ("auto", "cpu")}
        for backend, result in done.items():
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertEqual(b"no rank sees a GPU" in result.stderr,
                             HAS_CUDA and backend == "auto", result.stderr)

    def test_what_gpus_do_not_do_is_for_cpus(self):
        """Refused after the device is there, so only where there is one."""
        if not (HAS_CUDA and HAS_GPU):
            self.skipTest("needs a GPU")
        for options, line in [(("--kv-dtype", "int8"), "--kv-dtype int8 is for --backend cpu"),
                              (("--attention", "apb"), "--attention apb is for --backend cpu")]:
            done = longspan_command.run(self.arguments("cuda", *options))
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(line, done.stderr.decode())


if __name__ == "__main__":
    unittest.main()
