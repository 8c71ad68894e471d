"""How long `evalkit --help` takes, from the shell's point of view."""

import json
import statistics
import subprocess
import sys
import time


def main() -> None:
    times = []
    for _ in range(16):
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-m", "evalkit", "--help"], capture_output=True, check=True)
        times.append(time.perf_counter() - begun)
    print(json.dumps({"seconds": statistics.median(times[1:]), "least": min(times)}))


if __name__ == "__main__":
    main()
