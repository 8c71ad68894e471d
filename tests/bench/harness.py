"""The harness alone: the replay engine over N samples of a one-rule task, records and predictions written.

python -m tests.bench.harness N [--profile]
"""

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

TASK = '''"""A one-rule task for measuring the harness."""
from pathlib import Path
from evalkit import Accuracy, Rule, Sample, Task, Unparsed, Wants, parsers

VARIANTS = ()
DATA = None


def read(prediction, sample):
    return parsers.letter(prediction.answer, sample.options) if prediction.answer is not None else Unparsed(prediction.failure)


def task(variant, data):
    return Task("bench", 1, samples, (Rule("strict", read, Accuracy()),), "accuracy", ("choice",))


def samples():
    for index in range(COUNT):
        yield Sample(
            str(index), "Which is it?", "Which is it?\\n(A) one\\n(B) two\\n(C) three\\n(D) four", (), Wants("choice"), "ABCD"[index % 4],
            options=("one", "two", "three", "four"), tags=frozenset({"even" if index % 2 else "odd"}),
        )
'''


def main(count: int, profile: bool) -> None:
    import evalkit

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "bench.py").write_text(TASK.replace("COUNT", str(count)))
        with (folder / "replies.jsonl").open("w") as file:
            for index in range(count):
                file.write(json.dumps({"sample": str(index), "text": f"Based on the image, the answer is {'ABCD'[index % 3]}."}) + "\n")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begun = time.perf_counter()

        def run() -> None:
            summary = evalkit.run(f"replay:{folder / 'replies.jsonl'}", str(folder / "bench.py"), out=str(folder / "out"))
            assert summary.complete

        if profile:
            import cProfile
            import pstats

            with cProfile.Profile() as profiler:
                run()
            pstats.Stats(profiler, stream=sys.stderr).sort_stats("tottime").print_stats(25)
        else:
            run()
        seconds = time.perf_counter() - begun
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"rate": count / seconds, "seconds": seconds, "megabytes": peak / 1024, "before": before / 1024}))


if __name__ == "__main__":
    main(int(sys.argv[1]), "--profile" in sys.argv)
