"""The last set-up step: makes torchvision importable in this virtual environment where its compiled operators do not load.

Elsewhere it only removes what an earlier set-up may have left, since a declared operator would clash with a compiled one.
"""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

SCHEMAS = Path(__file__).with_name("torchvision_schemas.py")


def import_error() -> str:
    """What a new process says when it imports torchvision; empty where that works."""
    done = subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else ""


def mend(site_packages: Path) -> None:
    """Removes the declared operators, and writes them anew if torchvision asks for them.

    Raises:
        SystemExit: torchvision does not import, for this or another reason.
    """
    module, hook = site_packages / SCHEMAS.name, site_packages / SCHEMAS.with_suffix(".pth").name
    module.unlink(missing_ok=True)
    hook.unlink(missing_ok=True)
    error = import_error()
    if "operator torchvision::nms does not exist" in error:
        shutil.copy(SCHEMAS, module)
        hook.write_text(f"import {SCHEMAS.stem}\n", encoding="utf-8")
        print("torchvision's compiled operators do not load here: their schemas are declared at start instead")
        error = import_error()
    if error:
        sys.exit(f"expected torchvision to import in {site_packages}, got:\n{error}Remove .venv and set up again.")


if __name__ == "__main__":
    mend(Path(sysconfig.get_path("purelib")))
