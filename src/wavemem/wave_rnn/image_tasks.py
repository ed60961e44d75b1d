"""Images shown piece by piece: the sequences of the Wave-RNN paper's classification tasks, and small ones for two CPU cores.

A network sees an image over many steps and names its class after the last one (Keller et al., ICLR 2024, section 3):

| kind | images | a step shows | steps |
|---|---|---|---|
| smnist | MNIST | one pixel, row by row | 784 |
| psmnist | MNIST | one pixel, in one order for all images, drawn once | 784 |
| nscifar10 | CIFAR-10 | a row of pixels (96 values), then noise, the same for all images | 32 + 968 |
| nscifar10-jpeg | a JPEG copy of CIFAR-10 | the same | 32 + 968 |
| sdigits, psdigits | small digits | one pixel | 64 |
| nsdigits | small digits | a row of pixels (8 values), then noise | 8 + 92 |

The public code of the paper draws the permutation anew in every run; here it is one for all, like the noise and the division
into training, validation and test images. All three come from NumPy's frozen legacy generator, whose numbers never
change, and are compared with committed SHA-256 hashes.

What the last state of a network holds of an image that it was shown pixel by pixel, and what a linear readout makes of it.

On a ring of n units with the shift kernel and its input at unit 0, the input of step t stands at unit −(T − t) mod n after
the last step T. A sequence longer than the ring comes round, and what meets is added: the image is *folded* onto the ring.
Units that do not pass their activity on, as those of a network started from the identity, add up everything: they hold the
image's total ink.
"""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Int, Int64
from numpy.typing import NDArray
from torch import Tensor

from wavemem.checks import one_of, positive_int, require, shape_is
from wavemem.wave_rnn.image_files import ImageSet, load_cifar10, load_cifar10_jpeg, load_mnist, small_digits

KINDS: Final = ("smnist", "psmnist", "nscifar10", "nscifar10-jpeg", "sdigits", "psdigits", "nsdigits")
"""The tasks, see the module's table."""

_DIGITS: Final = "digits of 8 × 8 pixels in the place of MNIST"
STAND_INS: Final = {
    "sdigits": _DIGITS,
    "psdigits": _DIGITS,
    "nsdigits": "digits of 8 × 8 pixels in the place of CIFAR-10",
    "nscifar10-jpeg": "a JPEG copy in the place of CIFAR-10",
}
"""Tasks on other images than the paper's → what stands in the place of what."""

_SMALL_STEPS = 100
_GRID = 1024  # noise lies on multiples of 1/1024, so that no machine's logarithm can round it to other numbers

HASHES: Final = {
    "permutation of 784": "45c25543c231696d0c56db4fb6ff6727a1eabc747338cd5a051ddcf5a6f5ac3b",
    "permutation of 64": "64b701984c50bccab4c9c06270e9be66d64a048b4cf7932114af35a521c74f72",
    "noise 968 × 96": "29760c82afc62b040f06defcfdeaa0e3c9e536aedbbe01d386f71330ca086453",
    "noise 92 × 8": "bb7b57501f2690e04aeca2bcfbd211c5dfe5d71e70b440a927758ed2290a4b42",
    "57000 + 3000 of 60000": "648ad1cf843c7425f4c3fa4ed52e6bf503f56a2ad9061d37af2a2fa1bd783f05",
    "47000 + 3000 of 50000": "e519a8368d666a924ce984b3a8ec9e99e32927e053b7b2bd494a242c0af7d9fc",
    "1200 + 197 + 400 of 1797": "722321a0bdd46242e373ec10e738151ab2638ad25dce13f9c414efe6afda856f",
}
"""SHA-256 of each fixed array: of its numbers as little-endian 32-bit integers, the noise in units of 1/1024."""


def _frozen(seed: int) -> np.random.RandomState:
    return np.random.RandomState(seed)  # the only generator of NumPy that promises the same numbers for ever


