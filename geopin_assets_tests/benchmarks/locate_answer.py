"""One photo located, with ten verified matches: `python -m geopin_assets_tests.benchmarks.locate_answer`.

In a process of its own: CPU until it is ready to answer (imports, the model, XFeat's weights), then of each answer
(decoding the photo and the matches, vectors by CosPlace's network, ResNet50 with 512 dimensions and random weights,
search, points). Images lie in memory: fetching takes the network's time.
XFeat is left out where it is not installed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

import polars as pl

from geopin_assets_tests.benchmarks.tools.figures import Figure
from geopin_assets_tests.benchmarks.tools.measure import Cost, machine, print_table

VERIFIED = 10
MOST_S, START_MOST_S = 2.0, 3.0


def inside(streets: int, answers: int) -> dict[str, float]:
    """What the process of its own measures, in CPU seconds."""
    from geopin_assets.embedding.model.checkpoints import Architecture
    from geopin_assets.embedding.model.cosplace import CosPlaceNetwork
    from geopin_assets.embedding.model.inference import TorchEmbedder
    from geopin_assets.embedding.model.thumbnail import Thumbnail
    from geopin_assets.locate.comparing import Comparison
    from geopin_assets.locate.features import KeptFeatures
    from geopin_assets.locate.locator import Locator
    from geopin_assets.locate.photo import frames_of, read_photo, views_of
    from geopin_assets.locate.verify import Verifier
    from geopin_assets_tests.locate.weights import find_weights

    known_by = Thumbnail()  # matches are found by it; the network's vectors, of random weights, are made for their cost
    architecture = Architecture("cosplace", "ResNet50", 512)
    embedder, weights = TorchEmbedder(CosPlaceNetwork("ResNet50", 512), architecture.model("random")), find_weights()
    verifier = Verifier(weights) if weights else None
    if verifier:
        verifier.prepare()
    ready = Cost.now().cpu_s  # since the process began

    from geopin_assets.sandbox.streets.images import shot_jpeg
    from geopin_assets_tests.benchmarks.locate_sandbox import drawn, painted, seen
    from geopin_assets_tests.embedding.kept_decoders import KeptDecoders
    from geopin_assets_tests.embedding.memory_fetcher import MemoryFetcher
    from geopin_assets_tests.locate.places import indexed

    captures = painted(streets)
    shown = seen(captures, drawn(captures))
    served = {f"https://images.example/{n}": id_ for n, id_ in enumerate(captures)}
    jpegs = {url: shot_jpeg(captures[id_][1], 1024) for url, id_ in served.items()}
    known = pl.DataFrame([{"capture_id": id_, "source_capture_id": id_, "image_url": url, "image_version": ""}
                          for url, id_ in served.items()])  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="geopin-bench-") as folder, closing(KeptDecoders()) as decoders:
        locator = Locator(*indexed(Path(folder), shown), "thumbnail", "v1", None)

        def answer(photo: bytes, kept: Path) -> tuple[float, int]:
            """CPU seconds, and how many matches were verified."""
            before, decoding = Cost.now(), decoders.cpu_s()
            frames, compare = frames_of(read_photo(photo), embedder.model.side_px), None
            if verifier:
                features = KeptFeatures(kept, verifier.model_id)
                compared = Comparison(verifier, lambda _: known, MemoryFetcher(jpegs), lambda _: {}, features, decoders)
                compare = partial(compared.inliers, frames)
            views_of(frames, embedder)
            found = locator.locate(views_of(frames, known_by), compare=compare, verify=VERIFIED)
            cpu_s = (Cost.now() - before).cpu_s + decoders.cpu_s() - decoding
            return cpu_s, sum(match.inliers is not None for match in found.matches)

        shot = next(iter(captures.values()))[1]
        photos = [shot_jpeg(replace(shot, right_m=0.5 + n / 10), 1024) for n in range(answers + 1)]
        took = [answer(photo, Path(folder) / str(n)) for n, photo in enumerate(photos)]
        again = [answer(photo, Path(folder) / "0") for photo in photos[1:]]
    return {
        "ready": ready,
        "first": took[0][0],
        "answer": median(cpu_s for cpu_s, _ in took[1:]),
        "again": median(cpu_s for cpu_s, _ in again),
        "compared": took[-1][1],
    }


def main(arguments: Sequence[str] = ()) -> list[Figure]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streets", type=int, default=10)
    parser.add_argument("--answers", type=int, default=5)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.inside:
        print(json.dumps(inside(chosen.streets, chosen.answers)))
        return []
    size = [f"--streets={chosen.streets}", f"--answers={chosen.answers}"]
    run = partial(subprocess.run, check=True, capture_output=True, text=True)
    told = json.loads(run([sys.executable, "-m", __spec__.name if __spec__ else __name__, "--inside", *size]).stdout)
    print(machine())
    rows = [
        ["until ready to answer", f"{told['ready']:.2f}", f"{START_MOST_S:.0f}"],
        [f"an answer, {told['compared']} matches verified", f"{told['answer']:.2f}", f"{MOST_S:.0f}"],
        ["the first answer", f"{told['first']:.2f}", ""],
        ["where the matches' points are kept", f"{told['again']:.2f}", ""],
    ]
    print_table(["CPU seconds", "took", "at most"], rows)
    return [
        Figure("until ready to answer", told["ready"], "s of CPU", at_most=START_MOST_S),
        Figure(f"an answer, {told['compared']} matches verified", told["answer"], "s of CPU", at_most=MOST_S),
        Figure("the same with the matches' points kept", told["again"] / told["answer"], beside="without"),
    ]


if __name__ == "__main__":
    main(sys.argv[1:])
