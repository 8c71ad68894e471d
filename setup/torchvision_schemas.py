"""Let torchvision import where its compiled operators do not load (a build for CUDA on a machine without it).

The set-up step copies this module into the virtual environment beside a `.pth` file that imports it at start, so that it
holds in every process, those of vLLM and Ray included. It costs nothing until torchvision is first imported; then it
declares the two operators that torchvision's own import refers to. The image transforms are plain PyTorch and work.
"""

import sys


class DeclareBeforeTorchvision:  # no MetaPathFinder: importing that would slow every start
    """Finds nothing; sees the first import of torchvision coming and declares its missing operators."""

    def find_spec(self, name: str, *_: object) -> None:
        if name == "torchvision":
            sys.meta_path.remove(self)
            declare()


def declare() -> None:
    import torch

    if not hasattr(torch.ops.torchvision, "nms"):
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        sys.modules[__name__].library = library  # the schemas live as long as the library object


sys.meta_path.insert(0, DeclareBeforeTorchvision())