def _checked(name: str, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Compare an array with its committed hash, where it has one (arrays of other sizes have none)."""
    digest = hashlib.sha256(numbers.astype("<i4").tobytes()).hexdigest()
    require(
        HASHES.get(name, digest) == digest,
        f"{name} has the SHA-256 {digest}",
        HASHES.get(name, ""),
        "This version of NumPy draws other numbers than all before it: use the version in constraints.txt.",
    )
    return numbers


def permutation(length: int) -> Int64[Tensor, " length"]:
    """The fixed order in which the permuted tasks show the pixels: step t shows pixel permutation[t].

    Args:
        length: number of pixels.

    Returns:
        Each index once.

    Raises:
        ValueError: if the length is not a positive whole number.
    """
    length = positive_int("length", length)
    return torch.from_numpy(_checked(f"permutation of {length}", _frozen(784).permutation(length).astype(np.int64)))


def noise_block(steps: int, d: int) -> Float32[Tensor, "steps d"]:
    """The noise that follows every image of the noise-padded tasks: from N(0, 1), rounded to multiples of 1/1024.

    Args:
        steps: number of steps, 0 or more.
        d: values per step.

    Returns:
        The same numbers for every image, in training and in testing.

    Raises:
        ValueError: if a size is not a whole number or too small.
    """
    steps, d = positive_int("steps", steps, minimum=0), positive_int("d", d)
    units = np.rint(_frozen(968).standard_normal((steps, d)) * _GRID).astype(np.int64)
    return torch.from_numpy((_checked(f"noise {steps} × {d}", units) / _GRID).astype(np.float32))


class Splits(NamedTuple):
    """Which images serve for what: indices into all images of a set.

    Attributes:
        train: images for training.
        validation: images by which networks are chosen.
        test: images that only the final score is measured on.
    """

    train: Int64[Tensor, " train"]
    validation: Int64[Tensor, " validation"]
    test: Int64[Tensor, " test"]


def splits(images: ImageSet) -> Splits:
    """Divide a set of images.

    A set with test images of its own keeps them, and 3,000 of the others serve for validation: 57,000 and 3,000 for MNIST,
    47,000 and 3,000 for CIFAR-10. The small digits are divided into 1,200, 197 and 400. (Their neighbours in the file are by
    the same hand; drawn at random, all three parts have digits of all writers.) Sets of other sizes, as tests use
    them, give a twentieth to validation and, if they have no test images, a quarter to testing.

    Args:
        images: the set.

    Returns:
        Three disjoint sets of indices that cover it.
    """
    count = len(images.labels)
    free = count - images.tested
    if images.tested:
        kept = 3000 if free in (60_000, 50_000) else free // 20
        order = _checked(f"{free - kept} + {kept} of {free}", _frozen(57).permutation(free).astype(np.int64))
        train, validation, test = order[kept:], order[:kept], np.arange(free, count)
    else:
        asked, kept = (400, 197) if count == 1797 else (count // 4, count // 20)
        name = f"{count - kept - asked} + {kept} + {asked} of {count}"
        order = _checked(name, _frozen(57).permutation(count).astype(np.int64))
        train, validation, test = order[asked + kept :], order[asked : asked + kept], order[:asked]
    return Splits(*(torch.from_numpy(np.sort(part)) for part in (train, validation, test)))


def _load(kind: str) -> ImageSet:
    if kind in ("smnist", "psmnist"):
        return load_mnist()
    if kind.startswith("nscifar10"):
        return load_cifar10() if kind == "nscifar10" else load_cifar10_jpeg()
    return small_digits()


class SequentialImages:
    """A classification task on images shown step by step.

    Args:
        kind: one of `KINDS`.
        images: images to use in place of the kind's own, which are looked for as `wavemem.wave_rnn.image_files` says.
        length: steps of a noise-padded sequence; None takes 1000 for CIFAR-10 and 100 for the small digits.
        device: where the images are kept and the sequences made.

    Raises:
        DatasetError: if the images are missing and cannot be fetched.
        ValueError: if there is no such kind, or the length is too short or is given to a kind without noise.
    """

    classes: Final = 10

    def __init__(
        self, kind: str, images: ImageSet | None = None, length: int | None = None, device: torch.device | str = "cpu"
    ) -> None:
        self.kind = one_of("kind", kind, KINDS)
        noisy = kind.startswith("ns")
        require(
            noisy or length is None,
            f"length = {length} for {kind}",
            "None",
            "Only noise-padded sequences have a length of their own.",
        )
        found = _load(kind) if images is None else images
        self.name, self.largest = found.name, found.largest
        self.labels = found.labels.to(device)
        self.train, self.validation, self.test = (part.to(device) for part in splits(found))
        pieces = self._pieces(found).to(device)
        if noisy:
            shown, d = pieces.shape[1:]
            steps = length if length is not None else (1000 if kind.startswith("nscifar10") else _SMALL_STEPS)
            positive_int("length", steps, minimum=shown)
            self.noise: Float32[Tensor, "steps d"] = noise_block(steps - shown, d).to(device)
        else:
            self.noise = torch.zeros((0, pieces.shape[-1]), device=device)
        self._images = pieces

    def _pieces(self, found: ImageSet) -> Tensor:
        """What each step shows of each image, as bytes: (count, steps, values)."""
        if self.kind.startswith("ns"):
            # A row of a colour image is its red, then its green, then its blue values, as in the paper's code.
            rows = found.images.movedim(-1, 2) if found.images.dim() == 4 else found.images
            return rows.flatten(2)
        pixels = found.images.flatten(1)
        if self.kind.startswith("ps"):
            pixels = pixels[:, permutation(pixels.shape[1])]
        return pixels.unsqueeze(-1)

    @property
    def T(self) -> int:
        """Steps of a sequence."""
        return self.shown + len(self.noise)

    @property
    def shown(self) -> int:
        """Steps that show something of the image."""
        return int(self._images.shape[1])

    @property
    def d(self) -> int:
        """Values that a step shows."""
        return int(self._images.shape[2])

    def sequence(self, indices: Int64[Tensor, " batch"]) -> Float[Tensor, "T batch d"]:
        """Images as sequences.

        Args:
            indices: which images, e.g. a part of ``train``.

        Returns:
            Inputs with time first; what is shown of the image lies in [0, 1].

        Raises:
            ValueError: if the indices are not a vector of whole numbers or name images that do not exist.
        """
        require(
            indices.dim() == 1 and not indices.is_floating_point() and len(indices) > 0,
            f"indices of shape {tuple(indices.shape)} and type {indices.dtype}",
            "a vector of whole numbers with at least one entry",
            "Take them from train, validation or test.",
        )
        low, high = int(indices.min()), int(indices.max())
        require(
            low >= 0 and high < len(self.labels),
            f"indices from {low} to {high}",
            f"0 to {len(self.labels) - 1}",
            "Take them from train, validation or test.",
        )
        shown = self._images[indices.to(self._images.device)].movedim(1, 0).float() / self.largest
        if not len(self.noise):
            return shown
        return torch.cat([shown, self.noise.unsqueeze(1).expand(-1, shown.shape[1], -1)])


def folded(inputs: Float[Tensor, "T ..."], units: int) -> Float[Tensor, "... n"]:
    """What a lossless ring of velocity 1 holds after the last step: at each unit, the sum of the inputs that are there.

    Args:
        inputs: x(1) … x(T), one number per step.
        units: n.

    Returns:
        The state of the ring, unit 0 first; for n >= T the inputs themselves, backwards in time.

    Raises:
        ValueError: if there are no inputs or the number of units is not positive.
    """
    n, T = positive_int("units", units), inputs.shape[0] if inputs.dim() else 0
    require(T >= 1, f"inputs of shape {tuple(inputs.shape)}", "at least one step, time first", "Pass a sequence.")
    unit = -(T - 1 - torch.arange(T, device=inputs.device)) % n
    ring = inputs.new_zeros((n, *inputs.shape[1:])).index_add_(0, unit, inputs)
    return ring.movedim(0, -1)


def _predicted(states: Tensor, wanted: Tensor, test_states: Tensor) -> Tensor:
    """Ridge regression in float64 of what is wanted on states (images, features), applied to the states of other images.

    Features are scaled to variance 1, the penalty is 1e-3 of it; features that never change get weight 0.
    """
    shape_is("states", states, ("images", "features"))
    shape_is("inputs or labels", wanted, (len(states), "..."))
    shape_is("test_states", test_states, ("tests", states.shape[1]))
    x, y = states.double(), wanted.double()
    mean_x, mean_y = x.mean(0), y.mean(0)
    x = x - mean_x
    scale = x.square().mean(0).sqrt()
    # A column that is constant up to rounding carries nothing but rounding.
    scale = torch.where(scale > 1e-9 * (mean_x.abs() + 1e-300), scale, torch.inf)
    x = x / scale
    penalty = 1e-3 * len(x) * torch.eye(x.shape[1], dtype=x.dtype)
    weights = torch.linalg.solve(x.mT @ x + penalty, x.mT @ (y - mean_y))
    return (test_states.double() - mean_x) @ (weights / scale[:, None]) + mean_y


def ridge_accuracy(
    states: Float[Tensor, "images features"],
    labels: Int[Tensor, " images"],
    test_states: Float[Tensor, "tests features"],
    test_labels: Int[Tensor, " tests"],
) -> float:
    """Share of test images whose class a linear readout names, fitted by ridge regression on one-hot classes.

    Args:
        states: what the readout sees, one row per image.
        labels: classes.
        test_states, test_labels: other images.

    Returns:
        The accuracy.

    Raises:
        ValueError: if the shapes do not fit.
    """
    classes = torch.nn.functional.one_hot(labels, int(labels.max()) + 1)
    said = _predicted(states, classes, test_states).argmax(-1)
    shape_is("test_labels", test_labels, tuple(said.shape))
    return float((said == test_labels).double().mean())


def recovered(
    states: Float[Tensor, "images features"],
    inputs: Float[Tensor, "images T"],
    test_states: Float[Tensor, "tests features"],
    test_inputs: Float[Tensor, "tests T"],
) -> Float[Tensor, " T"]:
    """How much of each input a linear map recovers from the last state: R² on other images.

    Args:
        states: last states, one row per image.
        inputs: what each step showed.
        test_states, test_inputs: of other images.

    Returns:
        R² per step; 1 is exact recovery, values below 0 are worse than the mean. nan for steps that show the same in all test
        images.

    Raises:
        ValueError: if the shapes do not fit.
    """
    said, truth = _predicted(states, inputs, test_states), test_inputs.double()
    shape_is("test_inputs", truth, tuple(said.shape))
    residual = (truth - said).square().sum(0)
    total = (truth - truth.mean(0)).square().sum(0)
    return torch.where(total > 0, 1 - residual / total.clamp_min(1e-300), torch.nan)
